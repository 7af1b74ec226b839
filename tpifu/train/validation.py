"""Measures of the validation split during training, on subjects that training never sees."""

from collections.abc import Callable, Iterator

import torch

from tpifu.dataset.windows import Windows
from tpifu.measures.points import THRESHOLD, mean_metrics, point_metrics
from tpifu.model.field import window_fields
from tpifu.model.pifu import PIFu
from tpifu.train.distributed import Processes

MEASURES = ("iou", "mse")


def validate(
    network: PIFu,
    windows: Windows,
    points: int,
    seed: int,
    processes: Processes,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Means of MEASURES over all windows and views, at the last stack, as evaluation measures the
    test set. The ranks share the work. None if `stop` becomes true in one of them.

    Every call and every model gets the same `points` of each mesh, half of them inside.
    """
    network.eval()
    rows = []
    for metrics in _measure_share(network, windows, points, seed, processes):
        rows.append(metrics)
        if stop():
            break
    network.train()
    means = mean_metrics(rows) if rows else dict.fromkeys(MEASURES, 0.0)
    sums = [len(rows) * means[measure] for measure in MEASURES]
    device = next(network.parameters()).device
    values = torch.tensor([*sums, float(len(rows)), float(stop())], device=device)
    *totals, count, stopped = processes.mean(values).tolist()
    if stopped:
        return None
    return {measure: total / count for measure, total in zip(MEASURES, totals, strict=True)}


def _measure_share(
    network: PIFu, windows: Windows, points: int, seed: int, processes: Processes
) -> Iterator[dict[str, float]]:
    """Measures of each window in this rank's share of the clips' views."""
    views = [
        (clip, view)
        for clip in range(len(windows.clips))
        for view in range(windows.view_count(clip))
    ]
    for clip, view in views[processes.rank :: processes.world_size]:
        batch = windows.clip_batch(clip, view, points, seed)
        fields = window_fields(network, batch.images, batch.frames, batch.calib)
        for t, field in enumerate(fields):
            inside = batch.labels[t].numpy() > THRESHOLD
            yield point_metrics(field(batch.points[t]).cpu().numpy(), inside)
