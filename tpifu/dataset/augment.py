"""Augmentation of training images. `calib` changes with the pixels, so that every world point still
projects onto the same part of the body; points and labels stay the same.

Images are (grey, mask) or (r, g, b, mask) and 0 outside the body; image and ndc coordinates are
those of `tpifu.geometry.camera`. A mirrored camera is left-handed.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation strengths, see `config.Train`; 0 disables."""

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
    """The smallest margin in any of the images; 0 on all sides if they show no body."""
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
    """Swap left and right."""
    return images[:, :, ::-1], calib * np.array([[-1], [1], [1]], calib.dtype)


def scaled(
    images: UInt8[np.ndarray, "m h w c"], calib: Float[np.ndarray, "3 4"], factor: float
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """Scale the body about the image centre, bilinearly, and its depth with it."""
    height, width = images.shape[1:3]
    # Pillow's transform maps output pixels to input pixels.
    shrink = 1 / factor
    source = (shrink, 0, width / 2 * (1 - shrink), 0, shrink, height / 2 * (1 - shrink))
    # Pillow interpolates colour * mask and divides by the interpolated mask, so the network's
    # input, (2 colour - 1) * mask, is interpolated without dark or bright pixels at the outline.
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
    """Move the body by whole pixels. Pixels that leave the image are lost; new ones are 0."""
    height, width = images.shape[1:3]
    x, y = abs(right), abs(up)
    padded = np.pad(images, ((0, 0), (y, y), (x, x), (0, 0)))
    top, left = y + up, x - right
    moved = calib.copy()
    moved[0, 3] += 2 * right / width
    moved[1, 3] += 2 * up / height
    return padded[:, top : top + height, left : left + width], moved


def augmented(
    images: UInt8[np.ndarray, "m h w c"],
    calib: Float[np.ndarray, "3 4"],
    margin: Callable[[], Margin],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """Mirror, scale and shift all images alike, at random, and keep the body inside the image.

    `margin` returns the free margin of all images; it is called only to scale or shift. The drawn
    values depend on the margin, not on the images.
    """
    # Always draw all four, so that one setting does not change the effect of another.
    flip, size, x, y = rng.random(4).tolist()
    if flip < how.flip:
        images, calib = mirrored(images, calib)
    if not (how.scale or how.shift):
        return images, calib
    free = margin()
    if flip < how.flip:
        free = replace(free, left=free.right, right=free.left)
    if 0 in astuple(free):
        # The image may crop the body here. Moved or smaller, it would end inside the image.
        return images, calib
    if how.scale:
        low, high = 1 - how.scale, min(1 + how.scale, _largest_factor(free, images.shape[1:3]))
        factor = low + size * (high - low)
        images, calib = scaled(images, calib, factor)
        free = _scaled_margin(free, images.shape[1:3], factor)
    right = _integer(-int(how.shift * free.left), int(how.shift * free.right), x)
    up = _integer(-int(how.shift * free.below), int(how.shift * free.above), y)
    return shifted(images, calib, right, up)


def _largest_factor(margin: Margin, size: tuple[int, ...]) -> float:
    """The largest factor that keeps the body inside the image."""
    height, width = size
    sides = ((min(margin.left, margin.right), width), (min(margin.above, margin.below), height))
    # Interpolation spreads a pixel by half a pixel; the image is sampled at pixel centres.
    return min((length + 1) / (length - 2 * free + 1) for free, length in sides)


def _scaled_margin(margin: Margin, size: tuple[int, ...], factor: float) -> Margin:
    height, width = size

    def scale(free: int, length: int) -> int:
        return int((length + 1 - factor * (length - 2 * free + 1)) / 2)

    return Margin(
        left=scale(margin.left, width),
        right=scale(margin.right, width),
        above=scale(margin.above, height),
        below=scale(margin.below, height),
    )


def _integer(lowest: int, highest: int, uniform: float) -> int:
    """Map `uniform` in [0, 1) to an integer in lowest .. highest."""
    return lowest + int(uniform * (highest - lowest + 1))
