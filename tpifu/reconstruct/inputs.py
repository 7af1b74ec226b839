"""Reads the input of a reconstruction, frames and their camera, from image files or shards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tpifu.config import DataRecord, LightKind
from tpifu.errors import DataError
from tpifu.files import frame_files, numbering_warning
from tpifu.reconstruct.picture_files import SUFFIXES, PictureFile
from tpifu.reconstruct.training_range import range_warning
from tpifu.shards.coding import decode_png
from tpifu.shards.reader import Shards, require_camera
from tpifu.shards.schema import HELD_OUT

HELD_OUT_FIRST = (*HELD_OUT, "validation", "train")


@dataclass(frozen=True)
class InputFrames:
    """Consecutive frames under one camera. Images are read on demand and not kept, so that memory
    does not grow with the length of the clip."""

    names: Sequence[str]
    """Names of the frames' meshes."""
    read: Callable[[int], UInt8[np.ndarray, "h w c"]]
    """The image of a frame, by number: (grey, mask) or (r, g, b, mask)."""
    yaw: float
    """Yaw, degrees; 0 for pictures, whose meshes then lie in the camera's frame."""
    title: str = ""
    """Clip and view of the shards, to print."""
    data: DataRecord | None = None
    """Record of the shards; None for pictures."""
    warnings: Sequence[str] = ()
    """Lines to print about pictures."""

    def __getitem__(self, numbers: Sequence[int]) -> UInt8[Tensor, "m h w c"]:
        """The images of some frames."""
        return torch.from_numpy(np.stack([self.read(number) for number in numbers]))


def holds_shards(path: Path) -> bool:
    """Whether a folder contains shards that `read_shards` can open."""
    return any(path.glob("*.parquet")) or any(path.glob("views/*.parquet"))


def read_pictures(
    paths: Sequence[Path], size: int, window: float, light: LightKind | None
) -> InputFrames:
    """Image files in order, a folder of them (frame2 before frame10), or one animated image.

    The alpha channel is the person's mask. `size` (pixels), `window` (metres) and `light` are those
    of the training images; `range_warning` explains a light of None. Checks every frame: one that
    the model cannot read raises DataError, one that differs from the training images gives a
    warning.
    """
    files = frame_files(paths, SUFFIXES)
    if not files:
        raise DataError(
            f"{paths[0]}: holds neither pictures ({', '.join(SUFFIXES)}) nor views (tpifu render)"
        )
    film = PictureFile(files[0], size)
    if len(files) == 1 and film.count > 1:
        return _read_animation(film, window, light)
    unlike = []
    for path in files:
        file = PictureFile(path, size)
        if file.count > 1:
            raise DataError(
                f"{path}: is an animation of {file.count} frames among several files; pass it "
                "alone or split it into single images"
            )
        if warning := range_warning(file.read(), window, light):
            unlike.append(f"{path}: {warning}")
    warnings = [line for line in [numbering_warning(files), _summary(unlike)] if line]
    names = [path.stem for path in files]
    return InputFrames(
        names, lambda number: PictureFile(files[number], size).read(), 0.0, warnings=warnings
    )


def _read_animation(film: PictureFile, window: float, light: LightKind | None) -> InputFrames:
    """The frames of an animation, checked."""
    names = _numbered(film.count)
    unlike, durations = [], []
    for number, name in enumerate(names):
        if warning := range_warning(film.read(number), window, light):
            unlike.append(f"{film.path}, {name}: {warning}")
        durations.append(film.duration)
    warnings = [_summary(unlike)] if unlike else []
    shortest, longest = min(durations[:-1]), max(durations[:-1])
    if longest > 1.5 * shortest:  # 1.33: 30 frames per second in a GIF, 30, 30 and 40 ms
        warnings.append(
            f"{film.path}: shows frames for {shortest:g} to {longest:g} ms; models expect frames "
            "at equal intervals"
        )
    return InputFrames(names, film.read, 0.0, warnings=warnings)


def _summary(unlike: Sequence[str]) -> str:
    """One line for all frames outside the range of the training images; empty if there are none."""
    if not unlike:
        return ""
    others = f"; {len(unlike) - 1} more frames have such warnings" if len(unlike) > 1 else ""
    return f"{unlike[0]}{others}; the mesh may be wrong (README: Your own meshes and images)"


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
    (first,) = views.read(rows[:1], ["yaw"])

    def read(number: int) -> UInt8[np.ndarray, "h w c"]:
        (row,) = views.read([rows[number]], ["image"])
        return decode_png(row["image"])

    title = f"clip {name} ({split}), view {view}"
    record = DataRecord.of(views.metadata)
    return InputFrames(_numbered(len(rows)), read, float(first["yaw"]), title, record)


def _numbered(count: int) -> list[str]:
    return [f"frame_{number:04d}" for number in range(count)]
