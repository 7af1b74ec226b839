"""Reconstruct a clip as a folder of meshes, one per frame; an interrupted run resumes.

A folder of results contains

- `reconstruct.json`: digests of model, settings and images;
- `meshes/NAME.glb` (or another format), written frame by frame; existing ones are skipped;
- `clip.glb`, `turntable.webp`, `side_by_side.webp`: see `tpifu.pictures.movies`.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tqdm

from tpifu.dataset.windows import window_frames
from tpifu.errors import DataError
from tpifu.files import digest, locked, write_json
from tpifu.geometry.camera import calibration
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.mesh_files import save_mesh
from tpifu.model.field import Field, window_fields
from tpifu.model.folder import TrainedModel
from tpifu.reconstruct.grid import LEVEL
from tpifu.reconstruct.inputs import InputFrames
from tpifu.reconstruct.surface import EmptyField, reconstruct_mesh

MANIFEST_NAME = "reconstruct.json"
MESHES_NAME = "meshes"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the meshes of a clip are made; see `tpifu reconstruct --help`."""

    resolution: int = 128
    start: int = 32
    level: float = LEVEL
    suffix: str = ".glb"


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Create a folder of results and lock it for this process. Raises DataError if another process
    has it, or if it cannot be created."""
    scratch = out / ".lock"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
    with locked(scratch, "reconstructs into this folder"):
        try:
            yield
        finally:
            shutil.rmtree(scratch)


def reconstruct_frame(
    model: TrainedModel, clip: InputFrames, frame: int, settings: Settings
) -> Mesh:
    """The mesh of one frame. Raises EmptyField if the field has no surface."""
    (field,) = _fields(model, clip, [frame])
    return _mesh(field, model.window / 2, settings)


def reconstruct_clip(
    model: TrainedModel, clip: InputFrames, out: Path, settings: Settings
) -> tuple[list[Path | None], list[str]]:
    """Write one mesh per frame to `out`/meshes; frames whose mesh exists are skipped.

    Returns the paths, None for a frame without a surface, and one message for each such frame.
    Raises DataError if `out` holds meshes made with another model, settings or images, or meshes of
    unknown origin.
    """
    _open_manifest(out, _manifest(model, clip, settings))
    paths = [out / MESHES_NAME / f"{name}{settings.suffix}" for name in clip.names]
    missing = [frame for frame, path in enumerate(paths) if not path.exists()]
    fields = _fields(model, clip, missing)
    progress = tqdm.tqdm(
        missing,
        desc="reconstruct",
        unit="frame",
        initial=len(paths) - len(missing),
        total=len(paths),
        disable=None,
    )
    empty = {}
    for frame, field in zip(progress, fields, strict=True):
        try:
            save_mesh(_mesh(field, model.window / 2, settings), paths[frame])
        except EmptyField as error:
            empty[frame] = f"{clip.names[frame]}: {error}"
    found = [None if frame in empty else path for frame, path in enumerate(paths)]
    return found, list(empty.values())


def _fields(model: TrainedModel, clip: InputFrames, frames: Sequence[int]) -> Iterator[Field]:
    """The predicted fields of some frames, in this order."""
    config = model.config
    windows = window_frames(len(clip.names), config.neighborhood, config.stride)[list(frames)]
    camera = torch.from_numpy(calibration(clip.yaw, model.window)).expand(len(windows), -1, -1)
    return window_fields(model.network, clip, torch.from_numpy(windows), camera)


def _mesh(field: Field, half: float, settings: Settings) -> Mesh:
    return reconstruct_mesh(field, settings.resolution, half, settings.level, settings.start)


def _manifest(model: TrainedModel, clip: InputFrames, settings: Settings) -> dict[str, Any]:
    """Everything that the meshes depend on, as digests and values."""
    weights = [value.cpu().numpy().tobytes() for value in model.network.state_dict().values()]
    network = digest(f"{model.config.model_dump_json()} {model.window}".encode(), *weights)
    images = [digest(clip.read(frame).tobytes()) for frame in range(len(clip.names))]
    pictures = digest(json.dumps([images, list(clip.names), clip.yaw]).encode())
    return {
        "model": network[:16],
        "pictures": pictures[:16],
        **asdict(settings),
    }


def _open_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest. Raises DataError if `out` has meshes with a different manifest."""
    path = out / MANIFEST_NAME
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = None
    if known != manifest and any((out / MESHES_NAME).glob("*")):
        raise DataError(
            f"{out}: holds meshes of another model, other settings or other images; choose another "
            "folder or delete this one"
        )
    write_json(path, manifest)
