"""Evaluate a model on held-out clips: point, surface and motion measures for every frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from tpifu.body.skeleton import PART_OF_JOINT
from tpifu.config import Evaluate
from tpifu.dataset.windows import Batch, Windows
from tpifu.errors import DataError
from tpifu.geometry.camera import calibration
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.nearest import Surface
from tpifu.geometry.sampling import follow, stratified_samples
from tpifu.measures.motion import flicker, motion_errors, volume_jitter
from tpifu.measures.names import MEASURES, Row
from tpifu.measures.points import THRESHOLD, confusion, point_metrics, volumetric_iou
from tpifu.measures.surfaces import (
    compare,
    normal_error,
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
from tpifu.render.normals import normal_images
from tpifu.shards.coding import unpack_bits
from tpifu.shards.meshes import MeshFrame, MeshReader
from tpifu.shards.reader import require_same_meshes
from tpifu.shards.schema import item_seed

Grid = Bool[np.ndarray, "r r r"]

NORMAL_YAWS = (0.0, 90.0, 180.0, 270.0)
"""Yaws of the normal images relative to the input's view, degrees."""
NORMAL_SIZE = 256
"""Side of the normal images, pixels: 1 cm each in a window of 2.56 m."""


@dataclass(frozen=True)
class MeasuredClip:
    rows: list[Row]
    """One row for each frame and view."""
    meshes: list[Mesh | None]
    """The reconstruction of each frame in `measured_view`; None if the field has no surface."""


def measured_view(windows: Windows, clip: int) -> int:
    """The view in which a clip is reconstructed: clip index modulo number of views."""
    return clip % windows.view_count(clip)


@dataclass(frozen=True)
class ClipMeasurer:
    """Measures the clips of one split.

    Half of the points are inside; they are drawn once per mesh and are the same for every view and
    model. Surfaces are compared at `config.surface_points` points on each, without alignment.
    """

    model: TrainedModel
    windows: Windows
    meshes: MeshReader
    split: str
    config: Evaluate
    seed: int

    def __call__(self, clip: int) -> MeasuredClip:
        name, _ = self.windows.clips[clip]
        truth = self.meshes.read(self.meshes.clip(self.split, name))
        view = measured_view(self.windows, clip)
        shapes, meshes, parts = self._measure_shapes(clip, view, truth)
        rows = []
        for each in range(self.windows.view_count(clip)):
            batch, fields = self._fields(clip, each)
            for t, (frame, field) in enumerate(zip(truth, fields, strict=True)):
                inside = batch.labels[t].numpy() > THRESHOLD
                occupancy = field(batch.points[t]).cpu().numpy()
                rows.append(
                    {
                        **frame.key(),
                        "view": each,
                        **dict.fromkeys(MEASURES),
                        **point_metrics(occupancy, inside),
                        **confusion(occupancy, inside),
                        **(part_iou(occupancy, inside, parts[t]) if parts else {}),
                        **(shapes[t] if each == view else {}),
                    }
                )
        return MeasuredClip(rows, meshes)

    def _fields(self, clip: int, view: int) -> tuple[Batch, Iterator[Field]]:
        """The windows of a clip in one view, and the predicted field of each frame."""
        batch = self.windows.clip_batch(clip, view, self.config.points, self.seed)
        fields = window_fields(self.model.network, batch.images, batch.frames, batch.calib)
        return batch, fields

    def _measure_shapes(
        self, clip: int, view: int, truth: Sequence[MeshFrame]
    ) -> tuple[list[Row], list[Mesh | None], list[Int[np.ndarray, " n"]]]:
        """Measures of each frame's reconstruction in one view, the reconstructions, and the body
        part of each of the frame's points (an empty list if the meshes have no skeleton)."""
        name, point_rows = self.windows.clips[clip]
        count = self.config.surface_points
        batch, fields = self._fields(clip, view)
        # Points fixed to the body can be followed only if all frames have the same faces.
        fixed = all(np.array_equal(frame.mesh.faces, truth[0].mesh.faces) for frame in truth)
        rng = np.random.default_rng([*item_seed(self.seed, name, 0), 2])
        marks = stratified_samples(truth[0].mesh, count, rng)
        rows: list[Row] = []
        meshes: list[Mesh | None] = []
        parts: list[Int[np.ndarray, " n"]] = []
        grids: list[tuple[Grid, Grid]] = []
        # In a window of 2 m, the calibration of a yaw is its rotation.
        turns = np.stack([calibration(yaw, 2.0)[:, :3] for yaw in NORMAL_YAWS])
        normal_calibs = turns @ batch.calib[0].numpy()
        paths = np.full((2, len(truth), count, 3), np.nan, np.float32)
        for t, (frame, field) in enumerate(zip(truth, fields, strict=True)):
            row: Row = {}
            surface = Surface(frame.mesh)
            part_of_vertex = None if frame.joints is None else PART_OF_JOINT[frame.joints]
            if part_of_vertex is not None:
                parts.append(part_of_points(batch.points[t].numpy(), surface, part_of_vertex))
            mesh = self._reconstruct(field)
            if mesh is not None:
                rng = np.random.default_rng([*item_seed(self.seed, name, t), 1])
                ours = stratified_samples(mesh, count, rng)
                if fixed:
                    true = follow(marks, frame.mesh)
                else:
                    true = stratified_samples(frame.mesh, count, rng)
                comparison = compare(Surface(mesh), surface, ours, true)
                row |= surface_metrics(comparison) | topology(mesh)
                normals = [normal_images(m, normal_calibs, NORMAL_SIZE) for m in (mesh, frame.mesh)]
                row["normal_error"] = normal_error(*normals)
                if part_of_vertex is not None:
                    row |= part_metrics(comparison, part_of_vertex)
                if fixed:
                    paths[:, t] = comparison.to_predicted.points, true.points
            grid = self._grid(field, int(point_rows[t]))
            if grid is not None:
                row["volumetric_iou"] = volumetric_iou(*grid)
                grids.append(grid)
            rows.append(row)
            meshes.append(mesh)
        _add_motion(rows, meshes, truth, grids, paths)
        return rows, meshes, parts

    def _reconstruct(self, field: Field) -> Mesh | None:
        """The predicted surface; None if the field has none."""
        model, config = self.model, self.config
        try:
            return reconstruct_mesh(
                field, config.resolution, model.window / 2, model.level, config.start
            )
        except EmptyField:
            return None

    def _grid(self, field: Field, row: int) -> tuple[Grid, Grid] | None:
        """Predicted and true occupancy on the stored uniform grid; None if no grid is stored."""
        model, points = self.model, self.windows.points
        (stored,) = points.read([row], ["grid"])
        if stored["grid"] is None:
            return None
        resolution = points.metadata["grid"]
        truth = unpack_bits(stored["grid"], resolution**3).reshape((resolution,) * 3)
        values = evaluate_grid(
            field, resolution, model.window / 2, level=model.level, start=self.config.start
        )
        return values > model.level, truth


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

    If the model is on the CPU, `jobs` processes share the clips; the measures do not depend on it.
    Raises DataError if the views and points were not made from these meshes.
    """
    reader = MeshReader(meshes)
    require_same_meshes(reader.shards, windows.points)
    for name, rows in windows.clips:
        if (found := len(reader.clip(split, name))) != len(rows):
            raise DataError(
                f"{meshes}: {found} of {len(rows)} frames of clip {name} ({split}); a file is "
                "missing: write the folder again"
            )
    measurer = ClipMeasurer(model, windows, reader, split, config, seed)
    on_cpu = next(model.network.parameters()).device.type == "cpu"
    clips = range(len(windows.clips))
    return parallel_map(measurer, clips, jobs=jobs if on_cpu else 1, label=f"evaluate {split}")
