"""A trained model over held-out clips: measures of every mesh, their means, reconstructed meshes.

Occupancy at points is measured in every view of a frame. Grids, surfaces and motion are measured in
one view of each clip, which differs from clip to clip: a reconstruction of each frame is made for
them.
"""

import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tqdm

from tpifu.config import Evaluate
from tpifu.dataset.windows import Windows
from tpifu.evaluate.measure import measure
from tpifu.evaluate.rows import PER_MESH_NAME, summary, table
from tpifu.evaluate.shown import sequence_frames, spread_frames
from tpifu.geometry.mesh_files import save_mesh
from tpifu.measures.names import Row
from tpifu.model.folder import TrainedModel
from tpifu.shards.reader import require_camera, splits_of
from tpifu.shards.schema import HELD_OUT

MESHES_NAME = "meshes"


def open_windows(model: TrainedModel, views: Path, points: Path, split: str) -> Windows:
    """Windows for `model`; DataError if the images do not suit it."""
    windows = Windows(views, points, split, model.config.neighborhood, model.config.stride)
    require_camera(views, windows.views, model.size, model.window)
    return windows


def evaluate(
    model: TrainedModel,
    meshes: Path,
    views: Path,
    points: Path,
    config: Evaluate,
    seed: int,
    out: Path | None = None,
    *,
    jobs: int = 1,
) -> dict[str, Any]:
    """Measure every held-out split; returns `summary`. Writes per_mesh.parquet and meshes/*.glb of
    the frames that are shown to `out`, if given. `jobs`: processes."""
    rows: list[Row] = []
    if out:
        (out / MESHES_NAME).mkdir(parents=True, exist_ok=True)
    for split in splits_of(points):
        windows = open_windows(model, views, points, split)
        shown = spread_frames(windows, split, config.frames)
        if split == HELD_OUT[0]:
            shown += sequence_frames(windows, split, config.sequence)
        empty = total = 0
        clips = measure(model, meshes, windows, split, config, seed, jobs=jobs)
        for clip, measured in enumerate(clips):
            rows += measured.rows
            empty += measured.meshes.count(None)
            total += len(measured.meshes)
            for item in shown:
                mesh = measured.meshes[item.frame] if item.clip == windows.clips[clip][0] else None
                if out and mesh is not None:
                    save_mesh(mesh, out / MESHES_NAME / f"{item.stem}.glb")
        if empty:
            message = f"{empty} of {total} {split} frames: nothing predicted inside"
            tqdm.tqdm.write(message, file=sys.stderr)
    if out:
        pq.write_table(table(rows), out / PER_MESH_NAME)
    return summary(rows)
