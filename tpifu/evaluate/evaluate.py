"""Evaluates a model on held-out clips: measures of every mesh, their means, reconstructed meshes.

Occupancy at points is measured in every view of a frame. Grids, surfaces and motion need a
reconstruction of each frame; they are measured in one view of each clip, which alternates between
clips.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tpifu.config import Evaluate
from tpifu.dataset.windows import Windows
from tpifu.errors import warn
from tpifu.evaluate.measure import measure
from tpifu.evaluate.rows import PER_MESH_NAME, summary, table
from tpifu.evaluate.shown import Shown, sequence_frames, spread_frames, write_shown
from tpifu.files import whole_folder
from tpifu.geometry.mesh_files import save_mesh
from tpifu.measures.names import Row
from tpifu.model.folder import TrainedModel
from tpifu.shards.folder import DataFolder
from tpifu.shards.reader import require_camera, splits_of
from tpifu.shards.schema import HELD_OUT

MESHES_NAME = "meshes"


def open_windows(model: TrainedModel, data: DataFolder, split: str) -> Windows:
    """Windows of one split for `model`. Raises DataError if the model cannot read the images."""
    windows = Windows(data, split, model.config)
    require_camera(data.views, windows.views, model.size, model.window)
    return windows


def evaluate(
    model: TrainedModel,
    data: DataFolder,
    config: Evaluate,
    seed: int,
    out: Path | None = None,
    *,
    jobs: int = 1,
) -> dict[str, Any]:
    """Measure every held-out split and return the `summary`.

    With `out`, also replace this folder with per_mesh.parquet, shown.json and the meshes of the
    frames it lists. `jobs`: processes.
    """
    rows: list[Row] = []
    shown: list[Shown] = []
    opened = {split: open_windows(model, data, split) for split in splits_of(data.points)}
    for windows in opened.values():
        windows.require_points("evaluate.points", config.points)
    with whole_folder(out) if out else nullcontext() as part:
        for split, windows in opened.items():
            own = spread_frames(windows, split, config.frames)
            if split == HELD_OUT[0]:
                own += sequence_frames(windows, split, config.sequence)
            shown += own
            empty = total = 0
            clips = measure(model, data.meshes, windows, split, config, seed, jobs=jobs)
            for (name, _), measured in zip(windows.clips, clips, strict=True):
                rows += measured.rows
                empty += measured.meshes.count(None)
                total += len(measured.meshes)
                for item in own:
                    mesh = measured.meshes[item.frame] if item.clip == name else None
                    if part and mesh is not None:
                        save_mesh(mesh, part / MESHES_NAME / f"{item.stem}.glb")
            if empty:
                warn(f"{split}: the model predicts no surface in {empty} of {total} frames")
        if part:
            write_shown(part, shown)
            pq.write_table(table(rows), part / PER_MESH_NAME)
    return summary(rows)
