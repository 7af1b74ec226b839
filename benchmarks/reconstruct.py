"""A grid of one field three ways: densely, by PIFu's octree, and ours; one JSON line.

python benchmarks/reconstruct.py --grid 128|256   (all cores; two, and twenty minutes)

The field is that of Table 1's network, fitted here until its surface is sharp: the embedded body in
mid-stride, its picture filtered once by the untrained hourglass, the MLP trained on points near the
surface and in the box. `iou` is with the body, `sharp` the share of the grid's cells whose value
lies between 0.1 and 0.9 (its surface alone has some). Seconds are of points on the CPU to values:
image filter and marching cubes left out, the same network and query for all three.

Octree: PIFu's rule in our writing: a 64^3 lattice, cells whose eight corners differ by less than
0.01 are filled, others are refined; 10,000 points a query. Cells are handled together here, PIFu
loops over them in Python, so this is on its side. `wrong_share`: cells on the other side of the
level than in the dense grid. Ours starts from 16 intervals; the keys with _32 are of the default,
32, which finds small detached parts, too. peak_mb: of a process that reconstructs once.
`clip_frame_s`: a frame of a clip of ten at 128^3 by Temporal PIFu, of three frames a window, image
filter included; `alone_s`: the same frames each alone.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tpifu.body import embedded_body
from tpifu.camera import calibration, cell_centres
from tpifu.config import Model
from tpifu.dataset import window_frames
from tpifu.field import Field, network_input, window_fields
from tpifu.mesh import Mesh
from tpifu.metrics import volumetric_iou
from tpifu.occupancy import Inside, grid_occupancy
from tpifu.pifu import PIFu
from tpifu.reconstruct import LEVEL, evaluate_dense, evaluate_grid
from tpifu.render import render
from tpifu.surface import sample_surface

WINDOW, HALF, SIZE, STEPS, POINTS, FRAMES = 2.56, 1.28, 256, 300, 2000, 10


def walking() -> Mesh:
    """A body in mid-stride, one arm in front of it."""
    pose = np.zeros((24, 3), np.float32)
    pose[[1, 2], 0] = -0.5, 0.4
    pose[[16, 17], 2] = -1.2, 1.2
    pose[18] = 0, -1.5, 0
    body = embedded_body("male")
    vertices, joints = body.pose(pose.reshape(1, 72), np.zeros(10, np.float32))
    return Mesh(vertices[0] - joints[0, 0], body.faces)


def picture(mesh: Mesh) -> Tensor:
    calib = calibration(0.0, WINDOW)[None]
    return torch.from_numpy(render(mesh, calib, SIZE, "embree"))


def fitted(mesh: Mesh, neighborhood: int) -> PIFu:
    """Table 1's network with a sharp field: the filter as it begins, the classifier trained."""
    torch.manual_seed(0)
    network = PIFu(Model(z_normalization=0.3), neighborhood, WINDOW)
    with torch.no_grad():
        for parameter in network.image_filter.parameters():
            if parameter.ndim == 4:  # N(0, 0.02) makes all pixels alike: nothing to fit from
                torch.nn.init.kaiming_normal_(parameter)
        maps = network.eval().filter(network_input(picture(mesh)))[-1]
    optimizer = torch.optim.Adam(network.classifier.parameters(), lr=1e-3)
    rng, inside = np.random.default_rng(0), Inside(mesh)
    calib = torch.from_numpy(calibration(0.0, WINDOW))[None]
    window = torch.zeros(1, neighborhood, dtype=torch.int64)
    for step in range(STEPS):
        near = sample_surface(mesh, POINTS // 2, rng).points
        near += rng.normal(size=near.shape) * 0.03
        points = np.concatenate([near, rng.uniform(-HALF, HALF, size=(POINTS // 2, 3))])
        labels = torch.from_numpy(inside(points).astype(np.float32))[None]
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        found = network.query(maps, window, torch.from_numpy(points).float()[None], calib)
        optimizer.zero_grad()
        (found - labels).square().mean().backward()
        optimizer.step()
    return network.eval()


def field_of(network: PIFu, mesh: Mesh) -> Field:
    calib = torch.from_numpy(calibration(0.0, WINDOW))[None]
    (field,) = window_fields(network, picture(mesh), torch.zeros(1, 1, dtype=torch.int64), calib)
    return field


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
    """The grid, its points, the least seconds, and the share of them spent in the network."""
    best = (float("inf"), 0.0)
    for _ in range(rounds):
        counted = Counted(field)
        start = time.perf_counter()
        values = grid(counted)
        best = min(best, (time.perf_counter() - start, counted.seconds))
    return values, counted.points, best[0], best[1] / best[0]


def clip_seconds(mesh: Mesh) -> tuple[float, float]:
    """Seconds a frame of ten at 128^3 for three frames a window, as a clip and each alone.
    The body stands still, which the network does not know."""
    network = fitted(mesh, 3)
    images = picture(mesh).expand(FRAMES, -1, -1, -1)
    calib = torch.from_numpy(calibration(0.0, WINDOW)).expand(FRAMES, -1, -1)
    windows = torch.from_numpy(window_frames(FRAMES, 3))

    def grids(frames: slice) -> None:
        for field in window_fields(network, images, windows[frames], calib[frames]):
            evaluate_grid(field, 128, HALF)

    start = time.perf_counter()
    grids(slice(None))
    middle = time.perf_counter()
    for n in range(FRAMES):
        grids(slice(n, n + 1))
    return (middle - start) / FRAMES, (time.perf_counter() - middle) / FRAMES


def print_peak(weights: Path, resolution: int) -> None:
    """Of this process, in MB, after one reconstruction."""
    network = PIFu(Model(z_normalization=0.3), 1, WINDOW).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    evaluate_grid(field_of(network, walking()), resolution, HALF)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main(resolution: int) -> None:
    mesh = walking()
    network = fitted(mesh, 1)
    field = field_of(network, mesh)
    wide, wide_points, wide_seconds, _ = timed(
        lambda f: evaluate_grid(f, resolution, HALF), field, 3
    )
    ours, points, seconds, share = timed(
        lambda f: evaluate_grid(f, resolution, HALF, start=16), field, 3
    )
    tree, tree_points, tree_seconds, _ = timed(lambda f: octree(f, resolution), field, 1)
    dense, dense_points, dense_seconds, _ = timed(
        lambda f: evaluate_dense(f, resolution, HALF), field, 1
    )
    inside = dense > LEVEL
    clip, alone = clip_seconds(mesh)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pt"
        torch.save(network.state_dict(), weights)
        command = [sys.executable, __file__, "--grid", str(resolution), "--peak", str(weights)]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result = {
        "points": points,
        "seconds": seconds,
        "network_share": share,
        "wrong_share": float((inside != (ours > LEVEL)).mean()),
        "ratio_octree": tree_seconds / seconds,
        "ratio_dense": dense_seconds / seconds,
        "points_32": wide_points,
        "seconds_32": wide_seconds,
        "wrong_share_32": float((inside != (wide > LEVEL)).mean()),
        "octree_points": tree_points,
        "octree_s": tree_seconds,
        "octree_wrong_share": float((inside != (tree > LEVEL)).mean()),
        "dense_points": dense_points,
        "dense_s": dense_seconds,
        "iou": volumetric_iou(inside, grid_occupancy(mesh, resolution, HALF)),
        "sharp": float(((dense > 0.1) & (dense < 0.9)).mean()),
        "peak_mb": peak,
        "clip_frame_s": clip,
        "alone_s": alone,
    }
    rounded = {name: float(f"{value:.3g}") for name, value in result.items()}
    exact = {"grid": resolution, "points": points, "octree_points": tree_points}
    print(json.dumps({"threads": torch.get_num_threads(), **rounded, **exact}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grid", type=int, choices=(128, 256), default=128)
    parser.add_argument("--peak", type=Path)
    given = parser.parse_args()
    print_peak(given.peak, given.grid) if given.peak else main(given.grid)
