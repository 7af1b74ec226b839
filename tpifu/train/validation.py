"""The validation split during training: how good the weights are, on subjects they never saw."""

from collections.abc import Callable, Iterator

import torch

from tpifu.dataset.windows import Windows
from tpifu.measures.points import THRESHOLD, mean_metrics, point_metrics
from tpifu.model.field import window_fields
from tpifu.model.pifu import PIFu
from tpifu.train.distributed import Team

MEASURES = ("iou", "mse")


def _never() -> bool:
    return False


def validate(
    network: PIFu,
    windows: Windows,
    points: int,
    seed: int,
    team: Team,
    stop: Callable[[], bool] = _never,
) -> dict[str, float] | None:
    """Means of MEASURES over all windows and views, at the last stack, as the test set is measured;
    the team shares the clips' views. None if `stop` is true in one of its processes meanwhile.

    `points` a mesh, half of them inside, are the same at every call and for both models.
    """
    network.eval()
    rows = []
    for metrics in _of_share(network, windows, points, seed, team):
        rows.append(metrics)
        if stop():
            break
    network.train()
    means = mean_metrics(rows) if rows else dict.fromkeys(MEASURES, 0.0)
    sums = [len(rows) * means[measure] for measure in MEASURES]
    device = next(network.parameters()).device
    own = torch.tensor([*sums, float(len(rows)), float(stop())], device=device)
    *of_team, count, stopping = team.mean(own).tolist()
    if stopping:
        return None
    return {measure: value / count for measure, value in zip(MEASURES, of_team, strict=True)}


def _of_share(
    network: PIFu, windows: Windows, points: int, seed: int, team: Team
) -> Iterator[dict[str, float]]:
    """The measures of each window that falls to this process of the team."""
    every = [
        (clip, view)
        for clip in range(len(windows.clips))
        for view in range(windows.view_count(clip))
    ]
    for clip, view in every[team.rank :: team.world]:
        batch = windows.clip_batch(clip, view, points, seed)
        fields = window_fields(network, batch.images, batch.frames, batch.calib)
        for t, field in enumerate(fields):
            inside = batch.labels[t].numpy() > THRESHOLD
            yield point_metrics(field(batch.points[t]).cpu().numpy(), inside)
