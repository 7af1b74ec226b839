"""The `sample` stage: meshes -> points labelled inside or outside.

Inside means winding number > 0.5, so overlaps of body parts are inside. Points are in metres. They
are quantised to 16-bit codes before they are labelled, so that labels match the stored points.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16

from tpifu.config import Sample
from tpifu.files import digest
from tpifu.geometry.inside import Inside, grid_occupancy
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.sampling import sample_near_surface, sample_uniform
from tpifu.resumable import build
from tpifu.shards.coding import POINT_HALF, POINT_STEP, dequantise, pack_codes, quantise
from tpifu.shards.meshes import MeshReader, StoredClip
from tpifu.shards.schema import HELD_OUT, Group, item_seed


@dataclass(frozen=True)
class Samples:
    codes: Int16[np.ndarray, "n 3"]
    """Quantised coordinates, see `tpifu.shards.coding`."""
    labels: Bool[np.ndarray, " n"]
    """True inside."""


def write_points(
    meshes: Path, out: Path, config: Sample, *, half: float, seed: int, jobs: int
) -> None:
    """Sample a pool of labelled points for each mesh, and label a uniform grid for HELD_OUT splits.

    `half`: half the width of the sampling box, metres. Each frame is a row group, because training
    reads frames in random order.
    """
    reader = MeshReader(meshes)
    task = partial(_clip_points, config=config, half=half, seed=seed)
    metadata = {
        "meshes": reader.shards.metadata,
        "point_step": POINT_STEP,
        "half": half,
        "sigma": config.sigma,
        "near_surface": config.near_surface,
        "uniform": config.uniform,
        "grid": config.grid,
        "seed": seed,
        "units": "points: point_step metres; grid: cells over [-half, half]^3 metres, x slowest",
    }
    inputs = {"meshes": digest(meshes)}
    build(out, "points", task, reader.clips(), metadata, inputs, jobs=jobs, label="points")


def _clip_points(clip: StoredClip, *, config: Sample, half: float, seed: int) -> list[Group]:
    groups: list[Group] = []
    for frame in clip.read():
        rng = np.random.default_rng(item_seed(seed, frame.clip, frame.frame))
        samples = sample_points(
            frame.mesh, config.near_surface, config.uniform, config.sigma, half, rng
        )
        grid = None
        if frame.split in HELD_OUT:
            grid = np.packbits(grid_occupancy(frame.mesh, config.grid, half)).tobytes()
        row = {"points": pack_codes(samples.codes), "inside": np.packbits(samples.labels).tobytes()}
        groups.append([{**frame.key(), **row, "grid": grid}])
    return groups


def sample_points(
    mesh: Mesh,
    near_surface: int,
    uniform: int,
    sigma: float,
    half: float,
    rng: np.random.Generator,
) -> Samples:
    """Labelled points in random order: `near_surface` points near the surface, with noise `sigma`
    metres, and `uniform` points in [-half, half]^3."""
    assert half <= POINT_HALF, f"half is {half} m, but codes only reach {POINT_HALF} m"
    points = np.concatenate(
        [sample_near_surface(mesh, near_surface, sigma, rng), sample_uniform(uniform, half, rng)]
    )
    codes = quantise(rng.permutation(points))
    return Samples(codes, Inside(mesh)(dequantise(codes)))
