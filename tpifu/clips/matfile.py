"""MATLAB files (*_info.mat): the fields of a clip, read within limits."""

import io
import math
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import scipy.io

from tpifu.errors import DataError

_FIELDS = ["pose", "shape", "gender", "zrot", "joints3D"]

# A real clip has at most 100 frames in 60 kB, joints within metres, angles of a few turns.
_MAX_BYTES, _MAX_UNPACKED, MAX_FRAMES, LARGEST = 2**24, 2**26, 100_000, 1e4
_NUMBERS = {"single", "double", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64))}
_COMPRESSED = 15  # miCOMPRESSED


class UnusableClip(DataError):
    """A clip that is skipped; `reason` is the kind of fault, in one or two words."""

    def __init__(self, path: Path, reason: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path, self.reason, self.detail = path, reason, detail


def check_readable(path: Path) -> None:
    """Raise UnusableClip if a file is not a whole MAT file with the fields of a clip; what the
    fields hold may still be unusable."""
    read_fields(path)


def read_fields(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UnusableClip(path, "unreadable", f"more than {_MAX_BYTES:,} bytes, no clip")
        content = path.read_bytes()
    except OSError as error:
        raise UnusableClip(path, "unreadable", f"cannot be read ({error.strerror})") from error
    return _fields(content, path)


def _fields(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """The fields of a clip as double-precision arrays, from a MAT file's bytes."""
    try:
        plain = io.BytesIO(_unpacked(content))
        with warnings.catch_warnings(action="ignore"):  # of a file that is then refused
            # From the headers alone: nothing is made that a file only claims to hold.
            held = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(plain)}
            usable = {
                name
                for name, (shape, kind) in held.items()
                if kind in _NUMBERS and 0 < math.prod(shape) <= 72 * MAX_FRAMES
            }
            plain.seek(0)
            wanted = [name for name in _FIELDS if name in usable]
            stored = scipy.io.loadmat(plain, variable_names=wanted) if wanted else {}
    except Exception as error:  # scipy's reader raises many kinds for truncated or foreign files
        fault = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnusableClip(
            path, "unreadable", f"not a readable SURREAL clip ({fault[:200]})"
        ) from error
    if missing := [name for name in _FIELDS if name not in held]:
        raise UnusableClip(path, "missing field", f"lacks {', '.join(missing)}")
    for name in _FIELDS:
        shape, kind = held[name]
        if (
            name not in usable
            or stored[name].dtype.kind not in "fiu"
            or (name == "pose" and stored[name].size % 72)
        ):
            raise UnusableClip(path, "no clip", f"{name} is {kind} of shape {shape}, no clip's")
    with np.errstate(invalid="ignore"):  # numbers that are none stay so, and are refused
        return {name: stored[name].astype(np.float64) for name in _FIELDS}


def _unpacked(content: bytes) -> bytes:
    """The same MAT file, version 5, without compression. Raises ValueError or zlib.error for what
    is none, or grows beyond belief."""
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("no MAT file of version 5")
    parts, room, at = [content[:128]], _MAX_UNPACKED, 128
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        element = content[at : at + 8 + size]
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            element = inflater.decompress(element[8:], room)
            if inflater.unconsumed_tail:
                raise ValueError(f"unpacks to more than {_MAX_UNPACKED:,} bytes")
            if not inflater.eof:
                raise ValueError("was cut")
        _check_sizes(element, order)
        parts.append(element)
        room -= min(room - 1, len(element))
        at += 8 + size
    return b"".join(parts)


def _check_sizes(matrix: bytes, order: str) -> None:
    """Raise ValueError if a part of a matrix claims to be larger than the matrix: scipy would
    first make room for it."""
    at = 8
    while at + 8 <= len(matrix):
        kind, size = struct.unpack_from(f"{order}II", matrix, at)
        if kind >> 16:  # the short form: up to four bytes, in the tag itself
            at += 8
            continue
        if size > len(matrix) - at - 8:
            raise ValueError("a part is larger than the whole")
        at += 8 + -(-size // 8) * 8
