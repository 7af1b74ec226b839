import codecs
import collections
import io
import os
import pickle
import struct
import sys
import time
import tracemalloc
import types
import zipfile
from importlib import resources
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from tpifu.body.body import Body, load_body
from tpifu.body.licensed import (
    ARRAYS,
    MAX_STEPS,
    MAX_VERTICES,
    _load_pickle,
    export_bodies,
    find_models,
    read_model,
)
from tpifu.body.skeleton import GENDERS
from tpifu.errors import DataError

PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
FEMALE, MALE = "basicModel_f_lbs_10_207_0_v1.0.0.pkl", "basicmodel_m_lbs_10_207_0_v1.0.0.pkl"


def model(vertices=5, components=10, seed=0) -> dict[str, np.ndarray]:
    """The arrays of a model as SMPL stores them: 64 bits, the root's parent 2**32 - 1."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32).astype(np.float64)

    weights = rng.random((vertices, 24)).astype(np.float32)
    regressor = np.where(rng.random((24, vertices)) < 0.3, normal(24, vertices), 0.0)
    return {
        "v_template": normal(vertices, 3),
        "shapedirs": normal(vertices, 3, components),
        "posedirs": normal(vertices, 3, 207),
        "weights": weights.astype(np.float64),
        "J_regressor": regressor,
        "kintree_table": np.array([PARENTS, range(24)]).astype(np.uint32),
        "f": rng.integers(0, vertices, (7, 3)).astype(np.uint32),
    }


def expected(stored) -> dict[str, np.ndarray]:
    """`stored` as the reader gives it."""
    kinds = {"kintree_table": np.int64, "f": np.int64}
    arrays = {name: stored[name].astype(kinds.get(name, np.float32)) for name in ARRAYS}
    arrays["shapedirs"] = arrays["shapedirs"][:, :, :10]
    arrays["kintree_table"][0, 0] = -1
    return arrays


def same(found, stored):
    assert tuple(found) == ARRAYS
    for name, array in expected(stored).items():
        kind = np.int32 if name in ("kintree_table", "f") else np.float32
        assert found[name].dtype == kind
        assert found[name].flags.c_contiguous
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def stub(module, name, **state):
    """An object whose class is `module.name` for the pickler, with `state` as its __dict__."""
    kind = type(name, (object,), {"__module__": module})
    place = sys.modules.setdefault(module, types.ModuleType(module))
    kind = place.__dict__.setdefault(name, kind)
    made = object.__new__(kind)
    made.__dict__.update(state)
    return made


@pytest.fixture(autouse=True)
def no_stubs_stay(monkeypatch):
    for module in ("chumpy", "chumpy.ch", "chumpy.reordering", "scipy.sparse.csc"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))


def ch(array):
    bookkeeping = {"_dirty_vars": {"x", "r"}, "_itr": None, "_status": "new"}
    return stub("chumpy.ch", "Ch", x=array, **bookkeeping)


def select(array, kept):
    """`array[:, :, :kept]` of a chumpy array."""
    flat = np.arange(array.size).reshape(array.shape)[:, :, :kept]
    return stub(
        "chumpy.reordering", "Select", a=ch(array), idxs=flat.ravel(), preferred_shape=flat.shape
    )


def old_csc(matrix):
    """scipy's matrix under the path of its releases before 1.8."""
    sparse = scipy.sparse.csc_matrix(matrix)
    return stub(
        "scipy.sparse.csc",
        "csc_matrix",
        data=sparse.data,
        indices=sparse.indices,
        indptr=sparse.indptr,
        _shape=sparse.shape,
        maxprint=50,
    )


def as_stored(arrays, csc=old_csc):
    """What a model's pickle holds, the ignored part included."""
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


class Python2Pickler(pickle._Pickler):
    """Text and bytes are one type there, and numpy has its old path."""

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
    Python2Pickler(file, protocol).dump(value)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def npz(arrays, save=np.savez) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("components", [10, 300])
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_a_pickle_of_python_2_with_chumpy_is_read(tmp_path, protocol, components):
    stored = model(components=components)
    content = python2(as_stored(stored), protocol)
    for name in (b"chumpy.ch\nCh\n", b"chumpy.reordering\nSelect\n", b"scipy.sparse.csc\n"):
        assert name in content
    same(read_model(written(tmp_path / "m.pkl", content)), stored)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_a_pickle_of_python_3_is_read(tmp_path, protocol):
    stored = model()
    content = pickle.dumps(as_stored(stored, scipy.sparse.csc_matrix), protocol)
    assert b"scipy.sparse._csc" in content
    same(read_model(written(tmp_path / "m.pkl", content)), stored)
    plain = pickle.dumps(stored, protocol)
    same(read_model(written(tmp_path / "plain.PKL", plain)), stored)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read(tmp_path, save):
    stored = model(components=300)
    extra = {"note": np.array(["text"]), "objects": np.array([{}], object)}
    same(read_model(written(tmp_path / "m.npz", npz({**stored, **extra}, save))), stored)


def test_an_npz_of_python_2_is_read_without_warnings(tmp_path):
    stored, path = model(), tmp_path / "m.npz"
    content = io.BytesIO(npz(stored))
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            array = old.read(name)
            new.writestr(name, array.replace(b"(5, 3), }  ", b"(5L, 3L), }"))
    assert b"(5L, 3L)" in path.read_bytes()
    same(read_model(path), stored)


def test_a_root_without_parent_may_be_minus_one(tmp_path):
    stored = model()
    stored["kintree_table"] = stored["kintree_table"].astype(np.int32)
    assert stored["kintree_table"][0, 0] == -1
    same(read_model(written(tmp_path / "m.pkl", pickle.dumps(stored, 4))), stored)


def test_a_sparse_matrix_may_name_an_element_twice(tmp_path):
    matrix = scipy.sparse.csc_matrix(model()["J_regressor"])
    twice = scipy.sparse.csc_matrix(
        (np.repeat(matrix.data, 2), np.repeat(matrix.indices, 2), 2 * matrix.indptr),
        shape=matrix.shape,
    )
    content = pickle.dumps({**model(), "J_regressor": twice}, 2)
    found = read_model(written(tmp_path / "m.pkl", content))
    np.testing.assert_array_equal(found["J_regressor"], twice.toarray().astype(np.float32))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(plain, st.integers(0, 4))
def test_plain_data_comes_out_as_from_pythons_own_unpickler(value, protocol):
    assert _load_pickle(pickle.dumps([value, value], protocol)) == [value, value]


@pytest.mark.parametrize("protocol", range(5))
def test_a_tuple_that_holds_itself_is_read(protocol):
    inner = []
    inner.append((1, inner, 3, 4))
    found = _load_pickle(pickle.dumps(inner[0], protocol))
    assert found[1][0][1] is found[1]
    assert found[1][0][::2] == (1, 3)


@pytest.fixture(scope="module")
def bodies():
    """Both genders, full size, with bends that depend on the pose."""
    rng = np.random.default_rng(0)
    made = {}
    for gender in GENDERS:
        with np.load(resources.files("tpifu.body") / "assets" / f"body_{gender}.npz") as stored:
            arrays = {name: stored[name] for name in stored.files if name in ARRAYS}
        bends = rng.normal(scale=1e-3, size=(6890, 3, 207)).astype(np.float32)
        tree = arrays["kintree_table"].astype(np.uint32)
        made[gender] = {**arrays, "posedirs": bends, "kintree_table": tree}
    return made


def test_an_exported_body_poses_as_its_own_arrays_do(tmp_path, bodies):
    source = tmp_path / "SMPL_python_v.1.0.0.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name, gender in ((FEMALE, "female"), (MALE, "male")):
            wide = {
                key: array.astype(np.float64) if array.dtype.kind == "f" else array
                for key, array in bodies[gender].items()
            }
            archive.writestr(f"smpl/models/{name}", python2(as_stored(wide)))
    told = export_bodies(source, tmp_path / "out")
    assert told == {
        "female": {"file": f"{source.name}/smpl/models/{FEMALE}", "version": "1.0.0"},
        "male": {"file": f"{source.name}/smpl/models/{MALE}", "version": "1.0.0"},
    }
    rng = np.random.default_rng(1)
    pose, betas = rng.normal(scale=0.4, size=(3, 72)), rng.normal(size=10)
    for gender in GENDERS:
        exported = load_body(tmp_path / "out" / f"{gender}.npz", gender)
        direct = Body(bodies[gender], gender)
        flat = Body({**bodies[gender], "posedirs": 0 * bodies[gender]["posedirs"]}, gender)
        given = pose.astype(np.float32), betas.astype(np.float32)
        for found, wanted in zip(exported.pose(*given), direct.pose(*given), strict=True):
            np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(exported.faces, direct.faces)
        assert np.abs(flat.pose(*given)[0] - direct.pose(*given)[0]).max() > 1e-3


def both(folder, female=FEMALE, male=MALE, seed=0):
    written(folder / female, python2(as_stored(model(seed=seed))))
    written(folder / male, python2(as_stored(model(seed=seed + 1))))
    return folder


def zipped(path, folder):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def test_files_written_twice_are_byte_equal_and_alone(tmp_path, monkeypatch):
    source = both(tmp_path / "source")
    export_bodies(source, tmp_path / "a")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    export_bodies(source, tmp_path / "b")
    names = [f"{gender}.npz" for gender in GENDERS]
    for folder in ("a", "b"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with np.load(tmp_path / "a" / "male.npz", allow_pickle=False) as arrays:
        same({name: arrays[name] for name in arrays.files}, model(seed=1))


def test_nothing_is_written_if_one_gender_is_broken(tmp_path):
    source = both(tmp_path / "source")
    written(source / MALE, b"<html>login</html>")
    with pytest.raises(DataError, match=MALE):
        export_bodies(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("full", ["female", "male"])
def test_nothing_stays_if_the_disk_is_full(tmp_path, monkeypatch, full):
    source, out = both(tmp_path / "source"), tmp_path / "out"
    save = np.savez

    def failing(file, **arrays):
        save(file, **arrays)
        if full in file.name:
            raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", failing)
    with pytest.raises(OSError, match="No space"):
        export_bodies(source, out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("female", "male", "version"),
    [
        ("smpl/models/" + FEMALE, "smpl/models/" + MALE, "1.0.0"),
        (
            "basicmodel_f_lbs_10_207_0_v1.1.0.pkl",
            "deep/er/BASICMODEL_M_LBS_10_207_0_V1.1.0.PKL",
            "1.1.0",
        ),
        ("SMPL_FEMALE.pkl", "smpl/smpl_male.PKL", ""),
    ],
)
def test_models_are_found_by_name_in_folders_and_zips(tmp_path, female, male, version):
    folder = both(tmp_path / "unpacked", female, male)
    both(folder, "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl", "__MACOSX/._SMPL_FEMALE.pkl")
    archive = zipped(tmp_path / "zips" / "a" / "SMPL_python_v.9.zip", folder)
    written(tmp_path / "zips" / "other.zip", b"not looked at")
    for source in (folder, archive, tmp_path / "zips"):
        found = find_models(source)
        assert {gender: one.version for gender, one in found.items()} == {
            "female": version,
            "male": version,
        }
        for seed, gender in enumerate(GENDERS):
            same(found[gender].read(), model(seed=seed))
        told = export_bodies(source, tmp_path / "out")
        prefix = {folder: "", archive: f"{archive.name}/"}.get(source, f"a/{archive.name}/")
        assert told["female"] == {"file": prefix + female, "version": version or "unknown"}


def test_the_newest_version_wins_and_a_name_without_version_comes_last(tmp_path):
    both(tmp_path / "z" / "1", seed=10)
    new = both(tmp_path / "new", FEMALE.replace("1.0.0", "1.1.0"), MALE.replace("1.0.0", "1.1.0"))
    zipped(tmp_path / "z" / "SMPL_python_v.1.1.0.zip", new)
    both(tmp_path / "z", "SMPL_FEMALE.pkl", "SMPL_MALE.pkl", seed=20)
    written(tmp_path / "z" / "SMPL_FEMALE.npz", npz(model(seed=30)))
    found = find_models(tmp_path / "z")
    assert [one.version for one in found.values()] == ["1.1.0", "1.1.0"]
    same(found["female"].read(), model(seed=0))
    (tmp_path / "z" / "SMPL_python_v.1.1.0.zip").unlink()
    assert [one.version for one in find_models(tmp_path / "z").values()] == ["1.0.0", "1.0.0"]
    (tmp_path / "z" / "1" / FEMALE).unlink()
    found = find_models(tmp_path / "z")
    assert [one.version for one in found.values()] == ["", "1.0.0"]
    same(found["female"].read(), model(seed=30))  # .npz and .pkl are equal: the first by name


def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch):
    for seed, name in enumerate("bca"):
        both(tmp_path / name, seed=10 * seed)
    found, walk = find_models(tmp_path), os.walk
    assert found["male"].path == tmp_path / "a" / MALE
    monkeypatch.setattr(os, "walk", lambda folder: reversed(list(walk(folder))))
    assert find_models(tmp_path) == found


def test_a_missing_model_is_named_with_what_was_looked_for(tmp_path):
    source = both(tmp_path / "source")
    (source / FEMALE).unlink()
    with pytest.raises(DataError, match=r"no female SMPL model.*basicmodel_f_.*SMPL_FEMALE\.pkl"):
        find_models(source)
    both(source)
    (source / MALE).unlink()
    with pytest.raises(DataError, match=r"no male SMPL model.*SMPL_python_v\*\.zip.*smpl\.is\.tue"):
        export_bodies(source, tmp_path / "out")
    for wrong in (tmp_path / "missing", source / FEMALE):
        with pytest.raises(DataError, match=r"no such folder or \.zip"):
            find_models(wrong)
    with pytest.raises(DataError, match="no such SMPL model file"):
        read_model(tmp_path)


def test_a_search_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.body.licensed.MAX_FILES", 10)
    for number in range(6):
        (tmp_path / f"{number}" / "deep").mkdir(parents=True)
    with pytest.raises(DataError, match="more than 10 files; give the folder"):
        find_models(tmp_path)


@pytest.fixture
def archive(tmp_path):
    return zipped(tmp_path / "SMPL_python_v.1.0.0.zip", both(tmp_path / "source"))


def patched(archive, offset_in_directory, value):
    """Change a field in the first entry of the central directory."""
    content = bytearray(archive.read_bytes())
    start = content.index(b"PK\x01\x02") + offset_in_directory
    content[start : start + len(value)] = value
    archive.write_bytes(content)


def refused(source, told):
    """`source` is refused, on one line that names it."""
    with pytest.raises(DataError, match=told) as caught:
        export_bodies(source, source.parent / "out")
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (source.parent / "out").exists()


@pytest.mark.parametrize(
    "name", ["../evil.pkl", "smpl/../../x", "/etc/x", "\\x", "..\\x", "C:\\x", "C:x"]
)
def test_a_path_out_of_the_zip_is_refused(archive, name):
    with zipfile.ZipFile(archive, "a") as add:
        add.writestr(zipfile.ZipInfo(name), b"x")
    refused(archive, "a path out of the zip")


def test_a_name_that_breaks_the_line_is_escaped(archive):
    with zipfile.ZipFile(archive, "a") as add:
        add.writestr(zipfile.ZipInfo("../two\nlines\x1b[31m"), b"x")
    refused(archive, r"\.\./two\\nlines\\x1b\[31m")


@pytest.mark.parametrize("content", [b"", b"<html>login</html>", b"PK\x05\x06", b"PK\x03\x04" * 9])
def test_what_is_no_zip_says_to_get_it_again(tmp_path, content):
    path = written(tmp_path / "SMPL_python_v.1.1.0.zip", content)
    refused(path, "not a readable zip .*get it again")


def test_a_zip_that_was_cut_or_damaged_is_refused(archive):
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-500])
    refused(archive, "not a readable zip")
    archive.write_bytes(whole[:2000] + bytes(100) + whole[2100:])
    refused(archive, "cannot be unpacked")


def test_an_encrypted_member_is_refused(archive):
    patched(archive, 8, b"\x01")
    refused(archive, "is encrypted")


def test_only_stored_and_deflated_members_are_unpacked(tmp_path):
    path = tmp_path / "SMPL_python_v.1.0.0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(FEMALE, bytes(1000))
        archive.writestr(MALE, bytes(1000))
    refused(path, "neither stored nor deflated")


def test_a_member_that_unpacks_to_too_much_is_refused(archive, monkeypatch):
    monkeypatch.setattr("tpifu.body.licensed.MAX_BYTES", 1000)
    refused(archive, "unpacks to more than 1000 bytes")
    monkeypatch.undo()
    monkeypatch.setattr("tpifu.body.licensed.MAX_ZIP_BYTES", 1000)
    refused(archive, "larger than 1000 bytes")


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (0, "or one that was cut"),
        (1000, "cannot be unpacked"),
        (10**6, "cannot be unpacked"),
        (2**28, "unpacks to 5000000 bytes, not"),
    ],
)
def test_a_member_that_lies_about_its_size_takes_no_more_than_it_declares(tmp_path, declared, told):
    path = tmp_path / "SMPL_python_v.1.0.0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FEMALE, bytes(5 * 10**6))
        archive.writestr(MALE, b"")
    patched(path, 24, struct.pack("<I", declared))
    with peak_below(3 * min(declared, 5 * 10**6) + 10**6):
        refused(path, told)


class peak_below:
    """A block that takes less than this many bytes."""

    def __init__(self, limit):
        self.limit = limit

    def __enter__(self):
        tracemalloc.start()

    def __exit__(self, *_):
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < self.limit


def attacks(proof: str) -> dict[str, tuple[bytes, str]]:
    """Name -> (pickle, what the error says)."""
    text = f"V{proof}\n".encode()
    named = rb"os\.mkdir is not allowed in an SMPL model file"

    class Mkdir:
        def __reduce__(self):
            return os.mkdir, (proof,)

    def short(word):
        return b"\x8c" + bytes([len(word)]) + word

    code = f"__import__('os').mkdir({proof!r})".encode()
    mkdir = f"{os.mkdir.__module__}.mkdir"
    return {
        "reduce": (b"cos\nmkdir\n(" + text + b"tR.", named.decode()),
        "in a model": (pickle.dumps({**model(), "bs_type": Mkdir()}), f"{mkdir} is not"),
        "protocol 4": (pickle.dumps(Mkdir(), 4), f"{mkdir} is not"),
        "nested": (pickle.dumps({"a": [({"b": Mkdir()},)]}, 2), f"{mkdir} is not"),
        "inst": (b"(" + text + b"ios\nmkdir\n.", named.decode()),
        "obj": (b"(cos\nmkdir\n" + text + b"o.", named.decode()),
        "newobj": (b"csubprocess\nPopen\n(" + text + b"t\x81.", r"subprocess\.Popen is not"),
        "eval": (
            b"\x80\x04" + short(b"builtins") + short(b"eval") + b"\x93(V" + code + b"\ntR.",
            r"builtins\.eval is not",
        ),
        "python 2's eval": (b"c__builtin__\neval\n(V" + code + b"\ntR.", r"__builtin__\.eval is"),
        "getattr": (
            b"c__builtin__\ngetattr\n(cos\nsystem\nVx\ntR.",
            r"__builtin__\.getattr is not allowed",
        ),
        "attribute of an allowed class": (
            b"\x80\x04" + short(b"numpy") + short(b"ndarray.tofile") + b"\x93.",
            r"numpy\.ndarray\.tofile is not",
        ),
        "allowed name, split elsewhere": (
            b"\x80\x04" + short(b"numpy.core") + short(b"multiarray._reconstruct") + b"\x93.",
            r"_reconstruct is not allowed",
        ),
        "attribute of chumpy": (
            b"\x80\x04" + short(b"chumpy.ch") + short(b"os.mkdir") + b"\x93.",
            r"chumpy\.ch\.os\.mkdir is not",
        ),
        "a module like chumpy": (b"cchumpyevil\nCh\n.", r"chumpyevil\.Ch is not"),
        "names with line breaks": (
            b"\x80\x04" + short(b"os\nx") + short(b"\x1b[31m") + b"\x93.",
            r"os\\nx\.\\x1b\[31m is not allowed",
        ),
        "a name that is no text": (b"\x80\x04NN\x93.", "NoneType in place of text"),
        "a name in a list": (b"\x80\x04]]\x93.", "list in place of text"),
        "reconstructor of a function": (
            b"ccopy_reg\n_reconstructor\n(cos\nmkdir\nc__builtin__\nobject\nNtR.",
            named.decode(),
        ),
        "reconstructor of no class": (
            b"ccopy_reg\n_reconstructor\n(Vx\nc__builtin__\nobject\nNtR.",
            "instance of something",
        ),
        "reconstructor on another base": (
            b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nset\nNtR.",
            "instance of something",
        ),
        "call of a record": (b"c__builtin__\nset\n)R)R.", "calls something that is no class"),
        "call with no tuple": (b"c__builtin__\nset\n]R.", "calls something that is no class"),
        "state of a class": (b"cnumpy\nndarray\n}b.", "sets the state of something"),
        "state of a dict": (b"}}b.", "sets the state of something"),
        "persistent id": (b"Pabc\n.", r"opcode PERSID is not allowed"),
        "binary persistent id": (b"NQ.", r"opcode BINPERSID is not allowed"),
        "extension 1": (b"\x82\x01.", r"opcode EXT1 is not"),
        "extension 2": (b"\x83\x01\x00.", r"opcode EXT2 is not"),
        "extension 4": (b"\x84\x01\x00\x00\x00.", r"opcode EXT4 is not"),
        "newobj_ex": (b"c__builtin__\nset\n)}\x92.", r"opcode NEWOBJ_EX is not"),
        "protocol 5": (pickle.dumps({}, 5), "protocol 5 is not read"),
        "buffer outside the file": (b"\x97.", r"opcode NEXT_BUFFER is not"),
        "item of no dict": (b"](VK\nNu.", "sets an item of something"),
        "append to no list": (b"}Na.", "appends to something"),
        "no model": (b"].", "holds no dict"),
    }


def test_the_attacks_would_work_on_a_plain_unpickler(tmp_path):
    for name in ("reduce", "inst", "obj", "eval", "in a model"):
        proof = tmp_path / name
        pickle.loads(attacks(str(proof))[name][0])
        assert proof.is_dir()


@pytest.mark.parametrize("name", attacks("x"))
def test_an_attack_is_refused_by_name_and_nothing_runs(tmp_path, name):
    proof = tmp_path / "proof"
    content, told = attacks(str(proof))[name]
    path = written(tmp_path / "m.pkl", content)
    with pytest.raises(DataError, match=told) as caught:
        read_model(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not proof.exists()


DEEP = 200_000
FORGED = {
    "deep key": (b"}N" + b"\x85" * DEEP + b"Ns.", "lacks v_template"),
    "wide key": (b"}N" + b"22\x87" * 60 + b"Ns.", "lacks v_template"),
    "deep set": (b"c__builtin__\nset\n(" + b"]" * DEEP + b"t" + b"\x85R.", "holds no dict"),
    "large memo": (b"}r\xff\xff\xff\xff.", "lacks v_template"),
    "large memo as text": (b"}p99999999999999\n.", "lacks v_template"),
    "long bytes": (b"\x8e" + b"\xff" * 8, "ValueError"),
    "long text": (b"X\xff\xff\xff\xff", "ValueError"),
    "long number": (b"\x8b\xff\xff\xff\x7f", "ValueError"),
    "number of many digits": (b"I" + b"9" * 10**5 + b"\n.", "ValueError"),
    "float of much text": (b"F" + b"x" * 10**5 + b"\n.", r"ValueError.{,120}\)$"),
    "long name": (b"cchumpy.ch\n" + b"x" * 9000 + b"\n.", r"chumpy\.ch\.x{90} is not allowed"),
    "text wrapped again and again": (
        b"c_codecs\nencode\nq\x01V" + b"x" * 5000 + b"\nVlatin1\n\x86q\x02(" + b"h\x01h\x02R" * 900,
        "was cut",
    ),
    "frame": (b"\x95" + b"\xff" * 8 + b"}.", "lacks v_template"),
    "opcodes without end": (b"]" * (MAX_STEPS + 1), "more than 300000 opcodes"),
    "empty": (b"", "was cut"),
    "no stop": (b"}", "was cut"),
    "empty stack": (b".", "IndexError"),
    "no mark": (b"}u.", "IndexError"),
    "odd items": (b"}(NNNu.", "ValueError"),
    "few for a tuple": (b"N\x87.", "IndexError"),
    "unknown memo": (b"h\x05.", "KeyError"),
    "text without quotes": (b"Sx\n.", "without quotes"),
    "bad text": (b"X\x01\x00\x00\x00\xff.", "UnicodeDecodeError"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_pickle_takes_neither_time_nor_memory(ends, tmp_path, name):
    content, told = FORGED[name]
    path = written(tmp_path / "m.pkl", content)
    with pytest.raises(DataError, match=told):
        read_model(path)
    if len(content) < 2 * 10**4:
        with peak_below(10**6), pytest.raises(DataError, match=told):
            read_model(path)


def forged_array(shape=(5, 3), code="f8", raw=bytes(120), order="<"):
    """A numpy array as its pickle has it, each part as given."""

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


def forged_csc(**changes):
    made = old_csc(model()["J_regressor"])
    made.__dict__.update(changes)
    return made


def cyclic():
    made = ch(None)
    made.x = made
    return made


def forged_arrays():
    """Name -> (key of the model, its value, what the error says)."""
    flat = np.arange(150)
    over = stub("chumpy.reordering", "Select", a=np.zeros(150), idxs=flat + 1)
    under = stub("chumpy.reordering", "Select", a=np.zeros(150), idxs=flat - 1)
    many = stub("chumpy.reordering", "Select", a=np.zeros(1), idxs=np.zeros(10**4, np.int32))
    real = stub("chumpy.reordering", "Select", a=np.zeros(150), idxs=flat / 1)
    short = stub("chumpy.reordering", "Select", a=np.zeros(150), idxs=flat.astype(np.uint8))
    good = {"a": np.zeros(150), "idxs": flat}
    shape = stub("chumpy.reordering", "Select", **good, preferred_shape=(5, 3, 11))
    text = stub("chumpy.reordering", "Select", **good, preferred_shape="x")
    indices = scipy.sparse.csc_matrix(model()["J_regressor"]).indices
    return {
        "huge shape": ("v_template", forged_array(shape=(10**8, 3)), "in 120 bytes"),
        "overflowing shape": ("v_template", forged_array(shape=(2**62, 4)), "impossible shape"),
        "negative shape": ("v_template", forged_array(shape=(-5, -3)), "impossible shape"),
        "shape of nothing": (
            "v_template",
            forged_array(shape=(0, 2**60), raw=b""),
            "impossible shape",
        ),
        "shape of text": ("v_template", forged_array(shape=("5", 3)), "impossible shape"),
        "many axes": ("v_template", forged_array(shape=(1,) * 70), "impossible shape"),
        "endless number": ("v_template", forged_array((2**10**4, 3)), "impossible shape"),
        "more data": ("v_template", forged_array(raw=bytes(128)), "in 128 bytes"),
        "objects": ("v_template", np.full((5, 3), None), "holds objects"),
        "pointers": ("v_template", forged_array(code="O8"), "holds <O8, expected"),
        "records": ("v_template", forged_array(code="V8"), "holds <V8, expected"),
        "complex": ("v_template", forged_array(code="c8"), "holds <c8, expected"),
        "fields": ("v_template", forged_array(code="f8,f8"), "holds <f8,f8, expected"),
        "byte order": ("v_template", forged_array(order="f8,"), "holds f8,f8, expected"),
        "datetime": ("v_template", np.zeros((5, 3), "M8[s]"), "expected plain"),
        "number": ("v_template", 5.0, "is no array"),
        "list": ("v_template", [[0.0] * 3] * 5, "is no array"),
        "scalar": ("v_template", np.float64(5), "is a scalar that holds no array"),
        "chumpy without value": ("v_template", stub("chumpy.ch", "Ch"), "holds no array"),
        "cycle": ("v_template", cyclic(), "is no array"),
        "index over": ("shapedirs", over, r"index outside 0\.\.149"),
        "index under": ("shapedirs", under, r"index outside 0\.\.149"),
        "index of floats": ("shapedirs", real, "indexed with float64"),
        "index of 8 bits": ("shapedirs", short, "indexed with uint8"),
        "more selected than stored": ("shapedirs", many, "more numbers than there are"),
        "preferred shape": ("shapedirs", shape, "ValueError: cannot reshape"),
        "preferred shape of text": ("shapedirs", text, "impossible shape"),
        "other codec": ("v_template", forged_array(raw=Encoded()), "is not in latin-1"),
        "row outside": ("J_regressor", forged_csc(indices=indices + 24), r"outside 0\.\.23"),
        "row below": ("J_regressor", forged_csc(indices=indices - 24), r"outside 0\.\.23"),
        "fewer rows": ("J_regressor", forged_csc(indices=indices[1:]), "no valid sparse"),
        "starts short": ("J_regressor", forged_csc(indptr=np.zeros(3, int)), "no valid sparse"),
        "starts late": (
            "J_regressor",
            forged_csc(indptr=np.array([1, 1, 1, 1, 1, 1])),
            "no valid sparse",
        ),
        "starts empty": ("J_regressor", forged_csc(indptr=np.zeros(0, int)), "no valid sparse"),
        "starts over": (
            "J_regressor",
            forged_csc(indptr=np.full(6, 10**9)),
            "has an index outside",
        ),
        "starts back": (
            "J_regressor",
            forged_csc(indptr=np.array([0, 5, 1, 5, 5, 5])),
            "no valid sparse",
        ),
        "huge matrix": ("J_regressor", forged_csc(_shape=(24, 10**8)), "has shape"),
        "flat matrix": ("J_regressor", forged_csc(_shape=(24,)), "has shape"),
        "matrix without state": ("J_regressor", stub("scipy.sparse.csc", "csc_matrix"), "KeyErr"),
    }


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_forged_array_is_refused_by_name(tmp_path, protocol):
    dump = pickle.dumps if protocol > 2 else python2
    for name, (key, value, told) in forged_arrays().items():
        path = written(tmp_path / f"{name}.pkl", dump({**model(), key: value}, protocol))
        with peak_below(10**6), pytest.raises(DataError, match=told) as caught:
            read_model(path)
        assert str(path) in str(caught.value)
        assert key in str(caught.value) or "Error: " in str(caught.value)


def npy(header: str, raw=b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + raw


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10**12, 3)}"), "ValueError"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (100000000, 3)}"), "in 0 bytes"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3)}"), "impossible shape"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (5, 3)}", b"cos\n"), "plain num"),
        (npy("{'descr': '<U9', 'fortran_order': False, 'shape': (5, 3)}"), "plain numbers"),
        (npy("__import__('os').mkdir('x')"), "ValueError"),
        (npy("(" * 9000), "not a readable SMPL model"),
        (b"\x93NUMPY\x09\x00", "not a readable SMPL model"),
        (b"\x93NUMPY\x01\x00\xff\xff", "not a readable SMPL model"),
        (b"", "not a readable SMPL model"),
    ],
)
def test_a_forged_npz_is_refused(tmp_path, member, told):
    content = io.BytesIO(npz({**model(), "v_template": None} | {"v_template": np.zeros(1)}))
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(tmp_path / "m.npz", "w") as new:
        for name in old.namelist():
            new.writestr(name, member if name == "v_template.npy" else old.read(name))
    with peak_below(5 * 10**6), pytest.raises(DataError, match=told) as caught:
        read_model(tmp_path / "m.npz")
    assert str(tmp_path / "m.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_npz_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.body.licensed.MAX_BYTES", 10**6)
    bomb = {**model(), "v_template": np.zeros((10**5, 3))}
    path = written(tmp_path / "m.npz", npz(bomb, np.savez_compressed))
    assert path.stat().st_size < 10**5
    with peak_below(10**6), pytest.raises(DataError, match="unpacks to more than 1000000 bytes"):
        read_model(path)
    large = written(tmp_path / "m.pkl", bytes(10**6 + 1))
    with pytest.raises(DataError, match="larger than 1000000 bytes"):
        read_model(large)


def bent(name, index, value):
    array = model()[name].copy()
    array[index] = value
    return {name: array}


@pytest.mark.parametrize("kind", ["pkl", "npz"])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weights": None, "f": None}, "lacks weights, f; an SMPL model has v_template"),
        ({"v_template": np.zeros((0, 3))}, r"v_template has shape \(0, 3\)"),
        ({"v_template": np.zeros(())}, r"v_template has shape \(\)"),
        ({"v_template": np.zeros((5, 2))}, r"v_template has shape \(5, 2\), expected \(5, 3\)"),
        ({"v_template": np.zeros((MAX_VERTICES + 1, 3), "f2")}, "v_template has shape"),
        ({"shapedirs": np.zeros((5, 3, 9))}, "shapedirs has 9 components, expected 10 or more"),
        ({"shapedirs": np.zeros((5, 30))}, r"shapedirs has shape \(5, 30\)"),
        ({"posedirs": np.zeros((5, 3, 10))}, "posedirs has shape"),
        ({"weights": np.zeros((4, 24))}, "weights has shape"),
        ({"weights": np.zeros((5, 24))}, "hangs on no joint"),
        ({"J_regressor": np.zeros((5, 24))}, "J_regressor has shape"),
        ({"kintree_table": np.zeros((2, 52), int)}, "kintree_table has shape"),
        ({"f": np.zeros((7, 4), int)}, "f has shape"),
        ({"f": np.zeros((0, 3), int)}, "f holds 0 faces"),
        ({"f": np.zeros((4 * MAX_VERTICES + 1, 3), np.int8)}, "f holds 400001 faces"),
        ({"f": np.zeros((7, 3))}, "7 faces of float64, expected some whole"),
        ({"f": np.full((7, 3), 5)}, r"f has a vertex outside 0\.\.4"),
        ({"f": np.full((7, 3), -1)}, r"f has a vertex outside 0\.\.4"),
        ({"f": np.full((7, 3), 2**64 - 1, np.uint64)}, "f has a vertex outside"),
        ({"v_template": np.zeros((5, 3), "c8")}, "v_template holds .*, expected plain numbers"),
        ({"v_template": np.zeros((5, 3), bool)}, "v_template holds .*, expected plain numbers"),
        (bent("v_template", (0, 0), np.nan), "v_template holds values that are not finite"),
        (bent("posedirs", (0, 0, 0), 1e300), "posedirs holds values that are not finite"),
        (bent("kintree_table", (0, 0), 0), "does not start at the root"),
        (bent("kintree_table", (1, 3), 4), "does not start at the root"),
        (bent("kintree_table", (0, 3), 3), "joint 3 has parent 3"),
        (bent("kintree_table", (0, 3), 2**32 - 1), "joint 3 has parent 4294967295"),
        ({"kintree_table": np.zeros((2, 24))}, "kintree_table holds float64"),
    ],
)
def test_arrays_that_are_no_body_are_refused(tmp_path, kind, changes, told):
    arrays = {name: a for name, a in {**model(), **changes}.items() if a is not None}
    content = npz(arrays) if kind == "npz" else python2(arrays)
    path = written(tmp_path / f"m.{kind}", content)
    with pytest.raises(DataError, match=told) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def small_files() -> dict[str, bytes]:
    """Good files that are mostly structure."""
    stored = {
        name: array.astype("f2") if name in ("posedirs", "shapedirs") else array
        for name, array in model(vertices=1).items()
    }
    rich = as_stored(stored)
    return {
        "text.pkl": python2(rich, 0),
        "binary.pkl": python2(rich, 2),
        "new.pkl": pickle.dumps(rich, 4),
        "stored.npz": npz(stored),
        "deflated.npz": npz(stored, np.savez_compressed),
    }


OPCODES = list(b"()[]{}.NRbohjpqrstu012cieaQP\x81\x93\x94\xff\x00")


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    made = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at, length = int(rng.integers(len(made))), int(rng.integers(1, 9))
        other = int(rng.integers(len(content)))
        match rng.integers(6):
            case 0:
                made[at] ^= 1 << int(rng.integers(8))
            case 1:
                made[at] = int(rng.choice(OPCODES))
            case 2:
                made[at : at + length] = rng.bytes(length)
            case 3:
                made[at:at] = content[other : other + length * 4]
            case 4:
                del made[at : at + length]
            case _:
                made[at : at + 4] = struct.pack("<I", int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1])))
        made = made or bytearray(b"x")
    return bytes(made)


def mutated_member(content: bytes, rng: np.random.Generator) -> bytes:
    """An .npz with one damaged array: its zip stays whole, so the checksums hold."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            array = old.read(name)
            new.writestr(name, mutated(array, rng) if name == chosen else array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("text.pkl", mutated),
        ("binary.pkl", mutated),
        ("new.pkl", mutated),
        ("stored.npz", mutated),
        ("deflated.npz", mutated),
        ("stored.npz", mutated_member),
    ],
)
def test_a_damaged_file_is_read_or_refused(ends, tmp_path, name, damaged):
    rng = np.random.default_rng(0)
    content = small_files()[name]
    path = written(tmp_path / name, content)
    read_model(path)
    errors = []
    tracemalloc.start()
    try:
        for _ in range(300):
            path.write_bytes(damaged(content, rng))
            try:
                found = read_model(path)
            except DataError as error:
                errors.append(str(error))
            else:
                vertices = len(found["v_template"])
                assert found["posedirs"].shape == (vertices, 3, 207)
                assert all(np.isfinite(array).all() for array in found.values())
                assert 0 <= found["f"].min() <= found["f"].max() < vertices
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0 < len(errors) < 300
    for error in errors:
        assert error.startswith(f"{path}: ")
        assert "\n" not in error
        assert len(error) < 600
    assert peak < 2 * 10**6
