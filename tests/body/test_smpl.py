"""Licensed SMPL models: finding them by name, reading them, exporting both bodies."""

import time
import zipfile

import numpy as np
import pytest
from helpers.checks import contents, one_line
from helpers.smpl_files import as_stored, assert_same, model, npz, python2, written

from tpifu.body.body import Body, load_body
from tpifu.body.licensed import export_bodies, find_models
from tpifu.body.skeleton import GENDERS
from tpifu.errors import DataError

FEMALE, MALE = "basicModel_f_lbs_10_207_0_v1.0.0.pkl", "basicmodel_m_lbs_10_207_0_v1.0.0.pkl"


def both(folder, female=FEMALE, male=MALE, seed=0, vertices=5):
    written(folder / female, python2(as_stored(model(vertices, seed=seed))))
    written(folder / male, python2(as_stored(model(vertices, seed=seed + 1))))
    return folder


def zipped(path, folder):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def test_an_exported_body_equals_the_body_of_its_arrays(tmp_path):
    export_bodies(both(tmp_path / "source", vertices=6890), tmp_path)
    pose = np.random.default_rng(0).normal(size=(1, 72)).astype(np.float32)
    for seed, gender in enumerate(GENDERS):
        stored = model(6890, seed=seed)
        stored["kintree_table"] = stored["kintree_table"].astype(np.int32)
        exported, direct = load_body(tmp_path / f"{gender}.npz"), Body(stored)
        np.testing.assert_array_equal(exported.faces, direct.faces)
        for found, expected in zip(
            exported.pose(pose, np.ones(10)), direct.pose(pose, np.ones(10)), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_exports_are_byte_equal_and_leave_no_other_files(tmp_path, monkeypatch):
    source = both(tmp_path / "source")
    export_bodies(source, tmp_path / "a")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    export_bodies(source, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(contents(tmp_path / "a")) == [f"{gender}.npz" for gender in GENDERS]
    with np.load(tmp_path / "a" / "male.npz", allow_pickle=False) as arrays:
        assert_same({name: arrays[name] for name in arrays.files}, model(seed=1))


def test_a_broken_model_of_one_gender_prevents_the_export(tmp_path):
    source = both(tmp_path / "source")
    written(source / MALE, b"<html>login</html>")
    with pytest.raises(DataError, match=MALE):
        export_bodies(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_incomplete_file(tmp_path, monkeypatch):
    source, out = both(tmp_path / "source"), tmp_path / "out"
    save = np.savez

    def failing(file, **arrays):
        save(file, **arrays)
        if "male" in file.name.replace("female", ""):
            raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", failing)
    with pytest.raises(OSError, match="No space"):
        export_bodies(source, out)
    assert [path.name for path in out.iterdir()] == ["female.npz"]


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
    written(tmp_path / "zips" / "other.zip", b"ignored")
    for source in (folder, archive, tmp_path / "zips"):
        found = find_models(source)
        assert {gender: one.version for gender, one in found.items()} == {
            "female": version,
            "male": version,
        }
        for seed, gender in enumerate(GENDERS):
            assert_same(found[gender].read(), model(seed=seed))
        origins = export_bodies(source, tmp_path / "out")
        prefix = {folder: "", archive: f"{archive.name}/"}.get(source, f"a/{archive.name}/")
        assert origins["female"] == {"file": prefix + female, "version": version or "unknown"}


def test_the_newest_version_wins(tmp_path):
    both(tmp_path / "z" / "1", seed=10)
    new = both(tmp_path / "new", FEMALE.replace("1.0.0", "1.1.0"), MALE.replace("1.0.0", "1.1.0"))
    zipped(tmp_path / "z" / "SMPL_python_v.1.1.0.zip", new)
    both(tmp_path / "z", "SMPL_FEMALE.pkl", "SMPL_MALE.pkl", seed=20)
    written(tmp_path / "z" / "SMPL_FEMALE.npz", npz(model(seed=30)))
    found = find_models(tmp_path / "z")
    assert [one.version for one in found.values()] == ["1.1.0", "1.1.0"]
    assert_same(found["female"].read(), model(seed=0))
    (tmp_path / "z" / "SMPL_python_v.1.1.0.zip").unlink()
    assert [one.version for one in find_models(tmp_path / "z").values()] == ["1.0.0", "1.0.0"]
    (tmp_path / "z" / "1" / FEMALE).unlink()
    found = find_models(tmp_path / "z")
    assert [one.version for one in found.values()] == ["", "1.0.0"]
    assert_same(found["female"].read(), model(seed=30))  # the first path


def test_a_missing_model_is_reported_with_the_expected_names(tmp_path):
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


@pytest.fixture
def archive(tmp_path):
    return zipped(tmp_path / "SMPL_python_v.1.0.0.zip", both(tmp_path / "source"))


def rejected(source, message):
    """Check that `source` is rejected in one line that names it."""
    with one_line(DataError, message) as caught:
        export_bodies(source, source.parent / "out")
    assert str(source) in str(caught.value)
    assert not (source.parent / "out").exists()


@pytest.mark.parametrize("content", [b"", b"<html>login</html>", b"PK\x05\x06", b"PK\x03\x04" * 9])
def test_an_invalid_zip_must_be_downloaded_again(tmp_path, content):
    path = written(tmp_path / "SMPL_python_v.1.1.0.zip", content)
    rejected(path, "not a readable zip .*download it again")


def test_a_truncated_or_damaged_zip_is_rejected(archive):
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-500])
    rejected(archive, "not a readable zip")
    archive.write_bytes(whole[:2000] + bytes(100) + whole[2100:])
    rejected(archive, "not a readable SMPL model")


def test_an_encrypted_member_is_rejected(archive):
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] = 1  # a flag in the central directory
    archive.write_bytes(content)
    rejected(archive, "is encrypted")


def test_a_zip_cannot_write_other_files(archive, tmp_path):
    with zipfile.ZipFile(archive, "a") as add:
        add.writestr(zipfile.ZipInfo("../two\nlines\x1b[31m"), b"x")
        add.writestr(zipfile.ZipInfo("../../SMPL_FEMALE.pkl"), b"x")
    before = set(tmp_path.rglob("*"))
    export_bodies(archive, tmp_path / "out")
    written_files = set(tmp_path.rglob("*")) - before
    assert {path.name for path in written_files} == {"out", "female.npz", "male.npz"}
