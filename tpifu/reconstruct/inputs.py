"""Reads the input of a reconstruction, frames and their camera, from image files or shards."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from tpifu.config import DataRecord
from tpifu.errors import DataError
from tpifu.shards.coding import decode_png
from tpifu.shards.reader import Shards, require_camera
from tpifu.shards.schema import HELD_OUT

PICTURES = (".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg")
"""Files taken from a folder. JPEG has no alpha channel and is rejected for this reason."""
HELD_OUT_FIRST = (*HELD_OUT, "validation", "train")


@dataclass(frozen=True)
class InputFrames:
    """Consecutive frames under one camera."""

    names: Sequence[str]
    """Names of the frames' meshes."""
    images: UInt8[np.ndarray, "t h w c"]
    """(grey, mask) or (r, g, b, mask)."""
    yaw: float
    """Degrees; 0 for pictures, whose meshes then lie in the camera's frame."""
    title: str = ""
    """Clip and view of the shards, to print."""
    data: DataRecord | None = None
    """Record of the shards; None for pictures."""


def holds_shards(path: Path) -> bool:
    """Whether a folder holds views, for `read_shards`."""
    return any(path.glob("*.parquet")) or any(path.glob("views/*.parquet"))


def read_pictures(paths: Sequence[Path], size: int) -> InputFrames:
    """Image files in order, a folder of them (frame2 before frame10), or one animated image.

    The alpha channel is the person's mask. Raises DataError for anything that a model of `size`
    pixels cannot read.
    """
    if len(paths) == 1 and paths[0].is_dir():
        paths = _pictures_in(paths[0])
    films = [_frames_of(path, size) for path in paths]
    if len(films) == 1 and len(films[0]) > 1:
        return InputFrames(_numbered(len(films[0])), np.stack(films[0]), 0.0)
    for path, film in zip(paths, films, strict=True):
        if len(film) > 1:
            raise DataError(
                f"{path}: is an animation of {len(film)} frames among several files; pass it alone "
                "or split it into single images"
            )
    return InputFrames([path.stem for path in paths], np.stack([film[0] for film in films]), 0.0)


def _pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder in natural order; other files are ignored."""
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
    """Sort key that compares numbers in names by value."""
    parts = re.split(r"(\d+)", path.stem.casefold())  # odd parts are numbers
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], path.name


def read_shards(folder: Path, clip: str | None, view: int, size: int, window: float) -> InputFrames:
    """One clip and view of a views folder, or of the folder that holds it.

    Without a name, the first clip: held-out splits come before training data. Raises DataError if
    the clip or view does not exist or the model cannot read the images.
    """
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
    rows = views.rows(split, name, view=view)
    if not rows:
        known = np.unique(index["view"][views.rows(split, name)])
        raise DataError(
            f"{folder}: clip {name} has no view {view}; its views are {known[0]} to {known[-1]}"
        )
    found = views.read(rows, ["image", "yaw"])
    images = np.stack([decode_png(row["image"]) for row in found])
    title = f"clip {name} ({split}), view {view}"
    record = DataRecord.of(views.metadata)
    return InputFrames(_numbered(len(images)), images, float(found[0]["yaw"]), title, record)


def _numbered(count: int) -> list[str]:
    return [f"frame_{number:04d}" for number in range(count)]


def _frames_of(path: Path, size: int) -> list[UInt8[np.ndarray, "h w 4"]]:
    """All frames of an image file, checked."""
    try:
        with Image.open(path) as file:
            frames = [np.array(frame.convert("RGBA")) for frame in ImageSequence.Iterator(file)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: not an image that Pillow can read ({reason}); give images, a folder of them, "
            "or the frames of a video as PNG files with the person's mask as alpha channel"
        ) from error
    for pixels in frames:
        height, width = pixels.shape[:2]
        if (width, height) != (size, size):
            raise DataError(
                f"{path}: is {width} x {height} pixels, the model reads {size} x {size}; crop and "
                "resize it"
            )
        if (mask := pixels[..., 3]).min() == mask.max():
            raise DataError(
                f"{path}: its alpha channel is missing or the same everywhere; store the person's "
                "mask there (255 on the person, 0 elsewhere)"
            )
    return frames
