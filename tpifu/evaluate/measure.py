"""A model on held-out clips: point, surface and motion measures of every frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from tpifu.body.skeleton import PART_OF_JOINT
from tpifu.config import Evaluate
from tpifu.dataset.windows import Windows
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.nearest import Surface
from tpifu.geometry.sampling import follow, stratified_samples
from tpifu.measures.motion import flicker, motion_errors, volume_jitter
from tpifu.measures.names import MEASURES, Row
from tpifu.measures.points import THRESHOLD, confusion, point_metrics, volumetric_iou
from tpifu.measures.surfaces import (
    compare,
    part_iou,
    part_metrics,
    part_of_points,
    surface_metrics,
    topology,
)
from tpifu.model.field import Field, window_fields
from tpifu.model.folder import TrainedModel
from tpifu.parallel import parallel_map
from tpifu.reconstruct.grid import evaluate_grid
from tpifu.reconstruct.surface import EmptyField, reconstruct_mesh
from tpifu.shards.coding import unpack_bits
from tpifu.shards.meshes import MeshFrame, MeshReader
from tpifu.shards.schema import item_seed

Grid = Bool[np.ndarray, "r r r"]


@dataclass(frozen=True)
class MeasuredClip:
    rows: list[Row]
    """One row for each frame and view."""
    meshes: list[Mesh | None]
    """The reconstruction of each frame in `measured_view`; None if the field has no surface."""


def measured_view(windows: Windows, clip: int) -> int:
    """The view in which a clip is reconstructed: clip number modulo views."""
    return clip % windows.view_count(clip)


def measure_clip(
    model: TrainedModel,
    windows: Windows,
    clip: int,
    truth: Sequence[MeshFrame],
    config: Evaluate,
    seed: int,
) -> MeasuredClip:
    """All measures of one clip. `truth`: the true meshes of its frames.

    Half of the points are inside; they are drawn once a mesh and are the same for every view and
    model. Surfaces are compared at `config.surface_points` points on each, without alignment.
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
    of each of the frame's points (an empty list if the meshes have no skeleton)."""
    name, point_rows = windows.clips[clip]
    half, level = model.window / 2, model.level
    batch = windows.clip_batch(clip, view, config.points, seed)
    fields = window_fields(model.network, batch.images, batch.frames, batch.calib)
    # Points fixed to the body can be followed only where all frames have the same faces.
    fixed = all(np.array_equal(frame.mesh.faces, truth[0].mesh.faces) for frame in truth)
    rng = np.random.default_rng([*item_seed(seed, name, 0), 2])
    marks = stratified_samples(truth[0].mesh, config.surface_points, rng)
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
            ours = stratified_samples(mesh, config.surface_points, rng)
            if fixed:
                true = follow(marks, frame.mesh)
            else:
                true = stratified_samples(frame.mesh, config.surface_points, rng)
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
    try:
        return reconstruct_mesh(field, config.resolution, half, level, config.start)
    except EmptyField:
        return None


def _grid(
    windows: Windows, field: Field, row: int, half: float, level: float, start: int
) -> tuple[Grid, Grid] | None:
    """Predicted and true occupancy on the stored uniform grid; None if none is stored."""
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
    """Add the measures of change between frames to the row of the later frame."""
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
    """Measure every clip of `windows`; `meshes` is the folder of true meshes.

    `jobs` processes share the clips if the model is on the CPU; the numbers do not change.
    """
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
