"""`tpifu eval` on motion: a folder of Acclaim files, or SURREAL's clips without bodies."""

import json
import shutil

import numpy as np
import pytest
from helpers.acclaim import amc_text, asf_text, walking
from helpers.clip import EVALUATE, RENDER
from helpers.command import done, refused, settings
from helpers.smpl_files import npz

from tpifu.body.skeleton import GENDERS

OPTIONS = [*RENDER, *EVALUATE, *settings("sample.grid=16", "data.unseen_meshes=0"), "--json"]


@pytest.fixture(scope="module")
def mocap(tmp_path_factory):
    """Two walks that become clips of 15 and 10 frames, with 3 and 2 meshes."""
    folder = tmp_path_factory.mktemp("mocap")
    (folder / "07.asf").write_text(asf_text())
    for name, frames in (("07_01", 60), ("07_02", 40)):
        (folder / f"{name}.amc").write_text(amc_text(walking(frames)))
    return folder


def test_motion_capture_and_its_tree_give_the_same_measures(trip, mocap, tmp_path):
    from tpifu.config import Cmu, Data
    from tpifu.sources.tree import write_tree

    options = [*OPTIONS, *settings("data.test_meshes=5")]
    result = done("eval", trip.model, mocap, *options)
    found = json.loads(result.stdout)
    assert found["meshes"] == 5
    (warning,) = result.stderr.splitlines()
    assert warning.startswith(f"warning: {mocap}: source mocap (trained on files)")
    data = Data(source="cmu", cmu=Cmu(folder=str(mocap)))
    write_tree(tmp_path / "tree", data, 0, cache=tmp_path, environment={}, jobs=1)
    assert found == json.loads(done("eval", trip.model, tmp_path / "tree", *options).stdout)


def test_the_frame_rate_changes_the_number_of_meshes(trip, mocap):
    slow = settings("data.cmu.frame_rate=60", "data.test_meshes=10")
    assert json.loads(done("eval", trip.model, mocap, *OPTIONS, *slow).stdout)["meshes"] == 10
    line = refused("eval", trip.model, mocap, *OPTIONS, *settings("data.test_meshes=10"))
    assert line.startswith(f"error: {mocap}: test has 5 of 10 meshes; lower data.test_meshes")
    line = refused("eval", trip.model, mocap, *OPTIONS, *settings("data.cmu.frame_rate=50"))
    assert "data.cmu.frame_rate: is 50: " in line


def test_skipped_takes_are_a_warning(trip, mocap, tmp_path):
    folder = shutil.copytree(mocap, tmp_path / "mocap")
    (folder / "08_01.amc").write_text(amc_text(walking(60)))
    line = refused("eval", trip.model, folder, *OPTIONS)
    assert line == (
        f"error: {folder}: 1 of 3 takes unusable (33%, data.max_skipped is 5%); the first: "
        f"{folder}/08_01.amc: there is no 08.asf in its folder"
    )
    more = settings("data.max_skipped=0.4", "data.test_meshes=5")
    result = done("eval", trip.model, folder, *OPTIONS, *more)
    assert json.loads(result.stdout)["meshes"] == 5
    assert result.stderr.splitlines()[0] == (
        f"warning: 1 files skipped; the first: {folder}/08_01.amc: there is no 08.asf in its folder"
    )


def test_surreals_clips_are_measured_on_smpls_bodies(trip, synthetic_tree, tmp_path, monkeypatch):
    for name in ("SMPL_USERNAME", "SMPL_PASSWORD", "SMPL_MODELS"):
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "SURREAL" / "data"
    shutil.copytree(synthetic_tree / "cmu" / "test", data / "cmu" / "test")
    options = [*OPTIONS, *settings("data.test_meshes=8")]
    assert "or SMPL_MODELS to the folder or zip" in refused("eval", trip.model, data, *options)
    for gender in GENDERS:
        with np.load(synthetic_tree / "smpl" / f"{gender}.npz") as stored:
            arrays = dict(stored)
        arrays["posedirs"] = np.zeros((len(arrays["v_template"]), 3, 207), np.float32)
        (tmp_path / f"SMPL_{gender}.npz").write_bytes(npz(arrays))
    monkeypatch.setenv("SMPL_MODELS", str(tmp_path))
    result = done("eval", trip.model, data, *options)
    assert json.loads(result.stdout)["meshes"] == 8
    assert "source surreal (trained on files)" in result.stderr
    # A damaged clip is named by its path in the user's folder.
    for clip in data.glob("cmu/test/*/*/*_info.mat"):
        clip.write_bytes(b"")
    line = refused("eval", trip.model, data, *options)
    assert f"the first: {data}/cmu/test/run0/" in line


def test_the_error_names_a_folder_without_motion(trip, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        assert f"{tmp_path / folder}" in refused("eval", trip.model, tmp_path / folder, *OPTIONS)
