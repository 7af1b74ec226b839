"""A trained model over held-out windows: numbers per mesh, their means as in Table 2, reconstructed
meshes."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tqdm

from tpifu.checkpoint import TrainedModel
from tpifu.config import Evaluate
from tpifu.dataset import Windows
from tpifu.errors import DataError
from tpifu.field import Field, window_fields
from tpifu.metrics import THRESHOLD, mean_metrics, point_metrics, volumetric_iou
from tpifu.reconstruct import EmptyField, evaluate_grid, extract_surface, save_mesh
from tpifu.shards import HELD_OUT, unpack_bits

PER_MESH_NAME = "per_mesh.parquet"
MESHES_NAME = "meshes"
MEASURES = ("iou", "mse", "precision", "recall", "accuracy", "volumetric_iou")


@dataclass(frozen=True)
class Shown:
    """A frame that is reconstructed and pictured."""

    split: str
    clip: str
    frame: int
    view: int

    @property
    def stem(self) -> str:
        return f"{self.clip.replace('/', '_')}_f{self.frame:03d}_v{self.view}"


def open_windows(model: TrainedModel, views: Path, points: Path, split: str) -> Windows:
    """Windows for `model`; DataError if the images do not suit it."""
    windows = Windows(views, points, split, model.neighborhood)
    camera = windows.views.metadata
    if (camera["size"], camera["window"]) != (model.size, model.window):
        raise DataError(
            f"{views}: images of {camera['size']} px over {camera['window']} m, but the model was "
            f"trained on {model.size} px over {model.window} m; render them so"
        )
    return windows


def splits_of(points: Path) -> list[str]:
    """The held-out splits that a points folder has; all of its splits if it has none of them."""
    present = {path.name.rsplit("-", 1)[0] for path in points.glob("*-*.parquet")}
    return [split for split in HELD_OUT if split in present] or sorted(present)


def measure(
    model: TrainedModel, windows: Windows, config: Evaluate, seed: int
) -> list[dict[str, Any]]:
    """One row a mesh: its key and the means over its views of the point measures, and its
    volumetric IoU.

    Points are 50/50 inside and outside, drawn once a mesh, the same for every view and model. The
    volumetric IoU is taken in one view, which differs from clip to clip, on the uniform grid stored
    with the points, at the model's own level.
    """
    rows = []
    for clip in tqdm.trange(len(windows.clips), desc="evaluate", unit="clip", disable=None):
        name, point_rows = windows.clips[clip]
        views = windows.view_count(clip)
        by_view, volumes = [], []
        for view in range(views):
            batch = windows.clip_batch(clip, view, config.points, seed)
            measured = []
            fields = window_fields(model.network, batch.images, batch.frames, batch.calib)
            for t, field in enumerate(fields):
                inside = batch.labels[t].numpy() > THRESHOLD
                measured.append(point_metrics(field(batch.points[t]).cpu().numpy(), inside))
                if view == clip % views:
                    volumes.append(_volume(model, windows, field, int(point_rows[t])))
            by_view.append(measured)
        for t, row in enumerate(point_rows):
            rows.append(
                {
                    "split": str(windows.points.index["split"][row]),
                    "sequence": str(windows.points.index["sequence"][row]),
                    "clip": name,
                    "frame": t,
                    **mean_metrics([frames[t] for frames in by_view]),
                    "volumetric_iou": volumes[t],
                }
            )
    return rows


def _volume(model: TrainedModel, windows: Windows, field: Field, row: int) -> float:
    """Volumetric IoU of one frame; nan where the points folder has no grid for it."""
    (stored,) = windows.points.read([row], ["grid"])
    if stored["grid"] is None:
        return float("nan")
    resolution = windows.points.metadata["grid"]
    truth = unpack_bits(stored["grid"], resolution**3).reshape((resolution,) * 3)
    grid = evaluate_grid(field, resolution, model.window / 2, level=model.level)
    return volumetric_iou(grid > model.level, truth)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The metrics file: the test set's means at the top, other splits under their names; six
    digits."""
    result: dict[str, Any] = {}
    for split in dict.fromkeys(row["split"] for row in rows):
        own = [row for row in rows if row["split"] == split]
        averages = mean_metrics([{measure: row[measure] for measure in MEASURES} for row in own])
        # Shards without a grid have no volumetric IoU.
        means: dict[str, Any] = {
            measure: round(value, 6) for measure, value in averages.items() if value == value
        }
        means["meshes"] = len(own)
        if split == "test":
            result |= means
        else:
            result[split] = means
    return result


def spread_frames(windows: Windows, split: str, count: int) -> list[Shown]:
    """`count` frames spread evenly over the clips, in turning views (Figure 4). They depend on the
    data alone."""
    clips = np.linspace(0, len(windows.clips) - 1, min(count, len(windows.clips)))
    shown = []
    for number, clip in enumerate(clips.round().astype(int).tolist()):
        name, rows = windows.clips[clip]
        shown.append(Shown(split, name, len(rows) // 2, number % windows.view_count(clip)))
    return shown


def sequence_frames(windows: Windows, split: str, length: int) -> list[Shown]:
    """Up to `length` consecutive frames from the middle of the middle clip, in one view (Figure
    5)."""
    name, rows = windows.clips[len(windows.clips) // 2]
    start = max(0, (len(rows) - length) // 2)
    return [Shown(split, name, t, 0) for t in range(start, min(len(rows), start + length))]


def reconstruct_shown(
    model: TrainedModel,
    windows: Windows,
    shown: list[Shown],
    resolution: int,
    folder: Path,
) -> int:
    """Write STEM.glb for each frame to `folder`; returns how many fields were empty and have no
    mesh."""
    numbers = {name: clip for clip, (name, _) in enumerate(windows.clips)}
    empty = 0
    for item in tqdm.tqdm(shown, desc="reconstruct", unit="mesh", disable=None):
        batch = windows.clip_batch(numbers[item.clip], item.view, 2, 0)
        own = slice(item.frame, item.frame + 1)
        (field,) = window_fields(model.network, batch.images, batch.frames[own], batch.calib[own])
        grid = evaluate_grid(field, resolution, model.window / 2, level=model.level)
        try:
            mesh = extract_surface(grid, model.window / 2, model.level)
        except EmptyField:
            empty += 1
            continue
        save_mesh(mesh, folder / f"{item.stem}.glb")
    return empty


def evaluate(
    model: TrainedModel,
    views: Path,
    points: Path,
    out: Path,
    config: Evaluate,
    seed: int,
) -> dict[str, Any]:
    """Measure every held-out split; write per_mesh.parquet and meshes/*.glb to `out`; returns
    `summary`."""
    rows: list[dict[str, Any]] = []
    (out / MESHES_NAME).mkdir(parents=True, exist_ok=True)
    for split in splits_of(points):
        windows = open_windows(model, views, points, split)
        rows += measure(model, windows, config, seed)
        shown = spread_frames(windows, split, config.frames)
        if split == HELD_OUT[0]:
            shown += sequence_frames(windows, split, config.sequence)
        if empty := reconstruct_shown(model, windows, shown, config.resolution, out / MESHES_NAME):
            message = f"{empty} of {len(shown)} {split} frames: nothing predicted inside"
            tqdm.tqdm.write(message, file=sys.stderr)
    pq.write_table(pa.Table.from_pylist(rows), out / PER_MESH_NAME)
    return summary(rows)


def flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested metrics under dotted names, numbers only, for a tracker."""
    result: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            result[prefix + name] = value
    return result


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write a metrics file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(metrics, indent=2) + "\n")
    os.replace(part, path)
