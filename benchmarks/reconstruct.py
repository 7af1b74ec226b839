"""Compare three ways to evaluate a field on a grid: dense, PIFu's octree and ours.

python benchmarks/reconstruct.py --grid 128|256 [--table1 300]   (one minute; with --table1, ten)
python benchmarks/reconstruct.py --grid 128 --poses 40           (ours and dense; five minutes)

Run it after dvc repro; it prints one JSON line. The field is that of models/baseline for the middle
frame of the first test clip. Its surface is soft. --table1 STEPS instead fits Table 1's network to
that frame with STEPS steps of Muon, which makes the surface sharp; `iou` is its IoU on the grid.

Times cover the point queries on the CPU, without the image filter and marching cubes. All three
methods use the same query function. The octree is our version of PIFu's: it starts from a 64^3
lattice, fills cells whose eight corners differ by less than 0.01, refines the others, and queries
10,000 points at a time. Ours starts from 32 intervals (the default); keys with _16 start from 16
and miss more detached parts.

wrong_share: share of cells on the wrong side of the level, compared with the dense grid.
peak_mb: peak memory of this process after our method, before the others run.
clip_frame_s: time per frame of a ten-frame clip at 128^3 with models/temporal, including the image
filter; alone_s: time per frame if the same frames are reconstructed separately.

--poses COUNT reports the mean and largest share of wrong cells over COUNT frames of test clips for
each trained model, and the number of grids without wrong cells.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from memory import forget_peak, peak_mb
from torch import Tensor

from tpifu.config import DataRecord, Model, Precision, Sample
from tpifu.dataset.windows import Batch, Windows
from tpifu.evaluate.evaluate import open_windows
from tpifu.geometry.grid import cell_centres
from tpifu.geometry.inside import Inside
from tpifu.geometry.mesh import Mesh
from tpifu.model.field import Field, window_fields
from tpifu.model.folder import TrainedModel, load_model
from tpifu.model.pifu import PIFu
from tpifu.prepare.points import sample_points
from tpifu.reconstruct.grid import evaluate_grid
from tpifu.shards.coding import dequantise
from tpifu.shards.folder import DataFolder
from tpifu.shards.meshes import MeshReader
from tpifu.train.optimizers import optimizers
from tpifu.train.step import fastest_precision, training_step

HALF, FRAMES = 1.28, 10


def model_and_windows(name: str) -> tuple[TrainedModel, Windows]:
    """A trained model and its windows of the test clips."""
    model = load_model(Path("models") / name, torch.device("cpu"))
    return model, open_windows(model, DataFolder(Path("data")), "test")


def model_and_clip(name: str, frames: int) -> tuple[TrainedModel, Batch, str]:
    """A trained model, and the name and windows of the first test clip with enough frames."""
    model, windows = model_and_windows(name)
    clip = next(n for n, (_, rows) in enumerate(windows.clips) if len(rows) >= frames)
    return model, windows.clip_batch(clip, 0, 2, 0), windows.clips[clip][0]


def fields_of(model: TrainedModel, batch: Batch, frames: slice) -> list[Field]:
    windows, calib = batch.frames[frames], batch.calib[frames]
    return list(window_fields(model.network, batch.images, windows, calib))


def octree(
    field: Field, resolution: int, *, start: int = 64, threshold: float = 0.01
) -> np.ndarray:
    """PIFu's rule: evaluate a lattice, fill cells whose corners agree, refine the others."""
    centres = cell_centres(resolution, HALF)
    values = np.zeros((resolution,) * 3, np.float32)
    dirty = np.ones_like(values, dtype=bool)
    stride = resolution // start
    corners = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    while stride > 0:
        lattice = np.zeros_like(dirty)
        lattice[::stride, ::stride, ::stride] = True
        at = np.flatnonzero(lattice & dirty)
        index = np.unravel_index(at, dirty.shape)
        points = torch.from_numpy(centres[np.stack(index, axis=-1)].astype(np.float32))
        values.reshape(-1)[at] = torch.cat([field(p) for p in points.split(10000)]).numpy()
        dirty.reshape(-1)[at] = False
        if stride == 1:
            break
        middle = np.arange(0, resolution - stride, stride)
        cells = np.stack(np.meshgrid(middle, middle, middle, indexing="ij"), axis=-1).reshape(-1, 3)
        half = stride // 2
        cells = cells[dirty[tuple((cells + half).T)]]
        around = np.stack([values[tuple((cells + stride * corner).T)] for corner in corners])
        low, high = around.min(axis=0), around.max(axis=0)
        alike = high - low < threshold
        for cell, value in zip(cells[alike], ((low + high) / 2)[alike], strict=True):
            box = tuple(slice(first, first + stride) for first in cell)
            values[box] = value
            dirty[box] = False
        stride //= 2
    return values


def fit_table1(batch: Batch, frame: int, mesh: Mesh, steps: int) -> TrainedModel:
    """Table 1's network, overfitted to one image of one body. Depth is scaled up; otherwise fitting
    takes thousands of steps."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    config = Model(z_normalization=0.1, neighborhood=1)
    network = PIFu(config, 2 * HALF).train()
    updaters = optimizers("muon", network)
    precision: Precision | None = None
    pool = Sample(near_surface=4000, uniform=1000)
    for step in range(steps):
        codes, labels = sample_points(mesh, pool, HALF, rng)
        part = Batch(
            images=batch.images[[frame]],
            frames=torch.zeros(1, 1, dtype=torch.int64),
            calib=batch.calib[[frame]],
            points=torch.from_numpy(dequantise(codes))[None],
            labels=torch.from_numpy(labels.astype(np.float32))[None],
        )
        precision = precision or fastest_precision(network, [part])
        training_step(network, updaters, [part], 5e-3 * (1 - step / steps), precision)
    size = batch.images.shape[1]
    return TrainedModel(network.eval(), config, 2 * HALF, size, level=0.5, data=DataRecord())


class Counted:
    def __init__(self, field: Field) -> None:
        self.field, self.points, self.seconds = field, 0, 0.0

    def __call__(self, points: Tensor) -> Tensor:
        start = time.perf_counter()
        values = self.field(points)
        self.seconds += time.perf_counter() - start
        self.points += len(points)
        return values


def timed(grid: Callable[[Field], np.ndarray], field: Field, rounds: int) -> tuple:
    """The grid, its number of points, the shortest time, and the network's share of it."""
    best = (float("inf"), 0.0)
    for _ in range(rounds):
        counted = Counted(field)
        start = time.perf_counter()
        values = grid(counted)
        best = min(best, (time.perf_counter() - start, counted.seconds))
    return values, counted.points, best[0], best[1] / best[0]


def clip_seconds() -> tuple[float, float]:
    """Seconds per frame for ten frames, as a clip and separately; the minimum of three runs."""
    model, batch, _ = model_and_clip("temporal", FRAMES)

    def grids(frames: slice) -> None:
        windows, calib = batch.frames[frames], batch.calib[frames]
        for field in window_fields(model.network, batch.images, windows, calib):
            evaluate_grid(field, 128, HALF, level=model.level)

    together, alone = [], []
    for _ in range(3):
        start = time.perf_counter()
        grids(slice(FRAMES))
        middle = time.perf_counter()
        for n in range(FRAMES):
            grids(slice(n, n + 1))
        together.append((middle - start) / FRAMES)
        alone.append((time.perf_counter() - middle) / FRAMES)
    return min(together), min(alone)


def over_poses(resolution: int, poses: int) -> None:
    result: dict[str, float] = {"grid": resolution, "poses": poses}
    for name in ("baseline", "temporal"):
        model, windows = model_and_windows(name)
        shares = []
        for clip, view, frame in spread(windows, poses):
            batch = windows.clip_batch(clip, view, 2, 0)
            (field,) = fields_of(model, batch, slice(frame, frame + 1))
            dense = evaluate_grid(field, resolution, HALF, start=resolution) > model.level
            ours = evaluate_grid(field, resolution, HALF, level=model.level) > model.level
            shares.append(float((dense != ours).mean()))
        result[f"{name}_wrong_share"] = sum(shares) / poses
        result[f"{name}_wrong_share_largest"] = max(shares)
        result[f"{name}_right"] = shares.count(0)
    print(json.dumps({name: float(f"{value:.3g}") for name, value in result.items()}))


def spread(windows: Windows, count: int) -> Iterator[tuple[int, int, int]]:
    """Clip, view and frame of evenly spaced test frames, with alternating views."""
    frames = [(clip, t) for clip, (_, rows) in enumerate(windows.clips) for t in range(len(rows))]
    for number in range(count):
        clip, frame = frames[number * len(frames) // count]
        yield clip, number % windows.view_count(clip), frame


def main(resolution: int, table1: int) -> None:
    model, batch, clip_name = model_and_clip("baseline", 1)
    half = len(batch.frames) // 2
    reader = MeshReader(Path("data/meshes"))
    (truth,) = reader.read([reader.clip("test", clip_name)[half]])
    if table1:
        model = fit_table1(batch, half, truth.mesh, table1)
        forget_peak()
    (field,) = fields_of(model, batch, slice(half, half + 1))
    level = model.level
    ours, points, seconds, share = timed(
        lambda f: evaluate_grid(f, resolution, HALF, level=level), field, 5
    )
    peak = peak_mb()
    few, few_points, few_seconds, _ = timed(
        lambda f: evaluate_grid(f, resolution, HALF, level=level, start=16), field, 5
    )
    tree, tree_points, tree_seconds, _ = timed(lambda f: octree(f, resolution), field, 1)
    dense, dense_points, dense_seconds, _ = timed(
        lambda f: evaluate_grid(f, resolution, HALF, start=resolution), field, 1
    )
    inside = dense > level
    true = Inside(truth.mesh).grid(resolution, HALF)

    def wrong(values: np.ndarray) -> float:
        return float((inside != (values > level)).mean())

    clip, alone = clip_seconds()
    result = {
        "seconds": seconds,
        "network_share": share,
        "wrong_share": wrong(ours),
        "iou": (inside & true).sum() / (inside | true).sum(),
        "ratio_octree": tree_seconds / seconds,
        "ratio_dense": dense_seconds / seconds,
        "seconds_16": few_seconds,
        "wrong_share_16": wrong(few),
        "ratio_octree_16": tree_seconds / few_seconds,
        "octree_s": tree_seconds,
        "octree_wrong_share": wrong(tree),
        "dense_s": dense_seconds,
        "peak_mb": peak,
        "clip_frame_s": clip,
        "alone_s": alone,
    }
    rounded = {name: float(f"{value:.3g}") for name, value in result.items()}
    counts = {"points": points, "points_16": few_points, "octree_points": tree_points}
    counts["dense_points"] = dense_points
    print(json.dumps({"grid": resolution, "threads": torch.get_num_threads(), **counts, **rounded}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grid", type=int, choices=(128, 256), default=128)
    parser.add_argument("--table1", type=int, default=0, metavar="STEPS")
    parser.add_argument("--poses", type=int, default=0)
    given = parser.parse_args()
    over_poses(given.grid, given.poses) if given.poses else main(given.grid, given.table1)
