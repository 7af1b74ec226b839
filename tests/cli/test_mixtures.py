"""Folders that do not belong together, and outputs over other outputs, are refused in one line.

Cases found in addition to the reported ones, each with its test:
- shards of two folders in one folder (`test_shards_of_two_folders_in_one_are_refused`)
- faces.parquet of other meshes (`test_faces_of_other_meshes_are_refused`)
- the same meshes under another clip name (`test_the_same_meshes_of_another_clip_are_refused`)
- a missing file of meshes (`test_a_missing_file_of_meshes_is_refused`)
- a model, or a file, where results are to be written (`test_outputs_replace_nothing`)
- more points than are stored, in training (`test_train_draws_no_more_points_than_are_stored`)
"""

import json
import os
import shutil

import pytest
from helpers.clip import EVALUATE, FRAMES, RECONSTRUCT, RENDER, body
from helpers.command import done, refused, settings, tpifu

TRAIN = ["--device", "cpu", *settings("train.steps=2", "train.batch_size=2", "train.points=20")]
TRAIN += settings("model.hourglass.stacks=1", "model.hourglass.depth=1", "model.hourglass.dim=8")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Two folders with the same name, with clips of equal names and lengths but different
    bodies."""
    folders = []
    for slope in (0.1, 0.2):
        root = tmp_path_factory.mktemp("twin")
        paths = [root / f"{n}.ply" for n in range(FRAMES)]
        for n, path in enumerate(paths):
            body(slope * (n + 1)).export(path)
        done("render", *paths, "-o", root / "mine", "--split", "train", *RENDER)
        folders.append(root / "mine")
    return folders


@pytest.fixture
def mixed(twins, tmp_path):
    """A function that replaces one folder of the first twin with that of the second."""

    def mix(kind: str):
        own = shutil.copytree(twins[0], tmp_path / kind / "mine")
        shutil.rmtree(own / kind)
        shutil.copytree(twins[1] / kind, own / kind)
        return own

    return mix


@pytest.mark.parametrize("kind", ["meshes", "views", "points"])
def test_folders_of_two_clips_are_refused(kind, mixed, trip, tmp_path_factory):
    data, out = mixed(kind), tmp_path_factory.mktemp("out") / "out"
    commands = [["eval", trip.model, data, "-o", out, *EVALUATE], ["inspect", data]]
    if kind != "meshes":  # training reads no meshes
        commands.append(["train", data, "-o", out, *TRAIN])
    for command in commands:
        line = refused(*command)
        assert " belong to different meshes; write both from the same meshes" in line
        assert not out.exists()


def test_training_ignores_other_meshes(mixed, twins, tmp_path):
    done("train", mixed("meshes"), "-o", tmp_path / "one", *TRAIN)
    done("train", twins[0], "-o", tmp_path / "two", *TRAIN)
    one, two = (tmp_path / name / "model.pt" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_shards_of_two_folders_in_one_are_refused(twins, trip, tmp_path):
    for kind in ("meshes", "views", "points"):
        data = shutil.copytree(twins[0], tmp_path / kind)
        shutil.copy(twins[1] / kind / "train-00000.parquet", data / kind / "train-00001.parquet")
        commands = [["inspect", data / kind], ["eval", trip.model, data, *EVALUATE]]
        if kind == "views":
            command = ["reconstruct", trip.model, data, "-o", tmp_path / "one.obj"]
            commands.append([*command, *RECONSTRUCT])
        if kind != "meshes":
            commands.append(["train", data, "-o", tmp_path / "m", *TRAIN])
        for command in commands:
            line = refused(*command)
            assert "train-00001.parquet: other settings or meshes than train-00000.parquet" in line


def test_faces_of_other_meshes_are_refused(twins, trip, tmp_path):
    data = shutil.copytree(twins[0], tmp_path / "data")
    shutil.copy(twins[1] / "meshes" / "faces.parquet", data / "meshes")
    for command in (["eval", trip.model, data, *EVALUATE], ["inspect", data, "-o", "sheet.png"]):
        assert "faces.parquet: other settings or meshes than train-" in refused(*command)


def test_the_same_meshes_of_another_clip_are_refused(twins, trip, tmp_path):
    paths = sorted(twins[0].parent.glob("*.ply"))
    done("render", *paths, "-o", tmp_path / "yours", "--split", "train", *RENDER)
    shutil.rmtree(tmp_path / "yours" / "meshes")
    shutil.copytree(twins[0] / "meshes", tmp_path / "yours" / "meshes")
    line = refused("eval", trip.model, tmp_path / "yours", *EVALUATE)
    assert "belong to different meshes" in line


def test_a_missing_file_of_meshes_is_refused(tiny, trip, tmp_path):
    data = shutil.copytree(tiny, tmp_path / "data")
    (data / "meshes" / "unseen_motion-00000.parquet").unlink()
    result = tpifu("eval", trip.model, data, *EVALUATE)
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert "meshes: 0 of 3 frames of clip run0/e_kick_c0001 (unseen_motion); a file is" in line


def contents(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_outputs_replace_nothing(trip, twins, bodies, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    commands = {
        "eval": ["eval", trip.model, twins[0], *EVALUATE],
        "train": ["train", twins[0], *TRAIN],
        "import": ["import", trip.images[0]],
        "render": ["render", bodies[0], *RENDER],
    }
    for command in commands.values():
        for out in (trip.report, trip.model, twins[0], trip.root / "all", file):
            before = contents(out)
            assert refused(*command, "-o", out).endswith(
                f"{out}: already exists: choose another --out, or delete it"
            )
            assert contents(out) == before
        line = refused(*command, "-o", file / "sub" / "out")
        assert line == (
            f"error: {file}/sub/out: {file} is a file, not a folder: choose another --out"
        )
    assert file.read_text() == "mine"


def test_a_failed_evaluation_leaves_no_folder(trip, untouched, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("tpifu.evaluate.evaluate.write_shown", fail)
    with pytest.raises(AssertionError):
        done("eval", trip.model, trip.shards, "-o", untouched, *EVALUATE)
    assert list(untouched.parent.iterdir()) == []


def test_an_empty_folder_and_a_link_to_one_are_new_folders(trip, tmp_path):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "e").symlink_to(tmp_path / "large disk")
    done("eval", trip.model, trip.shards, "-o", tmp_path / "e", *EVALUATE)
    assert (tmp_path / "e").is_symlink()
    assert "metrics.json" in os.listdir(tmp_path / "large disk")


def test_a_window_longer_than_the_held_out_clips_is_refused_before_training(tiny, untouched):
    # The longest clip has 5 frames in training, 4 in test, and 3 in unseen_motion.
    command = ["train", tiny, "-o", untouched, *TRAIN, *settings("train.validate_every=0")]
    for neighborhood, split, frames in ((5, "test", 4), (7, "train", 5)):
        line = refused(*command, *settings(f"model.neighborhood={neighborhood}"))
        assert f"neighborhood is {neighborhood}, but the longest {split} clip has {frames}" in line
        assert "lower one of them" in line


def test_train_draws_no_more_points_than_are_stored(trip, untouched):
    line = refused("train", trip.shards, "-o", untouched, *TRAIN, *settings("train.points=202"))
    assert line.endswith("points holds 200 points per mesh: set train.points to at most 200")


def test_test_clips_alone_are_prepared_and_evaluated(trip, synthetic_tree, tmp_path):
    from tpifu.config import Data, Render, Sample
    from tpifu.prepare.meshes import export_meshes
    from tpifu.prepare.points import write_points
    from tpifu.prepare.views import write_views

    tree, data = tmp_path / "tree", tmp_path / "data"
    shutil.copytree(synthetic_tree, tree, ignore=shutil.ignore_patterns("train"))
    counts = settings("data.test_meshes=8", "data.unseen_meshes=3")
    options = [*RENDER, *counts, *EVALUATE, *settings("sample.grid=32"), "--json"]
    found = json.loads(done("eval", trip.model, tree, *options).stdout)
    assert (found["meshes"], found["unseen_motion"]["meshes"]) == (8, 3)

    own = Data(train_meshes=0, validation_meshes=0, test_meshes=8, unseen_meshes=3)
    export_meshes(tree, data / "meshes", own, 0, jobs=1)
    render = Render(size=32, views=2)
    camera = {"window": 2.56, "seed": 0, "backend": "embree"}
    write_views(data / "meshes", data / "views", render, **camera, jobs=1)
    pool = Sample(near_surface=150, uniform=50, grid=32)
    write_points(data / "meshes", data / "points", pool, half=1.28, seed=0, jobs=1)
    assert found == json.loads(done("eval", trip.model, data, *options).stdout)
    many = settings("data.test_meshes=9999")
    command = ["eval", trip.model, tree, *RENDER, *EVALUATE]
    line = refused(*command, *many)
    assert "of 9999 meshes; lower data.test_meshes, or get more clips" in line
    shutil.rmtree(tree / "cmu" / "test")
    assert "cmu/test: no run*/SEQUENCE/*_info.mat" in refused(*command)


def test_data_of_another_source_and_origin_are_a_warning(trip, tiny, bodies, tmp_path):
    # The model was trained on files with their centre of mass at 0; the origin of tiny is unknown.
    warning = (
        f"warning: {tiny}: source test (trained on files): the model may do worse on these data"
    )
    assert warning in done("eval", trip.model, tiny, *EVALUATE).stderr.splitlines()
    done("render", *bodies[:3], "-o", tmp_path / "kept", "--origin", "file", *RENDER)
    assert done("eval", trip.model, tmp_path / "kept", *EVALUATE).stderr == ""
