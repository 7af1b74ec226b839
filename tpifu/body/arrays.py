"""The arrays of an SMPL model file: names, types, checks, and reading from .npz and zip files.

Arrays have SMPL's names, in metres and in SMPL's frame.
"""

import io
import zipfile
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tpifu.body.body import check_shapes
from tpifu.body.skeleton import BETAS, JOINT_COUNT
from tpifu.errors import DataError

ARRAYS = ("v_template", "shapedirs", "posedirs", "weights", "J_regressor", "kintree_table", "f")
MAX_BYTES = 512 * 2**20
"""Largest accepted model file, decompressed. Version 1.1.0 has 247 MB, version 1.0.0 has 39 MB."""


def body_arrays(names: Collection[str], read: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a body in the order of ARRAYS; `read` returns a stored array by its name.

    float32: v_template (v, 3), shapedirs (v, 3, 10) cut from 10 or 300 components, posedirs
    (v, 3, 207), weights (v, 24), J_regressor (24, v). int32: kintree_table (2, 24) with -1 as the
    root's parent, f (f, 3). Raises DataError if an array is missing, unreadable or invalid.
    """
    if missing := [name for name in ARRAYS if name not in names]:
        raise DataError(f"lacks {', '.join(missing)}; an SMPL model has {', '.join(ARRAYS)}")
    arrays = {}
    for name in ARRAYS:
        try:
            array = read(name)
        except Exception as error:  # a malformed array fails in many ways
            raise DataError(f"{name} is not readable ({one_line(error)})") from error
        arrays[name] = _converted(array, name)
    check_shapes(arrays)
    if (components := arrays["shapedirs"].shape[2]) < BETAS:
        raise DataError(f"shapedirs has {components} components, expected {BETAS} or more")
    if not (arrays["weights"].sum(axis=1) > 0).all():
        raise DataError("weights: a vertex has no positive weight")
    arrays["kintree_table"] = _tree(arrays["kintree_table"])
    faces, vertices = arrays["f"], len(arrays["v_template"])
    if not faces.size or faces.min() < 0 or faces.max() >= vertices:
        raise DataError(f"f is empty or has a vertex outside 0..{vertices - 1}")
    arrays["f"] = np.ascontiguousarray(faces, np.int32)
    return arrays


def _converted(array: np.ndarray, name: str) -> np.ndarray:
    """Finite float32, shapedirs cut to BETAS components; integers are unchanged."""
    if name in ("kintree_table", "f"):
        if array.dtype.kind not in "iu":
            raise DataError(f"{name} has type {array.dtype}, expected integers")
        return array
    array = array[..., :BETAS] if name == "shapedirs" else array
    array = np.ascontiguousarray(array, np.float32)  # values out of range become infinite
    if not np.isfinite(array).all():
        raise DataError(f"{name} contains values that are not finite")
    return array


def _tree(table: np.ndarray) -> np.ndarray:
    """Check kintree_table: the parent of each joint in row 0, the joint in row 1."""
    parents, joints = table.tolist()
    if parents[0] == 2**32 - 1:  # SMPL stores -1 as uint32
        parents[0] = -1
    if (
        joints != list(range(JOINT_COUNT))
        or parents[0] != -1
        or not all(0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1))
    ):
        raise DataError("kintree_table does not list the joints from the root, parents first")
    return np.array([parents, joints], np.int32)


def plain_array(raw: Any, dtype: np.dtype, shape: Any, fortran: bool) -> np.ndarray:
    """A read-only array over `raw`, whose size must match the shape."""
    if dtype.kind not in "fiu":
        raise ValueError(f"has type {dtype}, expected plain numbers")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def read_npz(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a body from the bytes of an .npz. Pickled objects are never loaded."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        return body_arrays(names, lambda name: _read_npy(unpack(archive, f"{name}.npy")))


def _read_npy(content: bytes) -> np.ndarray:
    """Read an .npy. Unlike numpy's reader, it does not allocate the size declared in the header."""
    file = io.BytesIO(content)
    if (version := np.lib.format.read_magic(file)) != (1, 0):  # later versions are for records
        raise ValueError(f"format {version}, expected (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return plain_array(content[file.tell() :], dtype, shape, fortran)


def unpack(archive: zipfile.ZipFile, name: str) -> bytes:
    """Decompress a zip member in memory. Raises DataError if it is larger than MAX_BYTES."""
    member = archive.getinfo(name)
    # zipfile decompresses bzip2 and LZMA without a limit.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError("neither stored nor deflated, so not part of an SMPL model")
    if member.file_size > MAX_BYTES:
        raise DataError(f"decompresses to more than {MAX_BYTES} bytes, so not an SMPL model")
    with archive.open(name) as file:
        # Without a size, read() decompresses up to 2 GiB before it checks the declared size.
        return file.read(member.file_size)


def printable(text: str) -> str:
    """Text from a file, escaped and shortened for one line of an error message."""
    return ascii(text[:100])[1:-1]


def one_line(error: Exception) -> str:
    """The kind of an error and the first line of its text, shortened."""
    return f"{type(error).__name__}: {printable((str(error).splitlines() or [''])[0])}"
