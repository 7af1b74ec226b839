"""Changed training images whose camera stays exact: what is done to the pixels is done to `calib`,
so a world point still projects onto the same part of the body, and points and labels stay.

Images are (grey, mask) or (r, g, b, mask), 0 beside the body; image and ndc are those of
`tpifu.camera`. A mirrored camera is left-handed.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much windows are changed; 0 is not at all. What `config.Train` says of each."""

    flip: float = 0.0
    scale: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Margin:
    """Pixels between the body and each edge of the image."""

    left: int
    right: int
    above: int
    below: int


def margin_of(images: UInt8[np.ndarray, "m h w c"]) -> Margin:
    """The margin that all of the images leave free; none where they show no body."""
    mask = images[..., -1].max(axis=0)
    columns, rows = mask.max(axis=0) > 0, mask.max(axis=1) > 0
    return Margin(
        left=int(columns.argmax()),
        right=int(columns[::-1].argmax()),
        above=int(rows.argmax()),
        below=int(rows[::-1].argmax()),
    )


def mirrored(
    images: UInt8[np.ndarray, "m h w c"], calib: Float[np.ndarray, "3 4"]
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """Left and right exchanged."""
    return images[:, :, ::-1], calib * np.array([[-1], [1], [1]], calib.dtype)


def scaled(
    images: UInt8[np.ndarray, "m h w c"], calib: Float[np.ndarray, "3 4"], factor: float
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """A body `factor` times as large, in depth too, about the centre of the image; bilinear."""
    height, width = images.shape[1:3]
    # Pillow asks where an output pixel comes from.
    shrink = 1 / factor
    source = (shrink, 0, width / 2 * (1 - shrink), 0, shrink, height / 2 * (1 - shrink))
    # Pillow interpolates colour times mask and divides by the mask again. So the network's input,
    # (2 colour - 1) mask, is interpolated too: nothing dark or bright appears at the outline.
    resized = [
        Image.fromarray(image).transform(
            (width, height), Image.Transform.AFFINE, source, Image.Resampling.BILINEAR
        )
        for image in images
    ]
    return np.stack([np.array(image) for image in resized]), calib * calib.dtype.type(factor)


def shifted(
    images: UInt8[np.ndarray, "m h w c"], calib: Float[np.ndarray, "3 4"], right: int, up: int
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """Everything moved by whole pixels; what leaves the image is lost, what comes in is empty."""
    height, width = images.shape[1:3]
    across, along = abs(right), abs(up)
    framed = np.pad(images, ((0, 0), (along, along), (across, across), (0, 0)))
    top, left = along + up, across - right
    moved = calib.copy()
    moved[0, 3] += 2 * right / width
    moved[1, 3] += 2 * up / height
    return framed[:, top : top + height, left : left + width], moved


def augmented(
    images: UInt8[np.ndarray, "m h w c"],
    calib: Float[np.ndarray, "3 4"],
    margin: Callable[[], Margin],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """A random mirroring, size and place, one for all images, that keeps the body in the image.

    `margin` tells what is free in all of the images; it is asked only where they are moved or
    scaled. What is drawn depends on it and not on the images.
    """
    # All four are always drawn, so that no setting changes what another one does.
    flip, size, across, along = rng.random(4).tolist()
    if flip < how.flip:
        images, calib = mirrored(images, calib)
    if not (how.scale or how.shift):
        return images, calib
    free = margin()
    if flip < how.flip:
        free = replace(free, left=free.right, right=free.left)
    if 0 in astuple(free):
        # Perhaps the body goes on beyond the edge: moved or made smaller, it would end in the
        # middle of the image.
        return images, calib
    if how.scale:
        low, high = 1 - how.scale, min(1 + how.scale, _largest_factor(free, images.shape[1:3]))
        factor = low + size * (high - low)
        images, calib = scaled(images, calib, factor)
        free = _scaled_margin(free, images.shape[1:3], factor)
    right = _between(-int(how.shift * free.left), int(how.shift * free.right), across)
    up = _between(-int(how.shift * free.below), int(how.shift * free.above), along)
    return shifted(images, calib, right, up)


def _largest_factor(margin: Margin, size: tuple[int, ...]) -> float:
    """The enlargement at which the first pixel of the body would be cut off."""
    height, width = size
    sides = ((min(margin.left, margin.right), width), (min(margin.above, margin.below), height))
    # Interpolation takes a pixel half a pixel beyond its edge, and shows at pixel centres.
    return min((length + 1) / (length - 2 * free + 1) for free, length in sides)


def _scaled_margin(margin: Margin, size: tuple[int, ...], factor: float) -> Margin:
    height, width = size

    def left_of(free: int, length: int) -> int:
        return int((length + 1 - factor * (length - 2 * free + 1)) / 2)

    return Margin(
        left=left_of(margin.left, width),
        right=left_of(margin.right, width),
        above=left_of(margin.above, height),
        below=left_of(margin.below, height),
    )


def _between(lowest: int, highest: int, unit: float) -> int:
    """The whole number that `unit` in [0, 1) chooses, each as often."""
    return lowest + int(unit * (highest - lowest + 1))
