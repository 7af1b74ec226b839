"""The validation split during training: how good the weights are, on subjects they never saw."""

import torch

from tpifu.dataset import Windows, network_input
from tpifu.metrics import THRESHOLD, mean_metrics, point_metrics
from tpifu.pifu import PIFu
from tpifu.team import Team

MEASURES = ("iou", "mse")


@torch.no_grad()
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
            batch = windows.clip_batch(clip, view, points, seed).to(device)
            images = network_input(batch.images).to(memory_format=torch.channels_last)
            features = network.filter(images)[-1]
            occupancy = network.query(features, batch.frames, batch.points, batch.calib)
            rows += [
                point_metrics(values.cpu().numpy(), labels.cpu().numpy() > THRESHOLD)
                for values, labels in zip(occupancy, batch.labels, strict=True)
            ]
    network.train()
    means = mean_metrics(rows) if rows else dict.fromkeys(MEASURES, 0.0)
    sums = [len(rows) * means[measure] for measure in MEASURES]
    *of_team, count = team.mean(torch.tensor([*sums, float(len(rows))], device=device)).tolist()
    return {measure: value / count for measure, value in zip(MEASURES, of_team, strict=True)}
