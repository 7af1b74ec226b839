"""The arrays of an SMPL model file: names, types, checks, and how .npz files and zips hold them.

Arrays carry SMPL's names, in metres and SMPL's frame. They are float32 and int32; the root's
parent is -1.
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
"""Largest model file, decompressed. Version 1.1.0 has 247 MB, version 1.0.0 has 39 MB."""


def body_arrays(names: Collection[str], read: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a body in the order of ARRAYS; `read` returns a stored array by its name.

    v_template (v, 3), shapedirs (v, 3, 10) cut from 10 or 300 components, posedirs (v, 3, 207),
    weights (v, 24), J_regressor (24, v): float32. kintree_table (2, 24), f (f, 3): int32. Raises
    DataError if an array is missing, unreadable or not that of a body.
    """
    if missing := [name for name in ARRAYS if name not in names]:
        raise DataError(f"lacks {', '.join(missing)}; an SMPL model has {', '.join(ARRAYS)}")
    arrays = {}
    for name in ARRAYS:
        try:
            array = read(name)
        except Exception as error:  # a malformed array fails in many ways
            raise DataError(f"{name} is not readable ({fault(error)})") from error
        arrays[name] = _converted(array, name)
    check_shapes(arrays)
    if (components := arrays["shapedirs"].shape[2]) < BETAS:
        raise DataError(f"shapedirs has {components} components, expected {BETAS} or more")
    if not (arrays["weights"].sum(axis=1) > 0).all():
        raise DataError("weights: a vertex follows no joint")
    arrays["kintree_table"] = _tree(arrays["kintree_table"])
    faces, vertices = arrays["f"], len(arrays["v_template"])
    if not faces.size or faces.min() < 0 or faces.max() >= vertices:
        raise DataError(f"f is empty or has a vertex outside 0..{vertices - 1}")
    arrays["f"] = np.ascontiguousarray(faces, np.int32)
    return arrays


def _converted(array: np.ndarray, name: str) -> np.ndarray:
    """Numbers as finite float32, shapedirs without its components beyond BETAS; integers as
    stored."""
    if name in ("kintree_table", "f"):
        if array.dtype.kind not in "iu":
            raise DataError(f"{name} holds {array.dtype}, expected integers")
        return array
    array = array[..., :BETAS] if name == "shapedirs" else array
    array = np.ascontiguousarray(array, np.float32)  # too large becomes infinite
    if not np.isfinite(array).all():
        raise DataError(f"{name} holds values that are not finite")
    return array


def _tree(table: np.ndarray) -> np.ndarray:
    """kintree_table: the parent of each joint, and the joint."""
    parents, joints = table.tolist()
    if parents[0] == 2**32 - 1:  # -1 as SMPL's uint32
        parents[0] = -1
    if (
        joints != list(range(JOINT_COUNT))
        or parents[0] != -1
        or not all(0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1))
    ):
        raise DataError("kintree_table does not list the joints from the root on, parents first")
    return np.array([parents, joints], np.int32)


def plain_array(raw: Any, dtype: np.dtype, shape: Any, fortran: bool) -> np.ndarray:
    """A read-only array over `raw`, whose size must be exactly that of the shape."""
    if dtype.kind not in "fiu":
        raise ValueError(f"holds {dtype}, expected plain numbers")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def read_npz(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a body in the bytes of an .npz. Objects in it are never unpickled."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        return body_arrays(names, lambda name: _read_npy(unpack(archive, f"{name}.npy")))


def _read_npy(content: bytes) -> np.ndarray:
    """Unlike numpy's reader, this one allocates nothing that a header merely claims."""
    file = io.BytesIO(content)
    if (version := np.lib.format.read_magic(file)) != (1, 0):  # others are for records
        raise ValueError(f"format {version}, expected (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return plain_array(content[file.tell() :], dtype, shape, fortran)


def unpack(archive: zipfile.ZipFile, name: str) -> bytes:
    """Decompress a member of a zip, in memory. Raises DataError if it is larger than MAX_BYTES."""
    member = archive.getinfo(name)
    # zipfile decompresses bzip2 and LZMA without a bound.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError("is neither stored nor deflated, so not part of an SMPL model")
    if member.file_size > MAX_BYTES:
        raise DataError(f"decompresses to more than {MAX_BYTES} bytes, so not an SMPL model")
    with archive.open(name) as file:
        # read() without a size decompresses up to 2 GiB before it looks at the declared size.
        return file.read(member.file_size)


def shown(text: str) -> str:
    """Text from a file, made fit for one line of an error message."""
    return ascii(text[:100])[1:-1]


def fault(error: Exception) -> str:
    """One line, however long the error's own text is."""
    return f"{type(error).__name__}: {shown((str(error).splitlines() or [''])[0])}"
