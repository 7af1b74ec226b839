"""A clip's pictures -> a mesh of each frame, one animated mesh, and pictures that move.

A folder of results holds

- `reconstruct.json`: model, settings and pictures as digests, and the frames without a mesh;
- `meshes/NAME.glb` (or another format), written frame by frame: what is there is not done again;
- `clip.glb`: the meshes as one glTF animation, in which a frame without one shows nothing;
- `turntable.webp`, `side_by_side.webp`: the middle frame turning, and the clip from three sides.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tqdm
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, ImageSequence

from tpifu import reconstruct
from tpifu.camera import calibration
from tpifu.checkpoint import TrainedModel
from tpifu.dataset import window_frames
from tpifu.errors import DataError
from tpifu.evaluate import require_camera, write_json
from tpifu.field import Field, window_fields
from tpifu.figures import ANGLES, on_white
from tpifu.gltf import write_animation
from tpifu.lock import locked
from tpifu.mesh import Mesh
from tpifu.render import render
from tpifu.shards import HELD_OUT, Shards, decode_png

MANIFEST_NAME = "reconstruct.json"
MESHES_NAME = "meshes"
TILE = 256
TURNS = 36
PICTURES = (".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg")
"""What is taken from a folder; the last two have no alpha channel, and are told so."""
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
HELD_OUT_FIRST = (*HELD_OUT, "validation", "train")


@dataclass(frozen=True)
class Clip:
    """Consecutive frames under one camera."""

    names: Sequence[str]
    """Of the frames' meshes."""
    images: UInt8[np.ndarray, "t h w c"]
    """(grey, mask) or (r, g, b, mask)."""
    yaw: float
    """Degrees: the view, known from shards. Of pictures 0, so that meshes lie in the frame of the
    camera."""
    title: str = ""
    """Which clip of the shards, in words."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a clip is reconstructed."""

    resolution: int = 128
    start: int = 32
    level: float = reconstruct.LEVEL
    largest: bool = False
    suffix: str = ".glb"


def holds_shards(path: Path) -> bool:
    """Whether `read_shards` is meant for it, `read_pictures` otherwise."""
    return any(path.glob("*.parquet")) or any(path.glob("views/*.parquet"))


def read_pictures(paths: Sequence[Path], size: int) -> Clip:
    """Image files in order, a folder of them (frame2 before frame10), or one animated picture; the
    mask as alpha channel. Raises DataError for anything that does not suit a model of `size`
    pixels."""
    if len(paths) == 1 and paths[0].is_dir():
        paths = _pictures_in(paths[0])
    for path in paths:
        if path.is_dir():
            raise DataError(f"{path}: is one of several inputs: a folder must be given alone")
        if not path.is_file():
            raise DataError(f"{path}: no such file or folder")
        if path.suffix.lower() in VIDEOS:
            raise DataError(
                f"{path}: a video has no mask of the person: cut it into pictures (ffmpeg -i "
                f"{path.name} frame_%04d.png), put the mask into their alpha channel, give those"
            )
    films = [_frames_of(path, size) for path in paths]
    if len(films) == 1 and len(films[0]) > 1:
        return Clip(_numbered(len(films[0])), np.stack(films[0]), 0.0)
    for path, film in zip(paths, films, strict=True):
        if len(film) > 1:
            raise DataError(
                f"{path}: has {len(film)} frames and is one of several files: give it alone, or "
                "cut it into pictures"
            )
    return Clip([path.stem for path in paths], np.stack([film[0] for film in films]), 0.0)


def _pictures_in(folder: Path) -> list[Path]:
    """Of a folder, which may hold other files: in natural order."""
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURES and not path.name.startswith(".")
    ]
    if not found:
        raise DataError(
            f"{folder}: holds neither pictures ({', '.join(PICTURES)}) nor views (tpifu render)"
        )
    return sorted(found, key=_natural)


def _natural(path: Path) -> tuple[list[str | int], str]:
    """Sorts numbers in names by value."""
    parts = re.split(r"(\d+)", path.stem.casefold())  # every other one is a number
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], path.name


def read_shards(folder: Path, clip: str | None, view: int, size: int, window: float) -> Clip:
    """One clip and view of a folder with views/, or of a views folder; without a name the first
    clip, held-out ones before those that models may have learnt. Raises DataError if there is no
    such clip or view, or if the images do not suit a model."""
    views = Shards(folder / "views" if (folder / "views").is_dir() else folder, "views")
    require_camera(folder, views, size, window)
    index = views.index
    stored = dict.fromkeys(zip(index["split"].tolist(), index["clip"].tolist(), strict=True))
    clips = sorted(stored, key=lambda key: HELD_OUT_FIRST.index(key[0]))
    chosen = next((key for key in clips if clip in (None, key[1])), None)
    if chosen is None:
        some = ", ".join(name for _, name in clips[:3])
        more = f" and {len(clips) - 3} more" if len(clips) > 3 else ""
        raise DataError(f"{folder}: has no clip {clip!r}; it has {some}{more}")
    split, name = chosen
    of_clip = (index["split"] == split) & (index["clip"] == name)
    rows = np.flatnonzero(of_clip & (index["view"] == view))
    if not len(rows):
        known = np.unique(index["view"][of_clip])
        raise DataError(
            f"{folder}: clip {name} has no view {view}; its views are {known[0]} to {known[-1]}"
        )
    found = views.read(rows.tolist(), ["image", "yaw"])
    images = np.stack([decode_png(row["image"]) for row in found])
    title = f"clip {name} ({split}), view {view}"
    return Clip(_numbered(len(images)), images, float(found[0]["yaw"]), title)


def _numbered(count: int) -> list[str]:
    return [f"frame_{number:04d}" for number in range(count)]


def _frames_of(path: Path, size: int) -> list[UInt8[np.ndarray, "h w 4"]]:
    """All frames of a picture file, checked."""
    try:
        with Image.open(path) as file:
            frames = []
            for frame in ImageSequence.Iterator(file):
                has_alpha = "A" in frame.getbands() or "transparency" in frame.info
                frames.append((np.array(frame.convert("RGBA")), has_alpha))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that Pillow can read") from error
    for pixels, has_alpha in frames:
        height, width = pixels.shape[:2]
        if not has_alpha:
            raise DataError(
                f"{path}: has no alpha channel: the mask of the person must be its alpha channel "
                "(255 on the person, 0 elsewhere)"
            )
        if (width, height) != (size, size):
            raise DataError(
                f"{path}: is {width} x {height} pixels, the model wants {size} x {size}: "
                "crop and resize it"
            )
        if (mask := pixels[..., 3]).min() == mask.max():
            state = "transparent" if mask.max() == 0 else "the same"
            raise DataError(
                f"{path}: its alpha channel is {state} everywhere: it must be the mask of the "
                "person (255 on the person, 0 elsewhere)"
            )
    return [pixels for pixels, _ in frames]


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold a folder of results for this process; DataError if another one writes there."""
    scratch = out / ".lock"
    scratch.mkdir(parents=True, exist_ok=True)
    with locked(scratch, "reconstructs into this folder"):
        try:
            yield
        finally:
            shutil.rmtree(scratch)


def reconstruct_frame(model: TrainedModel, clip: Clip, frame: int, settings: Settings) -> Mesh:
    """The mesh of one frame. Raises EmptyField where the network predicts nothing."""
    (field,) = _fields(model, clip, [frame])
    return _mesh(field, model.window / 2, settings)


def reconstruct_clip(
    model: TrainedModel, clip: Clip, out: Path, settings: Settings
) -> tuple[list[Path | None], list[str]]:
    """Write a mesh a frame to `out`/meshes: their paths, None for a frame in which the network
    predicts nothing, and what was found there.

    A frame whose mesh is there already is not done again. Raises DataError if `out` holds the
    meshes of another model, other settings or other pictures, or meshes of unknown origin.
    """
    manifest = _manifest(model, clip, settings)
    empty = _open_manifest(out / MANIFEST_NAME, manifest)
    folder = out / MESHES_NAME
    paths = [folder / f"{name}{settings.suffix}" for name in clip.names]
    left = [
        frame
        for frame, (name, path) in enumerate(zip(clip.names, paths, strict=True))
        if name not in empty and not path.exists()
    ]
    fields = _fields(model, clip, left)
    progress = tqdm.tqdm(
        left,
        desc="reconstruct",
        unit="frame",
        initial=len(paths) - len(left),
        total=len(paths),
        disable=None,
    )
    for frame, field in zip(progress, fields, strict=True):
        try:
            reconstruct.save_mesh(_mesh(field, model.window / 2, settings), paths[frame])
        except reconstruct.EmptyField as error:
            empty[clip.names[frame]] = str(error)
            write_json(out / MANIFEST_NAME, {**manifest, "empty": empty})
    found: list[Path | None] = [
        None if name in empty else path for name, path in zip(clip.names, paths, strict=True)
    ]
    return found, [f"{name}: {why}" for name, why in empty.items()]


def write_pictures(
    clip: Clip, paths: Sequence[Path | None], out: Path, window: float, fps: float
) -> None:
    """Write turntable.webp, side_by_side.webp and clip.glb to `out`, from the meshes of a clip,
    which are read one by one.

    clip.glb comes last, since a long clip of fine meshes does not fit one: DataError.
    """
    shown = [path for path in paths if path is not None]
    middle = reconstruct.read_mesh(shown[len(shown) // 2])
    angles = [clip.yaw + 360 * turn / TURNS for turn in range(TURNS)]
    turns = _drawn(middle, angles, window)
    write_webp(map(Image.fromarray, turns), TURNS, out / "turntable.webp", 1000 // 15)
    sheets = (
        _side_by_side(pixels, path, clip.yaw, window)
        for pixels, path in zip(clip.images, paths, strict=True)
    )
    write_webp(sheets, len(paths), out / "side_by_side.webp", round(1000 / fps))
    if len(paths) > 1:
        meshes = (None if path is None else reconstruct.read_mesh(path) for path in paths)
        write_animation(meshes, out / "clip.glb", fps)


def _fields(model: TrainedModel, clip: Clip, frames: Sequence[int]) -> Iterator[Field]:
    sees = model.config
    windows = window_frames(len(clip.images), sees.neighborhood, sees.stride)[list(frames)]
    camera = torch.from_numpy(calibration(clip.yaw, model.window))
    cameras = camera.expand(len(windows), -1, -1)
    images = torch.from_numpy(clip.images)
    return window_fields(model.network, images, torch.from_numpy(windows), cameras)


def _mesh(field: Field, half: float, settings: Settings) -> Mesh:
    grid = reconstruct.evaluate_grid(
        field, settings.resolution, half, level=settings.level, start=settings.start
    )
    mesh = reconstruct.extract_surface(grid, half, settings.level)
    return reconstruct.largest_component(mesh) if settings.largest else mesh


def _manifest(model: TrainedModel, clip: Clip, settings: Settings) -> dict[str, Any]:
    """What the meshes follow from."""
    network = hashlib.sha256(f"{model.config.model_dump_json()} {model.window}".encode())
    for value in model.network.state_dict().values():
        network.update(value.cpu().numpy().tobytes())
    pictures = hashlib.sha256(clip.images.tobytes())
    pictures.update(json.dumps([list(clip.names), clip.yaw]).encode())
    return {
        "model": network.hexdigest()[:16],
        "neighborhood": model.config.neighborhood,
        "stride": model.config.stride,
        "pictures": pictures.hexdigest()[:16],
        "frames": len(clip.names),
        **asdict(settings),
    }


def _open_manifest(path: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """The frames known to be empty and why; begins a new folder with its manifest."""
    if path.exists():
        try:
            found = dict(json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path}: damaged, or not of this command: choose another folder, or delete that "
                "one"
            ) from error
        empty = found.pop("empty", {})
        changed = [key for key in manifest if found.get(key) != manifest[key]]
        if changed and any((path.parent / MESHES_NAME).glob("*")):
            raise DataError(
                f"{path.parent}: holds meshes of another run ({', '.join(changed)} differ): choose "
                "another folder, or delete that one"
            )
        if not changed:
            return empty
    elif (path.parent / MESHES_NAME).exists():
        raise DataError(f"{path.parent}: holds {MESHES_NAME}/ already: choose another folder")
    write_json(path, manifest)
    return {}


def _drawn(mesh: Mesh, yaws: Sequence[float], window: float) -> list[UInt8[np.ndarray, "h w 3"]]:
    calibs = np.stack([calibration(yaw, window) for yaw in yaws])
    return [on_white(view) for view in render(mesh, calibs, TILE, "embree")]


def _side_by_side(
    pixels: UInt8[np.ndarray, "h w c"], path: Path | None, yaw: float, window: float
) -> Image.Image:
    """The input, and the mesh seen as in the input and from other sides."""
    source = Image.fromarray(on_white(pixels)).resize((TILE, TILE), Image.Resampling.LANCZOS)
    blank = np.full((TILE, TILE, 3), 255, np.uint8)
    views = [blank] * len(ANGLES)
    if path is not None:
        views = _drawn(reconstruct.read_mesh(path), [yaw + a for a in ANGLES.values()], window)
    sheet = Image.new("RGB", (TILE * (1 + len(views)), TILE + 24), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    tiles = chain([source], map(Image.fromarray, views))
    for place, (tile, text) in enumerate(zip(tiles, ["input", *ANGLES], strict=True)):
        sheet.paste(tile, (TILE * place, 24))
        draw.text((TILE * place + 8, 4), text, fill=0, font=font)
    return sheet


class _Film:
    """Frames as one picture of many: Pillow makes a list of the pictures that it appends, but seeks
    the frames of each one by one, in order."""

    def __init__(self, frames: Iterator[Image.Image], count: int) -> None:
        self.n_frames = count
        self._frames = frames

    def seek(self, _frame: int) -> None:
        self._shown = next(self._frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)


def write_webp(frames: Iterable[Image.Image], count: int, path: Path, ms: int) -> None:
    """Write `count` frames as a picture that moves, each for `ms` milliseconds; few are held at a
    time."""
    rest = iter(frames)
    first = next(rest)
    part = path.with_name(path.name + ".part")
    first.save(
        part,
        "WEBP",
        save_all=True,
        append_images=[_Film(rest, count - 1)],
        duration=ms,
        loop=0,
        quality=85,
        method=4,
    )
    os.replace(part, path)
