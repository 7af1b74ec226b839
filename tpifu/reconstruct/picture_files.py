"""Read picture files as (r, g, b, mask) pixels, 8 bits each, upright and in sRGB.

A property that changes the picture is applied or rejected; docs/data.md lists them.
"""

import io
import os
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps

from tpifu.errors import DataError

SUFFIXES = (".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg")
"""Files taken from a folder. JPEG has no alpha channel and is rejected for this reason."""
FORMATS = ("PNG", "WEBP", "GIF", "TIFF", "JPEG")

_CICP_SRGB = bytes([1, 13, 0, 1])

Pixels = UInt8[np.ndarray, "h w 4"]


class PictureFile:
    """An image, or an animation whose frames are decoded on demand."""

    def __init__(self, path: Path, size: int) -> None:
        """Raises DataError unless the file is a picture of `size` x `size` pixels."""
        self.path, self._size = path, size
        with self._readable():
            file = path.open("rb")
            weakref.finalize(self, file.close)
            self._image = Image.open(file, formats=FORMATS)
            # The default image of an APNG is for programs that show no animations.
            self._first = int(getattr(self._image, "default_image", False))
            self.count = getattr(self._image, "n_frames", 1) - self._first
            content = path.read_bytes()
            if self.count > 1 + len(content) // 16:  # PNG states a number of frames
                raise ValueError(f"{self.count} frames in {len(content)} bytes")
            self._check_shape()
        # Pillow ignores this chunk, which has priority over the others about colours.
        header, _, _ = content.partition(b"IDAT")
        _, found, code = header.partition(b"\0\0\0\4cICP")
        if found and code[:4] != _CICP_SRGB:
            raise DataError(
                f"{path}: its colours have the code {'-'.join(map(str, code[:4]))} (cICP), "
                "expected sRGB; convert them to sRGB"
            )

    def read(self, frame: int = 0) -> Pixels:
        """Pixels of a frame. Frames are fastest in order. Raises DataError if it has no mask."""
        with self._readable():
            self._image.seek(self._first + frame)
            self._check_shape()
            upright = ImageOps.exif_transpose(self._image)
            # Pillow clips 16-bit greys without alpha channel to 255.
            if not upright.has_transparency_data or upright.mode == "I;16":
                raise DataError(
                    f"{self.path}: has no alpha channel (Pillow's mode {upright.mode}); store the "
                    "person's mask there (255 on the person, 0 elsewhere)"
                )
            try:
                pixels = np.array(_in_srgb(upright))
            except (OSError, ImageCms.PyCMSError) as error:
                raise DataError(
                    f"{self.path}: its colour profile cannot be applied ({error}); remove it"
                ) from error
        if (mask := pixels[..., 3]).min() == mask.max():
            raise DataError(
                f"{self.path}: its alpha channel is the same everywhere; store the person's mask "
                "there (255 on the person, 0 elsewhere)"
            )
        return pixels

    @property
    def duration(self) -> float:
        """Milliseconds for which the frame that was read last is shown; 0 if unknown."""
        return float(self._image.info.get("duration") or 0)

    def _check_shape(self) -> None:
        """Raise DataError unless the current frame has the model's size and square pixels."""
        width, height = self._image.size
        if (width, height) != (self._size, self._size):
            raise DataError(
                f"{self.path}: is {width} x {height} pixels, but the model reads {self._size} x "
                f"{self._size}; crop and resize it"
            )
        info = self._image.info
        across, down = info.get("aspect") or info.get("dpi") or (1, 1)
        if across and down and not 0.99 < across / down < 1.01:
            raise DataError(
                f"{self.path}: its pixels are not square ({float(across):g} per unit across, "
                f"{float(down):g} down); resample it to square pixels"
            )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn errors in opening and decoding into DataError."""
        try:
            with warnings.catch_warnings(), _silent():
                warnings.simplefilter("ignore")  # the size is checked before decoding
                yield
        except DataError:
            raise
        except Exception as error:  # the parser of each format raises its own types
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"{self.path}: not a PNG, WebP, GIF or TIFF image that Pillow can read ({reason}); "
                "give images, a folder of them, or the frames of a video as PNG files with the "
                "person's mask as alpha channel"
            ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Discard what libraries print to stderr: libtiff prints its errors."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _in_srgb(image: Image.Image) -> Image.Image:
    """RGBA in sRGB. Without a colour profile or a gamma, values are taken as sRGB."""
    pixels = image.convert("RGBA")
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "L" if source.profile.xcolor_space == "GRAY" else "RGB"
        srgb = ImageCms.createProfile("sRGB")
        colours = ImageCms.profileToProfile(pixels.convert(mode), source, srgb, outputMode="RGB")
        assert colours is not None  # None is for changes in place
    elif gamma and "srgb" not in image.info:
        levels = 255 * (np.arange(256) / 255) ** (1 / (2.2 * gamma))
        colours = pixels.convert("RGB").point(np.rint(levels).astype(int).tolist() * 3)
    else:
        return pixels
    colours.putalpha(pixels.getchannel("A"))
    return colours
