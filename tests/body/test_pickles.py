"""Pickled SMPL models: genuine files are read, malicious files run no code."""

import codecs
import copyreg
import os
import pickle

import numpy as np
import pytest
import scipy.sparse
from helpers.checks import one_line
from helpers.smpl_files import Ch, Select, as_stored, assert_same, model, old_csc, python2, written

from tpifu.body.licensed import ModelFile
from tpifu.errors import DataError


def read(tmp_path, content):
    return ModelFile(written(tmp_path / "m.pkl", content)).read()


@pytest.mark.parametrize("components", [10, 300])
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_a_pickle_of_python_2_with_chumpy_is_read(tmp_path, protocol, components):
    stored = model(components=components)
    content = python2(as_stored(stored), protocol)
    for name in (b"chumpy.ch\nCh\n", b"chumpy.reordering\nSelect\n", b"scipy.sparse.csc\n"):
        assert name in content
    assert_same(read(tmp_path, content), stored)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_a_pickle_of_python_3_is_read(tmp_path, protocol):
    stored = model()
    content = pickle.dumps(as_stored(stored, scipy.sparse.csc_matrix), protocol)
    assert b"scipy.sparse._csc" in content
    assert_same(read(tmp_path, content), stored)
    assert_same(read(tmp_path, pickle.dumps(stored, protocol)), stored)


def test_duplicate_elements_of_a_sparse_matrix_are_summed(tmp_path):
    once = scipy.sparse.csc_matrix(model()["J_regressor"])
    twice = old_csc(
        once,
        data=np.repeat(once.data, 2).astype(">f8"),
        indices=np.repeat(once.indices, 2).astype(">i4"),
        indptr=2 * once.indptr.astype(np.int64),
    )
    found = read(tmp_path, python2({**model(), "J_regressor": twice}))
    np.testing.assert_array_equal(found["J_regressor"], 2 * once.toarray().astype(np.float32))


def attacks(proof: str) -> dict[str, tuple[bytes, str]]:
    """Name -> (pickle, error message)."""
    text = f"V{proof}\n".encode()
    call = b"(" + text + b"tR."
    code = b"(V" + f"__import__('os').mkdir({proof!r})".encode() + b"\ntR."
    record = b"cchumpy.ch\nCh\n)\x81"
    named, refused = r"os\.mkdir is not allowed", f"{os.mkdir.__module__}.mkdir is not allowed"

    class Mkdir:
        def __reduce__(self):
            return os.mkdir, (proof,)

    def stack_global(*names):
        pushed = (b"\x8c" + bytes([len(name)]) + name for name in names)
        return b"\x80\x04" + b"".join(pushed) + b"\x93"

    builtins = r"_*builtins?_*\.{} is not allowed".format
    return {
        "reduce": (b"cos\nmkdir\n" + call, named),
        "system": (b"cos\nsystem\n(Vmkdir " + call[2:], r"os\.system is not"),
        "in a model": (pickle.dumps({**model(), "bs_type": Mkdir()}), refused),
        "protocol 5": (pickle.dumps(Mkdir(), 5), refused),
        "nested": (pickle.dumps({"a": [({"b": Mkdir()},)]}, 2), refused),
        "reduced twice": (b"cchumpy\nf\n(cos\nmkdir\n" + text + b"tRR.", named),
        "inst": (b"(" + text + b"ios\nmkdir\n.", named),
        "obj": (b"(cos\nmkdir\n" + text + b"o.", named),
        "newobj": (b"csubprocess\nPopen\n(" + text + b"t\x81.", r"subprocess\.Popen is not"),
        "newobj_ex": (b"csubprocess\nPopen\n)}\x92.", r"subprocess\.Popen is not"),
        "eval": (stack_global(b"builtins", b"eval") + code, builtins("eval")),
        "python 2's eval": (b"c__builtin__\neval\n" + code, builtins("eval")),
        "getattr": (b"c__builtin__\ngetattr\n(cchumpy\nf\nVx\ntR.", builtins("getattr")),
        "dotted name": (stack_global(b"numpy", b"ndarray.tofile") + call, r"tofile is not"),
        "other split": (stack_global(b"numpy.core", b"multiarray._reconstruct") + b".", "is not"),
        "below chumpy": (stack_global(b"chumpy.ch", b"os.mkdir") + call, "is not a dict"),
        "like chumpy": (b"cchumpyevil\nCh\n.", r"chumpyevil\.Ch is not"),
        "line breaks": (stack_global(b"os\nx", b"\x1b[31m") + b".", r"os\\nx\.\\x1b\[31m is not"),
        "name that is not text": (b"\x80\x04NN\x93.", "UnpicklingError"),
        "copyreg": (b"ccopyreg\nadd_extension\n.", r"copyreg\.add_extension is not"),
        "instance of a function": (b"ccopy_reg\n_reconstructor\n(cos\nmkdir\nNNtR.", named),
        "instance of text": (b"ccopyreg\n_reconstructor\n(" + text + b"NNtR.", "not a class"),
        "codec": (b"c_codecs\nencode\n(Vx\nVzip\ntR.", "not stored as latin-1"),
        "call of an object": (b"c__builtin__\nset\n)R)R.", "TypeError"),
        "setstate": (record + b"}V__setstate__\ncos\nmkdir\nsb" + text + b"b.", named),
        "state of a record": (record + b"}V__setstate__\nNsb" + text + b"b.", "is not a dict"),
        "slots of a record": (record + b"N}V__class__\nc_codecs\nencode\ns\x86b.", "not a dict"),
        "state of a class": (b"cnumpy\nndarray\n}V__new__\nNsb.", "TypeError"),
        "slots of a class": (b"cnumpy\nndarray\nN}V__new__\nNs\x86b.", "TypeError"),
        "state of a dict": (b"}}V__class__\nNsb.", "AttributeError"),
        "persistent id": (b"P" + text[1:] + b".", "UnpicklingError"),
        "binary persistent id": (text + b"Q.", "UnpicklingError"),
        "extension": (b"\x82\xf0" + call, refused),
        "unknown extension": (b"\x84\x01\x00\x00\x7f.", "unregistered extension"),
        "buffer outside the file": (b"\x97.", "UnpicklingError"),
        "no model": (b"].", "is not a dict"),
    }


@pytest.fixture
def registered():
    """os.mkdir is in the extension registry, with code 0xF0, and in its cache."""
    copyreg.add_extension(os.mkdir.__module__, "mkdir", 0xF0)
    assert pickle.loads(b"\x82\xf0.") is os.mkdir
    yield
    copyreg.remove_extension(os.mkdir.__module__, "mkdir", 0xF0)


@pytest.mark.parametrize(
    "name", ["reduce", "system", "inst", "obj", "eval", "in a model", "extension"]
)
def test_the_attacks_work_on_a_plain_unpickler(tmp_path, registered, name):
    proof = tmp_path / "proof"
    pickle.loads(attacks(str(proof))[name][0])
    assert proof.is_dir()


@pytest.mark.parametrize("name", attacks("x"))
def test_an_attack_is_rejected_and_runs_no_code(tmp_path, registered, name):
    proof = tmp_path / "proof"
    content, text = attacks(str(proof))[name]
    with one_line(DataError, text) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'm.pkl'}: ")
    assert not proof.exists()
    assert_same(read(tmp_path, python2(as_stored(model()))), model())  # no lasting effect


def forged_array(shape=(5, 3), code="f8", raw=bytes(120), order="<"):
    """A pickled numpy array with the given parts."""

    class Dtype:
        def __reduce__(self):
            return np.dtype, (code, 0, 1), (3, order, None, None, None, -1, -1, 0)

    class Array:
        def __reduce__(self):
            reconstruct = np._core.multiarray._reconstruct
            return reconstruct, (np.ndarray, (0,), b"b"), (1, shape, Dtype(), False, raw)

    return Array()


class Encoded:
    def __reduce__(self):
        return codecs.encode, ("x" * 120, "utf-32")


def forged_arrays():
    """(key of the model, its value, error message)."""
    flat, matrix = np.arange(150), model()["J_regressor"]
    cyclic = Ch()
    cyclic.x = cyclic
    vertices = [
        (forged_array((10**8, 3)), "cannot reshape"),
        (forged_array((2**10**4, 3)), "unreadable"),
        (forged_array(raw=bytes(128)), "cannot reshape"),
        (forged_array(raw=Encoded()), "not stored as latin-1"),
        *((forged_array(code=code), "v_template") for code in ("O8", "V8", "c8", "f8,f8", "M8")),
        (np.full((5, 3), None), "unreadable"),
        (5.0, "float without an array"),
        (np.float64(5), "without an array"),
        (Ch(), "without an array"),
        (cyclic, "RecursionError"),
    ]
    shapes = [
        ({"idxs": flat + 1}, "IndexError"),
        ({"idxs": flat / 1}, "IndexError"),
        ({"idxs": flat, "preferred_shape": (5, 3, 11)}, "cannot reshape"),
    ]
    regressors = [
        {"indices": np.full_like(scipy.sparse.csc_matrix(matrix).indices, 24)},
        {"indptr": np.full(6, 10**9)},
        {"_shape": (10**9, 5)},
    ]
    return [
        *(("v_template", value, text) for value, text in vertices),
        *(("shapedirs", Select(a=np.zeros(150), **state), text) for state, text in shapes),
        *(("J_regressor", old_csc(matrix, **state), "ValueError") for state in regressors),
    ]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_forged_array_is_rejected_with_its_name(tmp_path, protocol):
    dump = pickle.dumps if protocol > 2 else python2
    for key, value, text in forged_arrays():
        with pytest.raises(DataError, match=text) as caught:
            read(tmp_path, dump({**model(), key: value}, protocol))
        assert str(caught.value).startswith(f"{tmp_path / 'm.pkl'}: ")
        assert key in str(caught.value) or "UnpicklingError" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"}", b".", b"}u.", b"N\x87.", b"h\x05.", b"X\x01\x00\x00\x00\xff."),
        *(b"\x8e" + b"\xff" * 8, b"X\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f"),  # huge sizes
        python2(model())[:-500],
        b"<html>login</html>" * 9000,
    ],
)
def test_a_damaged_pickle_is_rejected_in_one_line(tmp_path, content):
    with one_line(DataError, "not a readable SMPL model") as caught:
        read(tmp_path, content)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_pickle_that_exhausts_the_interpreter_is_rejected(tmp_path, monkeypatch, error):
    def load(*_):
        raise error

    monkeypatch.setattr("tpifu.body.pickles._Unpickler.load", load)
    with pytest.raises(DataError, match=f"not a readable SMPL model .{error.__name__}"):
        read(tmp_path, python2(model()))
