"""A user's own motion: folders of Acclaim files and of SURREAL's clips."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.acclaim import amc_text, asf_text, walking
from helpers.checks import contents, one_line
from helpers.data import SIZES, SMALL, sizes
from helpers.smpl_files import npz

from pipeline import download
from pipeline.layout import OWN
from tpifu.body.body import embedded_body
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import clip_path, read_clip, read_source
from tpifu.clips.splits import choose_clips
from tpifu.config import Cmu, Data, Surreal
from tpifu.errors import ConfigError, DataError, LicenceError
from tpifu.sources.cmu.acclaim import Motion, read_motion, read_skeleton
from tpifu.sources.cmu.own import find_takes
from tpifu.sources.cmu.retarget import retarget
from tpifu.sources.cmu.takes import ACKNOWLEDGEMENT
from tpifu.sources.tree import write_tree

NO_LOGIN: dict[str, str] = {}


def write(out: Path, data: Data, environment=NO_LOGIN) -> list[str]:
    cache = out.parent / "cache"
    return write_tree(out, data, 0, cache=cache, environment=environment, jobs=1)


def mocap(folder: Path, **frames: int) -> Path:
    """A folder with a walk for each name SUBJECT_TAKE; `__` separates folders."""
    for name, count in frames.items():
        motion = folder / f"{name.replace('__', '/')}.amc"
        motion.parent.mkdir(parents=True, exist_ok=True)
        motion.write_text(amc_text(walking(count)))
        motion.with_name(f"{motion.stem.partition('_')[0]}.asf").write_text(asf_text())
    return folder


def own(folder: Path, frame_rate=120, max_skipped=0.05) -> Data:
    cmu = Cmu(folder=str(folder), frame_rate=frame_rate)
    return Data(source="cmu", cmu=cmu, max_skipped=max_skipped)


def found(tree: Path) -> dict[str, int]:
    """The number of frames of each clip, by its path."""
    clips = tree.glob("cmu/*/*/*/*_info.mat")
    return {
        path.relative_to(tree / "cmu").as_posix().removesuffix("_info.mat"): len(
            read_clip(path).pose
        )
        for path in clips
    }


@pytest.mark.parametrize(("frame_rate", "frames"), [(120, 11), (60, 22), (30, 44)])
def test_takes_become_test_clips_at_30_frames_per_second(tmp_path, frame_rate, frames):
    folder = mocap(tmp_path / "mocap", subjects__07__07_walk=44)
    assert write(tmp_path / "tree", own(folder, frame_rate=frame_rate)) == []
    assert found(tmp_path / "tree") == {"test/run0/07_walk/07_walk_c0001": frames}
    clip = read_clip(clip_path(tmp_path / "tree", "test", "run0", "07_walk", 1))
    take = folder / "subjects" / "07"
    skeleton = read_skeleton(take / "07.asf")
    motion = read_motion(take / "07_walk.amc", skeleton)
    step = 44 // frames
    kept = Motion(motion.position[::step], motion.angles[::step])
    pose = retarget(skeleton, kept, embedded_body(clip.gender).rest(clip.betas)[1])
    np.testing.assert_allclose(clip.pose[:, 3:], pose[:, 3:], atol=1e-5)


def test_takes_in_train_are_training_data(tmp_path):
    folder = mocap(tmp_path / "mocap", train__a_1=60, train__b_1=60, c_1=60, more__d_1=60)
    assert write(tmp_path / "tree", own(folder)) == []
    halves = {path.split("/")[2]: path.split("/")[0] for path in found(tmp_path / "tree")}
    assert halves == {"a_1": "train", "b_1": "train", "c_1": "test", "d_1": "test"}


def test_the_takes_of_a_subject_share_a_body(tmp_path):
    folder = mocap(tmp_path / "mocap", a_1=60, a_2=60, b_1=60)
    write(tmp_path / "tree", own(folder))
    shapes = {
        name: read_clip(clip_path(tmp_path / "tree", "test", "run0", name, 1)).betas
        for name in ("a_1", "a_2", "b_1")
    }
    np.testing.assert_array_equal(shapes["a_1"], shapes["a_2"])
    assert not np.array_equal(shapes["a_1"], shapes["b_1"])


def test_upper_case_suffixes_links_and_hidden_files(tmp_path):
    folder = mocap(tmp_path / "mocap", a_1=60)
    (folder / "a_1.amc").rename(folder / "A_1.AMC")
    (folder / "a.asf").rename(folder / "a.ASF")
    (folder / "._A_1.amc").write_text("of a file manager")
    mocap(tmp_path / "elsewhere", b_1=60)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    takes, problems = find_takes(folder)
    assert [take.sequence for take in takes] == ["A_1", "b_1"]
    assert problems == []


def test_the_source_states_the_users_own_terms(tmp_path):
    write(tmp_path / "tree", own(mocap(tmp_path / "mocap", a_1=60)))
    source = read_source(tmp_path / "tree")
    assert source["source"] == "mocap"
    assert "your own" in source["licence"]
    assert ACKNOWLEDGEMENT not in source.values()


BROKEN = {
    "b_1.amc": "there is no b.asf in its folder",
    "c_1.amc": "line 4: 'junk' is neither a frame nor a movable bone",
    "d_1.amc": "d.asf: has no :units with a length",
    "e_1.amc": "9 frames at 30 per second, a clip needs at least 10",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_take_among_good_ones_is_counted(tmp_path, name):
    folder = mocap(tmp_path / "mocap", a_1=60, a_2=60, **{name.removesuffix(".amc"): 60})
    if name == "b_1.amc":
        (folder / "b.asf").unlink()
    elif name == "c_1.amc":
        text = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join([*text[:3], "junk", *text[3:]]))
    elif name == "d_1.amc":
        (folder / "d.asf").write_text("")
    else:
        (folder / name).write_text(amc_text(walking(36)))
    with one_line(DataError) as caught:
        write(tmp_path / "tree", own(folder))
    line = str(caught.value)
    assert line.startswith(
        f"{folder}: 1 of 3 takes unusable (33%, data.max_skipped is 5%); the first: {folder}/"
    )
    assert BROKEN[name] in line
    assert not (tmp_path / "tree").exists()
    (problem,) = write(tmp_path / "tree", own(folder, max_skipped=0.4))
    assert BROKEN[name] in problem
    assert set(found(tmp_path / "tree")) == {f"test/run0/{n}/{n}_c0001" for n in ("a_1", "a_2")}


def test_the_error_names_an_unusable_folder(tmp_path):
    def refused(folder: Path, message: str) -> None:
        with one_line(DataError, message) as caught:
            write(tmp_path / "tree", own(folder))
        assert str(caught.value).startswith(str(folder))
        assert not (tmp_path / "tree").exists()

    empty = tmp_path / "empty"
    refused(empty, "cannot be read .No such file")
    empty.mkdir()
    refused(empty, "holds no .amc files")
    (empty / "a.asf").write_text(asf_text())
    refused(empty, "holds no .amc files")
    refused(empty / "a.asf", "cannot be read .Not a directory")
    both = mocap(tmp_path / "both", train__a_1=60, a_2=60)
    refused(both, "subject a is in train and test")
    refused(mocap(tmp_path / "only", train__a_1=60), "all takes are in train/")
    twice = mocap(tmp_path / "twice", one__a_1=60, two__a_1=60)
    with one_line(DataError, f"{twice}/two/a_1.amc: has the same name as {twice}/one/a_1.amc"):
        write(tmp_path / "tree", own(twice))


def surreal(folder: Path, **changes) -> Data:
    return SMALL.model_copy(
        update={"source": "surreal", "surreal": Surreal(folder=str(folder), **changes)}
    )


def test_a_users_own_tree_needs_no_login(synthetic_tree, tmp_path):
    data = surreal(synthetic_tree)
    assert write(tmp_path / "tree", data) == []
    copied = contents(tmp_path / "tree")
    whole = contents(synthetic_tree)
    clips = {name for name in copied if name.endswith("_info.mat")}
    assert all(copied[name] == whole[name] for name in [*clips, "smpl/male.npz"])
    # Only the clips that the splits need, with the terms of the tree.
    assert len(clips) < len([name for name in whole if name.endswith("_info.mat")])
    assert read_source(tmp_path / "tree") == {
        **read_source(synthetic_tree),
        "clips": len(clips),
    }
    assert sizes(choose_clips(tmp_path / "tree", data, 0)) == SIZES


def test_surreals_own_files_get_smpls_bodies(synthetic_tree, tmp_path):
    folder = tmp_path / "SURREAL" / "data"
    shutil.copytree(synthetic_tree / "cmu", folder / "cmu")
    shutil.copytree(folder / "cmu" / "test", folder / "cmu" / "val")  # not used
    with one_line(LicenceError, "SMPL_MODELS"):
        write(tmp_path / "tree", surreal(folder))
    models = tmp_path / "models"
    models.mkdir()
    for gender in GENDERS:
        with np.load(synthetic_tree / "smpl" / f"{gender}.npz") as stored:
            arrays = dict(stored)
        arrays["posedirs"] = np.zeros((len(arrays["v_template"]), 3, 207), np.float32)
        (models / f"SMPL_{gender}.npz").write_bytes(npz(arrays))
    assert write(tmp_path / "tree", surreal(folder), {"SMPL_MODELS": str(models)}) == []
    source = read_source(tmp_path / "tree")
    assert (source["source"], source["bodies"]["male"]["file"]) == ("surreal", "SMPL_male.npz")
    assert sizes(choose_clips(tmp_path / "tree", surreal(folder), 0)) == SIZES


def test_a_list_selects_clips_of_the_folder(synthetic_tree, tmp_path):
    listed = sorted(
        path.relative_to(synthetic_tree).as_posix()
        for path in synthetic_tree.glob("cmu/*/run0/*/*_info.mat")
    )
    absent = "cmu/test/run0/99_walk/99_walk_c0001_info.mat"
    (tmp_path / "list.txt").write_text("\n".join([*listed, absent]))
    data = surreal(synthetic_tree, clips=str(tmp_path / "list.txt"))
    data = data.model_copy(update={"test_meshes": 999})
    assert write(tmp_path / "tree", data) == [f"{synthetic_tree / absent}: no such file"]


def test_the_error_names_an_unusable_tree(synthetic_tree, tmp_path):
    tree = tmp_path / "mine"
    tree.mkdir()
    (tree / "smpl").mkdir()

    def refused(message: str, **changes) -> None:
        with one_line(DataError, message):
            write(tmp_path / "tree", surreal(tree, **changes))
        assert not (tmp_path / "tree").exists()

    refused(f"{tree}/smpl/female.npz: no such body file")
    shutil.copytree(synthetic_tree / "smpl", tree / "smpl", dirs_exist_ok=True)
    refused(f"{tree}: holds no cmu/.train,test./run.*/SEQUENCE/.*_info.mat")
    shutil.copytree(synthetic_tree / "cmu", tree / "cmu")
    refused(r"runs \(run2\), overlapping and exclude leave none of 45 clips", runs=("run2",))
    clip = next((tree / "cmu").glob("*/*/*/*_info.mat"))
    clip.rename(clip.with_name("walk_info.mat"))
    refused(f"{tree}: '.*/walk_info.mat' is not a path cmu/SPLIT/RUN/SEQUENCE")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The check of a path that a parameter names, in an empty repository."""
    monkeypatch.chdir(tmp_path)
    OWN.mkdir()
    return download.check_watched


def test_the_pipeline_reads_only_files_that_dvc_watches(repository, tmp_path):
    (OWN / "mine").mkdir()
    (OWN / "mine" / "a.amc").write_text("")
    for path in (OWN, OWN / "mine", tmp_path / OWN / "mine", OWN / "list.txt"):
        repository(path)
    for path in (Path("elsewhere"), tmp_path, OWN / ".." / "data", Path("/")):
        with one_line(ConfigError, f"{path}: is outside motion/, so DVC would not notice changes"):
            repository(path)
    (tmp_path / "elsewhere").mkdir()
    (OWN / "link").symlink_to(tmp_path / "elsewhere")
    with one_line(ConfigError, "motion/link: is outside motion/"):
        repository(OWN / "link")
    with one_line(ConfigError, "motion/link: is a link to a folder"):
        repository(OWN)
    # DVC reads the content of a linked file.
    os.link(OWN / "mine" / "a.amc", OWN / "mine" / "b.amc")
    (OWN / "mine" / "c.amc").symlink_to(tmp_path / "elsewhere" / "c.amc")
    repository(OWN / "mine")
