"""The fields of SURREAL's `*_info.mat` files, read by scipy within size limits."""

import io
import math
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import scipy.io

from tpifu.errors import DataError

LARGEST = 1e4
"""Limit on all values. In real clips, joints are within metres and angles within a few turns."""

FIELDS = ("pose", "shape", "gender", "zrot", "joints3D")
# A real clip has at most 100 frames in 60 kB.
MAX_BYTES, MAX_UNPACKED, MAX_FRAMES = 2**24, 2**26, 100_000
_NUMBERS = {"single", "double", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64))}
_COMPRESSED = 15  # miCOMPRESSED
_TYPES = {*range(1, 8), 9, 12, 13, 16, 17, 18}  # numbers and text: miINT8 to miUTF32
_NESTED = {1, 2, 3, 16, 17}  # classes of arrays that hold others: cells, structs, objects


class UnusableClip(DataError):
    """A clip to skip; `reason` is the kind of error in a few words."""

    def __init__(self, path: Path, reason: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path, self.reason, self.detail = path, reason, detail


def read_fields(path: Path) -> dict[str, np.ndarray]:
    """FIELDS as stored, in double precision. Raises UnusableClip unless the file is a complete MAT
    file with these fields; their values are not checked.

    scipy reads the headers first. Fields are loaded only if they declare plain numbers, and at most
    as many as MAX_FRAMES poses have.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES:,} bytes")
        content = path.read_bytes()
        _check_elements(content)
        with warnings.catch_warnings(action="ignore"):  # malformed files are errors
            headers = scipy.io.whosmat(io.BytesIO(content))
            for name, shape, kind in headers:
                numbers = kind in _NUMBERS and 0 < math.prod(shape) <= 72 * MAX_FRAMES
                if name in FIELDS and not numbers:
                    raise UnusableClip(path, "not a clip", f"{name} is {kind} of shape {shape}")
            stored = scipy.io.loadmat(io.BytesIO(content), variable_names=FIELDS)
            if missing := [name for name in FIELDS if name not in stored]:
                raise UnusableClip(path, "missing field", f"lacks {', '.join(missing)}")
            for name in FIELDS:
                if stored[name].dtype.kind not in "fiu":
                    raise UnusableClip(path, "not a clip", f"{name} is {stored[name].dtype}")
            return {name: stored[name].astype(np.float64) for name in FIELDS}
    except UnusableClip:
        raise
    except Exception as error:  # scipy raises many types for truncated or foreign files
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        detail = f"not a readable SURREAL clip ({first_line[:200]})"
        raise UnusableClip(path, "unreadable", detail) from error


def _check_elements(content: bytes) -> None:
    """Raise ValueError or zlib.error unless a version 5 MAT file is complete, its compressed
    elements decompress to at most MAX_UNPACKED bytes in total, and all types are known."""
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("not a version 5 MAT file")
    at, total = 128, 0
    while at < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        element = content[at + 8 : at + 8 + size]
        if len(element) < size:
            raise ValueError("incomplete")
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            unpacked = inflater.decompress(element, MAX_UNPACKED + 1)
            total += len(unpacked)
            if total > MAX_UNPACKED:
                raise ValueError(f"decompresses to more than {MAX_UNPACKED:,} bytes")
            if not inflater.eof:
                raise ValueError("incomplete")
            _check_types(unpacked[8:], order)
        else:
            _check_types(element, order)
        at += 8 + size


def _check_types(matrix: bytes, order: str) -> None:
    """Raise ValueError for an unknown type among the parts of a matrix of numbers or text: scipy
    crashes on it."""
    at = 0
    if len(matrix) >= 12 and struct.unpack_from(f"{order}I", matrix, 8)[0] & 0xFF in _NESTED:
        return
    while at + 8 <= len(matrix):
        kind, size = struct.unpack_from(f"{order}II", matrix, at)
        if kind >> 16:  # a small part holds its values in place of the size
            kind, size = kind & 0xFFFF, 0
        if kind not in _TYPES:
            raise ValueError(f"a part has the unknown type {kind}")
        at += 8 + 8 * (-(-size // 8))
