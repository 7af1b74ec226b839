"""Augmentation of training images. `calib` changes with the pixels, so that every world point still
projects onto the same part of the body; points and labels stay the same.

Images are (grey, mask) or (r, g, b, mask) and 0 outside the body; image and ndc coordinates are
those of `tpifu.geometry.camera`. A mirrored camera is left-handed.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from tpifu.config import Train


def margin_of(images: UInt8[np.ndarray, "m h w c"]) -> Int[np.ndarray, "4"]:
    """Smallest distance in any of the images from the body to the left, right, upper and lower
    edge, pixels; 0 if they show no body."""
    mask = images[..., -1].max(axis=0) > 0
    columns, rows = mask.any(axis=0), mask.any(axis=1)
    return np.array([side.argmax() for side in (columns, columns[::-1], rows, rows[::-1])])


def mirrored(
    images: UInt8[np.ndarray, "m h w c"], calib: Float[np.ndarray, "3 4"]
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """Swap left and right."""
    return images[:, :, ::-1], calib * np.array([[-1], [1], [1]], calib.dtype)


def scaled(
    images: UInt8[np.ndarray, "m h w c"], calib: Float[np.ndarray, "3 4"], factor: float
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """Scale the body and its depth about the image centre, with bilinear interpolation."""
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
    margin: Callable[[], Int[np.ndarray, "4"]],
    train: Train,
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
    """Mirror, scale and shift all images alike, at random, keeping the body inside the image.
    `train` sets the strengths; 0 disables.

    `margin` returns `margin_of` for all images of the view; it is called only to scale or shift.
    The drawn values depend on the margin, not on `images`.
    """
    # Always draw all four, so that one setting does not change the effect of another.
    flip, size, x, y = rng.random(4).tolist()
    if flip < train.flip:
        images, calib = mirrored(images, calib)
    if not (train.scale or train.shift):
        return images, calib
    free = margin()
    if flip < train.flip:
        free = free[[1, 0, 2, 3]]
    if 0 in free:
        # The image may crop the body here. If moved or shrunk, the body would end inside the image.
        return images, calib
    if train.scale:
        height, width = images.shape[1:3]
        # Interpolation spreads a pixel by half a pixel; the image is sampled at pixel centres.
        extent = np.array([width, width, height, height]) + 1
        nearest = np.minimum(free, free[[1, 0, 3, 2]])  # the nearer of opposite edges
        largest = float((extent / (extent - 2 * nearest)).min())
        low, high = 1 - train.scale, min(1 + train.scale, largest)
        factor = low + size * (high - low)
        images, calib = scaled(images, calib, factor)
        free = ((extent - factor * (extent - 2 * free)) / 2).astype(int)
    left, right, above, below = (train.shift * free).astype(int).tolist()
    shift_right = int(x * (left + right + 1)) - left
    shift_up = int(y * (below + above + 1)) - below
    return shifted(images, calib, shift_right, shift_up)
