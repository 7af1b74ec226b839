"""SMPL model files as chumpy, scipy and Python 2 write them, made without chumpy and Python 2."""

import collections
import io
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import scipy.sparse

from tpifu.body.arrays import ARRAYS
from tpifu.body.skeleton import PARENTS


def model(vertices=5, components=10, seed=0) -> dict[str, np.ndarray]:
    """The arrays of a model as SMPL stores them: 64 bits, the root's parent 2**32 - 1."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32).astype(np.float64)

    return {
        "v_template": normal(vertices, 3),
        "shapedirs": normal(vertices, 3, components),
        "posedirs": normal(vertices, 3, 207),
        "weights": rng.random((vertices, 24)).astype(np.float32).astype(np.float64),
        "J_regressor": np.where(rng.random((24, vertices)) < 0.3, normal(24, vertices), 0.0),
        "kintree_table": np.array([PARENTS, range(24)]).astype(np.uint32),
        "f": rng.integers(0, vertices, (7, 3)).astype(np.uint32),
    }


def assert_same(found, stored) -> None:
    """Check that `found` is what the reader must return for the arrays of `stored`."""
    assert tuple(found) == ARRAYS
    for name in ARRAYS:
        kind = np.int32 if name in ("kintree_table", "f") else np.float32
        wanted = stored[name][..., :10] if name == "shapedirs" else stored[name]
        assert found[name].dtype == kind
        assert found[name].flags.c_contiguous
        np.testing.assert_array_equal(found[name], wanted.astype(kind), err_msg=name)


def _named(module: str, name: str) -> type:
    """A class that a pickler finds under that name; keyword arguments become its state."""
    make = {"__module__": module, "__init__": lambda self, **state: self.__dict__.update(state)}
    kind = type(name, (), make)
    sys.modules[module] = types.ModuleType(module)
    setattr(sys.modules[module], name, kind)
    return kind


sys.modules["chumpy"] = types.ModuleType("chumpy")
Ch = _named("chumpy.ch", "Ch")
Select = _named("chumpy.reordering", "Select")
OldCsc = _named("scipy.sparse.csc", "csc_matrix")
"""scipy's class under the path of releases before 1.8."""


def ch(array):
    return Ch(x=array, _dirty_vars={"x", "r"}, _itr=None, _status="new")


def select(array, kept):
    """`array[:, :, :kept]` of a chumpy array."""
    flat = np.arange(array.size).reshape(array.shape)[:, :, :kept]
    return Select(a=ch(array), idxs=flat.ravel(), preferred_shape=flat.shape)


def old_csc(matrix, **changes):
    sparse = scipy.sparse.csc_matrix(matrix)
    state = {name: getattr(sparse, name) for name in ("data", "indices", "indptr")}
    return OldCsc(**{**state, "_shape": sparse.shape, "maxprint": 50, **changes})


def as_stored(arrays, csc=old_csc):
    """The contents of a model's pickle, with the entries that the reader ignores."""
    components = arrays["shapedirs"].shape[2]
    padded = np.pad(arrays["shapedirs"], ((0, 0), (0, 0), (0, 3)))
    return {
        **arrays,
        "v_template": ch(arrays["v_template"]),
        "shapedirs": select(padded, components),
        "posedirs": np.asfortranarray(arrays["posedirs"]),
        "weights": arrays["weights"].astype(">f8"),
        "J_regressor": csc(arrays["J_regressor"]),
        "J": arrays["v_template"][:1],
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "vert_sym_idxs": np.arange(5),
        "pose_training_info": collections.OrderedDict(a=[1, 2**40, (1.5, None)], b={(1, 2): True}),
        "weights_prior": np.array([{"x": 1}, None], object),
        "scale": np.float64(2.5),
    }


class _Python2Pickler(pickle._Pickler):
    """Text and bytes are one type in Python 2."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        if self.proto == 0:
            self.write(b"S" + repr(data).encode()[1:] + b"\n")
        elif len(data) < 256:
            self.write(b"U" + bytes([len(data)]) + data)
        else:
            self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text


def python2(value, protocol=2) -> bytes:
    file = io.BytesIO()
    _Python2Pickler(file, protocol).dump(value)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def npz(arrays, save=np.savez) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
