"""The `sample` stage: meshes -> points labelled inside or outside.

Inside means winding number > 0.5, so overlaps of body parts are inside. Points are in metres. They
are quantised to 16-bit codes before they are labelled, so that labels match the stored points.
"""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16

from tpifu.config import Sample
from tpifu.geometry.inside import Inside
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.sampling import sample_near_surface
from tpifu.resumable import build
from tpifu.shards.coding import POINT_HALF, POINT_STEP, dequantise, pack_codes, quantise
from tpifu.shards.meshes import MeshReader, StoredClip
from tpifu.shards.schema import HELD_OUT, Group, item_seed


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
        **config.model_dump(),
        "seed": seed,
        "units": "points: point_step metres; grid: cells over [-half, half]^3 metres, x slowest",
    }
    build(out, "points", task, reader.clips(), metadata, jobs=jobs)


def _clip_points(clip: StoredClip, *, config: Sample, half: float, seed: int) -> list[Group]:
    groups: list[Group] = []
    for frame in clip.read():
        rng = np.random.default_rng(item_seed(seed, frame.clip, frame.frame))
        codes, labels = sample_points(frame.mesh, config, half, rng)
        grid = None
        if frame.split in HELD_OUT:
            grid = np.packbits(Inside(frame.mesh).grid(config.grid, half)).tobytes()
        row = {"points": pack_codes(codes), "inside": np.packbits(labels).tobytes()}
        groups.append([{**frame.key(), **row, "grid": grid}])
    return groups


def sample_points(
    mesh: Mesh, config: Sample, half: float, rng: np.random.Generator
) -> tuple[Int16[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Codes of points in random order, near the surface and in [-half, half]^3, and whether each
    point is inside."""
    assert half <= POINT_HALF, f"half is {half} m, but codes only reach {POINT_HALF} m"
    near = sample_near_surface(mesh, config.near_surface, config.sigma, rng)
    points = np.concatenate([near, rng.uniform(-half, half, (config.uniform, 3))])
    codes = quantise(rng.permutation(points))
    return codes, Inside(mesh)(dequantise(codes))
