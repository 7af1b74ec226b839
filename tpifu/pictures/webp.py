"""WebP animations of any length, written with little memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from tpifu.files import whole_file


class _Film:
    """Frames as one multi-frame image.

    Pillow keeps all appended images in memory, but reads the frames of one image in order.
    """

    def __init__(self, frames: Iterator[Image.Image], count: int) -> None:
        self.n_frames = count
        self._frames = frames

    def seek(self, _frame: int) -> None:
        self._shown = next(self._frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)


def write_webp(frames: Iterable[Image.Image], count: int, path: Path, ms: int) -> None:
    """Write `count` frames as an animation of `ms` milliseconds per frame, with only a few in
    memory."""
    rest = iter(frames)
    first = next(rest)
    with whole_file(path) as part:
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
