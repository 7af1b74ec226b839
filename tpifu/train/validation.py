"""Measures of the validation split during training, on subjects that training never sees."""

import torch

from tpifu.dataset.windows import Windows
from tpifu.measures.points import THRESHOLD, mean_metrics, point_metrics
from tpifu.model.field import window_fields
from tpifu.model.pifu import PIFu
from tpifu.train.distributed import Processes

MEASURES = ("iou", "mse")


def validate(
    network: PIFu, windows: Windows, points: int, seed: int, processes: Processes
) -> dict[str, float]:
    """Means of MEASURES over all windows and views, at the last stack, as evaluation measures the
    test set. The ranks share the views.

    Every call and every model gets the same `points` of each mesh, half of them inside.
    """
    network.eval()
    views = [
        (clip, view)
        for clip in range(len(windows.clips))
        for view in range(windows.view_count(clip))
    ]
    rows = []
    for clip, view in views[processes.rank :: processes.world_size]:
        batch = windows.clip_batch(clip, view, points, seed)
        fields = window_fields(network, batch.images, batch.frames, batch.calib)
        for t, field in enumerate(fields):
            inside = batch.labels[t].numpy() > THRESHOLD
            rows.append(point_metrics(field(batch.points[t]).cpu().numpy(), inside))
    network.train()
    means = mean_metrics(rows) if rows else dict.fromkeys(MEASURES, 0.0)
    sums = [len(rows) * means[measure] for measure in MEASURES]
    device = next(network.parameters()).device
    values = torch.tensor([*sums, float(len(rows))], device=device)
    *totals, count = processes.mean(values).tolist()
    return {measure: total / count for measure, total in zip(MEASURES, totals, strict=True)}
