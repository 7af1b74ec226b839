"""The validation split during training: how good the weights are, on subjects they never saw."""

import torch

from tpifu.dataset import Windows
from tpifu.field import window_fields
from tpifu.metrics import THRESHOLD, mean_metrics, point_metrics
from tpifu.pifu import PIFu
from tpifu.team import Team

MEASURES = ("iou", "mse")


def validate(
    network: PIFu, windows: Windows, points: int, seed: int, team: Team
) -> dict[str, float]:
    """Means of MEASURES over all windows and views, at the last stack, as the test set is measured;
    the team shares the clips.

    `points` a mesh, half of them inside, are the same at every call and for both models.
    """
    network.eval()
    device = next(network.parameters()).device
    rows = []
    for clip in range(team.rank, len(windows.clips), team.world):
        for view in range(windows.view_count(clip)):
            batch = windows.clip_batch(clip, view, points, seed)
            fields = window_fields(network, batch.images, batch.frames, batch.calib)
            for t, field in enumerate(fields):
                inside = batch.labels[t].numpy() > THRESHOLD
                rows.append(point_metrics(field(batch.points[t]).cpu().numpy(), inside))
    network.train()
    means = mean_metrics(rows) if rows else dict.fromkeys(MEASURES, 0.0)
    sums = [len(rows) * means[measure] for measure in MEASURES]
    *of_team, count = team.mean(torch.tensor([*sums, float(len(rows))], device=device)).tolist()
    return {measure: value / count for measure, value in zip(MEASURES, of_team, strict=True)}
