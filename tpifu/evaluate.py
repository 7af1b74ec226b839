"""A trained model over held-out clips: measures of every mesh, their means, reconstructed meshes.

Occupancy at points is measured in every view of a frame. Grids, surfaces and motion are measured in
one view of each clip, which differs from clip to clip: a reconstruction of each frame is made for
them.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tqdm
from jaxtyping import Bool, Float, Int

from tpifu.checkpoint import TrainedModel
from tpifu.config import Evaluate
from tpifu.dataset import Windows
from tpifu.errors import DataError
from tpifu.field import Field, window_fields
from tpifu.mesh import Mesh
from tpifu.metrics import THRESHOLD, confusion, point_metrics, volumetric_iou
from tpifu.parallel import parallel_map
from tpifu.reconstruct import EmptyField, evaluate_grid, extract_surface, save_mesh
from tpifu.shards import HELD_OUT, MeshFrame, MeshReader, Shards, item_seed, unpack_bits
from tpifu.surface import (
    PART_OF_JOINT,
    PARTS,
    Surface,
    compare,
    follow,
    part_iou,
    part_metrics,
    part_of_points,
    sample_surface,
    surface_metrics,
    topology,
)
from tpifu.temporal import flicker, motion_errors, volume_jitter

Row = dict[str, Any]
Grid = Bool[np.ndarray, "r r r"]

PER_MESH_NAME = "per_mesh.parquet"
MESHES_NAME = "meshes"
POINTS = ("iou", "mse", "precision", "recall", "accuracy")
SHARES = ("inside_found", "inside_missed", "outside_missed", "outside_found")
DISTANCES = ("chamfer_cm", "p2s_cm", "completeness_cm", "normal_consistency")
SURFACE = (*DISTANCES, "f_1cm", "f_2cm", "f_5cm", "components", "genus", "closed")
TIME = ("flicker", "volume_jitter", "speed_error_cm", "acceleration_error_cm")
PART_MEASURES = ("iou", "p2s_cm", "completeness_cm")
BY_PART = tuple(f"{kind}_{part}" for kind in PART_MEASURES for part in PARTS)
MEASURES = (*POINTS, *SHARES, "volumetric_iou", *SURFACE, *TIME, *BY_PART)
"""The columns of a mesh's measures; null where one is not measured or does not exist."""
HEADLINE = (*POINTS, "volumetric_iou", "chamfer_cm", "normal_consistency", "f_2cm", *TIME)
"""What the metrics file has."""


@dataclass(frozen=True)
class Shown:
    """A frame whose reconstruction is kept and pictured."""

    split: str
    clip: str
    frame: int
    view: int

    @property
    def stem(self) -> str:
        return f"{self.clip.replace('/', '_')}_f{self.frame:03d}_v{self.view}"


@dataclass(frozen=True)
class MeasuredClip:
    rows: list[Row]
    """One a frame and view."""
    meshes: list[Mesh | None]
    """The reconstruction of each frame in `measured_view`; None where nothing is predicted."""


def open_windows(model: TrainedModel, views: Path, points: Path, split: str) -> Windows:
    """Windows for `model`; DataError if the images do not suit it."""
    windows = Windows(views, points, split, model.config.neighborhood, model.config.stride)
    require_camera(views, windows.views, model.size, model.window)
    return windows


def require_camera(folder: Path, views: Shards, size: int, window: float) -> None:
    """Raises DataError, which names `folder`, unless the images are of `size` pixels over `window`
    metres, as the model's are."""
    camera = views.metadata
    if (camera["size"], camera["window"]) != (size, window):
        raise DataError(
            f"{folder}: images of {camera['size']} px over {camera['window']} m, but the model was "
            f"trained on {size} px over {window} m; render them so"
        )


def splits_of(points: Path) -> list[str]:
    """The held-out splits that a points folder has; all of its splits if it has none of them."""
    present = {path.name.rsplit("-", 1)[0] for path in points.glob("*-*.parquet")}
    return [split for split in HELD_OUT if split in present] or sorted(present)


def measured_view(windows: Windows, clip: int) -> int:
    """The view in which a clip is reconstructed: they take turns."""
    return clip % windows.view_count(clip)


def measure_clip(
    model: TrainedModel,
    windows: Windows,
    clip: int,
    truth: Sequence[MeshFrame],
    config: Evaluate,
    seed: int,
) -> MeasuredClip:
    """Everything that is measured of one clip. `truth`: the true meshes of its frames.

    Points are 50/50 inside and outside, drawn once a mesh, the same for every view and model.
    Surfaces are compared at `config.surface_points` points on each, without any alignment.
    """
    name, _ = windows.clips[clip]
    view = measured_view(windows, clip)
    shapes, meshes, parts = _measure_shapes(model, windows, clip, view, truth, config, seed)
    rows = []
    for each in range(windows.view_count(clip)):
        batch = windows.clip_batch(clip, each, config.points, seed)
        fields = window_fields(model.network, batch.images, batch.frames, batch.calib)
        for t, (frame, field) in enumerate(zip(truth, fields, strict=True)):
            inside = batch.labels[t].numpy() > THRESHOLD
            occupancy = field(batch.points[t]).cpu().numpy()
            rows.append(
                {
                    "split": frame.split,
                    "sequence": frame.sequence,
                    "clip": name,
                    "frame": t,
                    "view": each,
                    **dict.fromkeys(MEASURES),
                    **point_metrics(occupancy, inside),
                    **confusion(occupancy, inside),
                    **(part_iou(occupancy, inside, parts[t]) if parts else {}),
                    **(shapes[t] if each == view else {}),
                }
            )
    return MeasuredClip(rows, meshes)


def _measure_shapes(
    model: TrainedModel,
    windows: Windows,
    clip: int,
    view: int,
    truth: Sequence[MeshFrame],
    config: Evaluate,
    seed: int,
) -> tuple[list[Row], list[Mesh | None], list[Int[np.ndarray, " n"]]]:
    """Measures of each frame's reconstruction in one view, the reconstructions, and the body part
    of each of the frame's points (an empty list, if the bodies have no skeleton)."""
    name, point_rows = windows.clips[clip]
    half, level = model.window / 2, model.level
    batch = windows.clip_batch(clip, view, config.points, seed)
    fields = window_fields(model.network, batch.images, batch.frames, batch.calib)
    # The same points on all true frames, which can be followed where the faces are the same.
    fixed = all(np.array_equal(frame.mesh.faces, truth[0].mesh.faces) for frame in truth)
    rng = np.random.default_rng([*item_seed(seed, name, 0), 2])
    marks = sample_surface(truth[0].mesh, config.surface_points, rng)
    rows: list[Row] = []
    meshes: list[Mesh | None] = []
    parts: list[Int[np.ndarray, " n"]] = []
    grids: list[tuple[Grid, Grid]] = []
    paths = np.full((2, len(truth), config.surface_points, 3), np.nan, np.float32)
    for t, (frame, field) in enumerate(zip(truth, fields, strict=True)):
        row: Row = {}
        surface = Surface(frame.mesh)
        part_of_vertex = None if frame.joints is None else PART_OF_JOINT[frame.joints]
        if part_of_vertex is not None:
            parts.append(part_of_points(batch.points[t].numpy(), surface, part_of_vertex))
        mesh = _reconstruct(field, config, half, level)
        if mesh is not None:
            rng = np.random.default_rng([*item_seed(seed, name, t), 1])
            ours = sample_surface(mesh, config.surface_points, rng)
            if fixed:
                true = follow(marks, frame.mesh)
            else:
                true = sample_surface(frame.mesh, config.surface_points, rng)
            comparison = compare(Surface(mesh), surface, ours, true)
            row |= surface_metrics(comparison) | topology(mesh)
            if part_of_vertex is not None:
                row |= part_metrics(comparison, part_of_vertex)
            if fixed:
                paths[:, t] = comparison.to_predicted.points, true.points
        grid = _grid(windows, field, int(point_rows[t]), half, level, config.start)
        if grid is not None:
            row["volumetric_iou"] = volumetric_iou(*grid)
            grids.append(grid)
        rows.append(row)
        meshes.append(mesh)
    _add_motion(rows, meshes, truth, grids, paths)
    return rows, meshes, parts


def _reconstruct(field: Field, config: Evaluate, half: float, level: float) -> Mesh | None:
    grid = evaluate_grid(field, config.resolution, half, level=level, start=config.start)
    try:
        return extract_surface(grid, half, level)
    except EmptyField:
        return None


def _grid(
    windows: Windows, field: Field, row: int, half: float, level: float, start: int
) -> tuple[Grid, Grid] | None:
    """The predicted and the true inside on the stored uniform grid, where there is one."""
    (stored,) = windows.points.read([row], ["grid"])
    if stored["grid"] is None:
        return None
    resolution = windows.points.metadata["grid"]
    truth = unpack_bits(stored["grid"], resolution**3).reshape((resolution,) * 3)
    return evaluate_grid(field, resolution, half, level=level, start=start) > level, truth


def _add_motion(
    rows: list[Row],
    meshes: Sequence[Mesh | None],
    truth: Sequence[MeshFrame],
    grids: Sequence[tuple[Grid, Grid]],
    paths: Float[np.ndarray, "2 t m 3"],
) -> None:
    """Measures from frame to frame, in the row of the later frame."""
    volumes = np.array(
        [
            [0.0 if mesh is None else mesh.volume(), frame.mesh.volume()]
            for mesh, frame in zip(meshes, truth, strict=True)
        ]
    )
    found = {"volume_jitter": volume_jitter(*volumes.T)}
    if len(grids) == len(rows):
        predicted, true = (np.stack(side) for side in zip(*grids, strict=True))
        found["flicker"] = flicker(predicted, true)
    found["speed_error_cm"], found["acceleration_error_cm"] = motion_errors(*paths)
    for measure, values in found.items():
        for row, value in zip(rows[len(rows) - len(values) :], values.tolist(), strict=True):
            row[measure] = value


def over_views(rows: Sequence[Row]) -> list[Row]:
    """One row a mesh: the mean of each measure over the views that have it, else nan."""
    views: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        views.setdefault((row["split"], row["clip"], row["frame"]), []).append(row)
    result = []
    for own in views.values():
        table = np.array([[row[measure] for measure in MEASURES] for row in own], np.float64)
        known = np.isfinite(table)
        views_with = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
        means = np.where(known, table, 0).sum(axis=0) / views_with
        key = {name: own[0][name] for name in ("split", "sequence", "clip", "frame")}
        result.append({**key, **dict(zip(MEASURES, means.tolist(), strict=True))})
    return result


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """The metrics file, HEADLINE: the test set's means at the top, other splits under their names;
    four digits. What no mesh has is left out."""
    result: dict[str, Any] = {}
    by_mesh = over_views(rows)
    for split in dict.fromkeys(row["split"] for row in by_mesh):
        own = [row for row in by_mesh if row["split"] == split]
        means: dict[str, Any] = {}
        for measure in HEADLINE:
            values = np.array([row[measure] for row in own])
            if (known := np.isfinite(values)).any():
                means[measure] = round(float(values[known].mean()), 4)
        means["meshes"] = len(own)
        if split == HELD_OUT[0]:
            result |= means
        else:
            result[split] = means
    return result


def spread_frames(windows: Windows, split: str, count: int) -> list[Shown]:
    """`count` frames spread evenly over the clips, in the views that are measured (Figure 4). They
    depend on the data alone."""
    clips = np.linspace(0, len(windows.clips) - 1, min(count, len(windows.clips)))
    shown = []
    for clip in clips.round().astype(int).tolist():
        name, rows = windows.clips[clip]
        shown.append(Shown(split, name, len(rows) // 2, measured_view(windows, clip)))
    return shown


def sequence_frames(windows: Windows, split: str, length: int) -> list[Shown]:
    """Up to `length` consecutive frames from the middle of the middle clip (Figure 5)."""
    clip = len(windows.clips) // 2
    name, rows = windows.clips[clip]
    start = max(0, (len(rows) - length) // 2)
    view = measured_view(windows, clip)
    return [Shown(split, name, t, view) for t in range(start, min(len(rows), start + length))]


def measure(
    model: TrainedModel,
    meshes: Path,
    windows: Windows,
    split: str,
    config: Evaluate,
    seed: int,
    *,
    jobs: int = 1,
) -> Iterator[MeasuredClip]:
    """Every clip of `windows` in turn; `meshes` has the true ones. `jobs` processes share the clips
    of a model on the CPU; the numbers are the same."""
    task = partial(
        _measure_numbered,
        model=model,
        windows=windows,
        reader=MeshReader(meshes),
        split=split,
        config=config,
        seed=seed,
    )
    on_cpu = next(model.network.parameters()).device.type == "cpu"
    clips = range(len(windows.clips))
    return parallel_map(task, clips, jobs=jobs if on_cpu else 1, label=f"evaluate {split}")


def _measure_numbered(
    clip: int,
    *,
    model: TrainedModel,
    windows: Windows,
    reader: MeshReader,
    split: str,
    config: Evaluate,
    seed: int,
) -> MeasuredClip:
    name, _ = windows.clips[clip]
    truth = reader.read(reader.clip(split, name))
    return measure_clip(model, windows, clip, truth, config, seed)


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
        pq.write_table(_table(rows), out / PER_MESH_NAME)
    return summary(rows)


def _table(rows: Sequence[Row]) -> pa.Table:
    keys = [(name, pa.string()) for name in ("split", "sequence", "clip")]
    keys += [(name, pa.int32()) for name in ("frame", "view")]
    schema = pa.schema([*keys, *((measure, pa.float64()) for measure in MEASURES)])
    return pa.Table.from_pylist(list(rows), schema=schema)


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    result: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=2) + "\n")
    os.replace(part, path)
