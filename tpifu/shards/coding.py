"""Encoding of images as PNG, points as 16-bit codes and labels as bits."""

import io
import zlib

import numpy as np
from jaxtyping import Bool, Float, Int16, UInt8
from PIL import Image

from tpifu.errors import DataError

POINT_HALF = 2.56
"""Largest stored coordinate, metres. Steps are 78 micrometres."""
POINT_STEP = POINT_HALF / 32767


def png(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Encode (grey, mask) or (r, g, b, mask) pixels losslessly."""
    mode = {2: "LA", 4: "RGBA"}[pixels.shape[2]]
    buffer = io.BytesIO()
    image = Image.frombytes(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels).tobytes())
    # For a smooth body on an empty background, run-length encoding takes half the time of zlib's
    # default and gives the same size.
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def decode_png(data: bytes) -> UInt8[np.ndarray, "h w c"]:
    """Inverse of `png`. Raises DataError for a damaged image, or one without a mask."""
    try:
        image = Image.open(io.BytesIO(data))
        pixels = np.array(image)
    except Exception as error:  # Pillow raises many undocumented kinds
        raise DataError(f"a stored image is damaged ({error}); write the views again") from error
    if image.mode not in ("LA", "RGBA"):
        raise DataError(
            f"a stored image has mode {image.mode}, expected LA or RGBA, with the person's mask as "
            "alpha; write the views again"
        )
    return pixels


def quantise(points: Float[np.ndarray, "n 3"]) -> Int16[np.ndarray, "n 3"]:
    """Nearest code of each coordinate, clipped to POINT_HALF."""
    return np.rint(points / POINT_STEP).clip(-32767, 32767).astype(np.int16)


def dequantise(codes: Int16[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Codes -> float32 metres."""
    return codes.astype(np.float32) * np.float32(POINT_STEP)


def pack_codes(codes: Int16[np.ndarray, "n 3"]) -> bytes:
    """x0 y0 z0 x1 ..., 16-bit little-endian. Parquet would store four bytes per integer."""
    return codes.astype("<i2").tobytes()


def unpack_codes(data: bytes) -> Int16[np.ndarray, "n 3"]:
    """Inverse of `pack_codes`. Raises DataError for an incomplete point."""
    if len(data) % 6:
        raise DataError("a stored point is incomplete; write the points again")
    return np.frombuffer(data, "<i2").reshape(-1, 3)


def unpack_bits(bits: bytes, count: int) -> Bool[np.ndarray, " n"]:
    """The first `count` bits, highest bit of each byte first. Raises DataError if some lack."""
    if 8 * len(bits) < count:
        raise DataError("a stored point or cell has no label; write the points again")
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool)
