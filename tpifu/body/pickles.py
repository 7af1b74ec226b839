"""Pickled SMPL models -> the arrays of a body, without running code from the file.

SMPL's pickles come from Python 2 and contain chumpy and scipy objects. A pickle names functions and
calls them. Here every allowed name maps to a `_Record`, which only stores its arguments and state;
every other name is an error. The arrays are rebuilt from the records, so chumpy is not needed.

A hostile file cannot run its own code.
"""

import copyreg
import io
import pickle
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix

from tpifu.body.arrays import body_arrays, printable
from tpifu.body.skeleton import JOINT_COUNT
from tpifu.errors import DataError


class _Record:
    """A placeholder for an object in a pickle: its arguments and state, without behaviour."""

    args: tuple
    state: Any = None

    def __new__(cls, *args: Any) -> Any:
        record = super().__new__(cls)
        record.args = args
        return record

    # Without this method, a pickle could set attributes of a record or of its class.
    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Drop the items of an OrderedDict, which contains no array of a body."""


class _Array(_Record):
    """numpy.ndarray; state (version, shape, dtype, Fortran order, bytes)."""


class _Dtype(_Record):
    """numpy.dtype; args ("f8", ...), state (version, byte order, ...)."""


class _Chumpy(_Record):
    """Any chumpy class; state {"x": array}, or {"a": array, "idxs": ..., "preferred_shape": ...}
    of chumpy.reordering.Select."""


class _Sparse(_Record):
    """scipy's csc_matrix; state {"data", "indices", "indptr", "_shape"}."""


class _Instance(_Record):
    """copyreg._reconstructor(class, base, state), which protocols 0 and 1 call for an object."""

    def __new__(cls, kind: Any, *_: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _Record)):
            raise pickle.UnpicklingError("an instance of something that is not a class")
        return _Record.__new__(kind)


class _Encoded(_Record):
    """_codecs.encode(text, "latin1"), which is how Python 3 stores bytes for Python 2."""

    def __new__(cls, text: Any, encoding: Any) -> Any:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("bytes not stored as latin-1 text")
        return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Record,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Record,
    ("numpy._core.multiarray", "scalar"): _Record,
    ("_codecs", "encode"): _Encoded,
    ("__builtin__", "set"): _Record,
    ("builtins", "set"): _Record,
    ("__builtin__", "object"): _Record,
    ("builtins", "object"): _Record,
    ("copy_reg", "_reconstructor"): _Instance,
    ("copyreg", "_reconstructor"): _Instance,
    ("collections", "OrderedDict"): _Record,
    ("scipy.sparse.csc", "csc_matrix"): _Sparse,
    ("scipy.sparse._csc", "csc_matrix"): _Sparse,
}


# The implementation in Python: the one in C allocates as much memory as a file claims to need.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if module == "chumpy" or module.startswith("chumpy."):
            return _Chumpy
        if (module, name) not in _ALLOWED:
            raise DataError(f"{printable(f'{module}.{name}')} is not allowed in an SMPL model file")
        return _ALLOWED[module, name]


def read_pickle(content: bytes) -> dict[str, np.ndarray]:
    """Read a body's arrays from the bytes of a pickle; Python 2 text is decoded as Latin-1."""
    copyreg.clear_extension_cache()  # find_class is not called for cached extensions
    model = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    if not isinstance(model, dict):
        raise DataError("the pickle is not a dict, so not an SMPL model")
    return body_arrays(lambda name: _rebuilt(model[name]))


def _rebuilt(value: Any) -> np.ndarray:
    """The values of a numpy array, a chumpy array or selection, or a sparse matrix (dense)."""
    match value:
        case _Array(state=(_, shape, _Dtype(args=(code, *_), state=(_, order, *_)), fortran, raw)):
            raw = raw.encode("latin1") if isinstance(raw, str) else raw
            array = np.frombuffer(raw, np.dtype(f"{order}{code}"))
            return array.reshape(shape, order="F" if fortran else "C")
        case _Chumpy(state={"x": inner}):
            return _rebuilt(inner)
        case _Chumpy(state={"a": whole, "idxs": indices, **rest}):
            selected = _rebuilt(whole).ravel()[_rebuilt(indices).ravel()]
            return selected.reshape(rest.get("preferred_shape", selected.shape))
        case _Sparse(state={"data": data, "indices": rows, "indptr": starts, "_shape": shape}):
            if shape[0] != JOINT_COUNT:
                raise ValueError(f"{shape[0]} rows, expected {JOINT_COUNT}")
            parts = _rebuilt(data).astype(np.float64), _rebuilt(rows), _rebuilt(starts)
            matrix = csc_matrix(parts, shape)
            matrix.check_format()
            return matrix.toarray()
    raise ValueError(f"{type(value).__name__.strip('_')} without an array")
