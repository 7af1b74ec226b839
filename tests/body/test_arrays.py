"""Arrays of SMPL models: .npz files, and the checks of both file formats."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from helpers.checks import one_line
from helpers.smpl_files import assert_same, model, npz, python2, written

from tpifu.body.licensed import ModelFile
from tpifu.errors import DataError


def read(tmp_path, content, suffix="npz"):
    return ModelFile(written(tmp_path / f"m.{suffix}", content)).read()


def with_member(content: bytes, name: str, change) -> bytes:
    """An .npz with one member changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for member in old.namelist():
            array = old.read(member)
            new.writestr(member, change(array) if member == f"{name}.npy" else array)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read(tmp_path, save):
    stored = model(components=300)
    extra = {"note": np.array(["text"]), "objects": np.array([{}], object)}
    assert_same(read(tmp_path, npz({**stored, **extra}, save)), stored)


def test_an_npz_from_python_2_is_read_without_warnings(tmp_path):
    content = with_member(
        npz(model()), "v_template", lambda array: array.replace(b"(5, 3), }  ", b"(5L, 3L), }")
    )
    assert b"(5L, 3L)" in content
    assert_same(read(tmp_path, content), model())


def test_the_roots_parent_may_be_stored_as_minus_one(tmp_path):
    stored = model()
    stored["kintree_table"] = stored["kintree_table"].astype(np.int32)
    assert stored["kintree_table"][0, 0] == -1
    assert_same(read(tmp_path, npz(stored)), stored)


@pytest.mark.parametrize("member", [b"", b"\x93NUMPY\x01\x00\xff\xff", pickle.dumps({})])
def test_a_forged_npz_is_rejected(tmp_path, member):
    with one_line(DataError, f"^{tmp_path / 'm.npz'}: .*v_template"):
        read(tmp_path, with_member(npz(model()), "v_template", lambda _: member))


def modified(name, index, value):
    array = model()[name].copy()
    array[index] = value
    return {name: array}


@pytest.mark.parametrize("kind", ["pkl", "npz"])
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"weights": None}, "weights is missing or unreadable"),
        ({"v_template": np.zeros((0, 3))}, r"shapedirs has shape \(5, 3, 10\), expected \(0"),
        ({"v_template": np.zeros(())}, "v_template has shape"),
        ({"v_template": np.zeros((5, 2))}, r"v_template has shape \(5, 2\), expected \(5, 3\)"),
        ({"shapedirs": np.zeros((5, 3, 9))}, "shapedirs has 9 components, expected 10 or more"),
        ({"shapedirs": np.zeros((5, 30))}, "shapedirs has shape"),
        ({"posedirs": np.zeros((5, 3, 10))}, "posedirs has shape"),
        ({"weights": np.zeros((4, 24))}, "weights has shape"),
        ({"weights": np.zeros((5, 24))}, "has no positive weight"),
        ({"J_regressor": np.zeros((5, 24))}, "J_regressor has shape"),
        ({"kintree_table": np.zeros((2, 52), int)}, "kintree_table has shape"),
        ({"f": np.zeros((7, 4), int)}, "f has shape"),
        ({"f": np.zeros((0, 3), int)}, "f is empty"),
        ({"f": np.zeros((7, 3))}, "f has type float64, expected integers"),
        ({"f": np.full((7, 3), 5)}, r"has a vertex outside 0\.\.4"),
        ({"f": np.full((7, 3), -1)}, "has a vertex outside"),
        ({"f": np.full((7, 3), 2**64 - 1, np.uint64)}, "has a vertex outside"),
        ({"v_template": np.zeros((5, 3), "c8")}, "v_template .*, expected numbers"),
        ({"v_template": np.zeros((5, 3), bool)}, "v_template .*, expected numbers"),
        ({"v_template": np.full((5, 3), "text")}, "v_template"),
        ({"v_template": np.full((5, 3), None)}, "v_template is missing or unreadable"),
        (modified("v_template", (0, 0), np.nan), "v_template contains values that are not finite"),
        (modified("posedirs", (0, 0, 0), 1e300), "posedirs contains values that are not finite"),
        (modified("kintree_table", (0, 0), 0), "does not list the joints"),
        (modified("kintree_table", (1, 3), 4), "does not list"),
        (modified("kintree_table", (0, 3), 3), "does not list"),
        (modified("kintree_table", (0, 3), 2**32 - 1), "does not list"),
        ({"kintree_table": np.zeros((2, 24))}, "kintree_table has type float64"),
    ],
)
def test_invalid_arrays_are_rejected(tmp_path, kind, changes, text):
    arrays = {name: a for name, a in {**model(), **changes}.items() if a is not None}
    with pytest.raises(DataError, match=text) as caught:
        read(tmp_path, npz(arrays) if kind == "npz" else python2(arrays), kind)
    assert str(caught.value).startswith(f"{tmp_path}/m.{kind}: ")
