from collections import Counter

import numpy as np
import pytest
from helpers.checks import contents

from tpifu.body.body import embedded_body, load_body
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import read_clip
from tpifu.config import Synthetic
from tpifu.sources.synthetic.beats import MOTIONS
from tpifu.sources.synthetic.tree import FRAMES, draw_subjects, write_synthetic

COUNTS = Synthetic(train_subjects=2, test_subjects=1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "tree"
    write_synthetic(folder, COUNTS, 3, jobs=1)
    return folder


def test_every_subject_performs_every_motion_in_one_split(tree):
    paths = sorted(tree.glob("cmu/*/run0/*/*_info.mat"))
    performed = Counter(path.parent.name.split("_", 1)[1] for path in paths)
    assert performed == dict.fromkeys(MOTIONS, 3)
    by_split = {
        split: {path.parent.name.split("_")[0] for path in paths if path.parts[-4] == split}
        for split in ("train", "test")
    }
    assert by_split == {"train": {"01", "02"}, "test": {"03"}}


def test_clips_have_surreals_length_and_stand_on_the_floor(tree):
    for path in tree.glob("cmu/*/run0/*/*_info.mat"):
        clip = read_clip(path)
        assert FRAMES[0] <= len(clip.pose) <= FRAMES[1]
        body = embedded_body(clip.gender)
        vertices, joints = body.pose(clip.pose[::10], clip.betas)
        floor = (vertices - joints[:, :1])[:, :, 1].min(axis=1) + clip.joints[::10, 0, 1]
        assert floor.min() > -1e-3  # never below the floor
        if not path.parent.name.endswith(("_run", "_jump", "_jumping_jack", "_dance")):
            np.testing.assert_allclose(floor, 0, atol=1e-3)


def test_stored_joints_match_the_posed_body(tree):
    for path in list(tree.glob("cmu/train/run0/*/*_info.mat"))[:4]:
        clip = read_clip(path)
        _, joints = embedded_body(clip.gender).pose(clip.pose, clip.betas)
        offsets = clip.joints - joints
        # One translation per frame.
        np.testing.assert_allclose(
            offsets, np.broadcast_to(offsets[:, :1], offsets.shape), atol=1e-4
        )


def test_the_tree_contains_the_bodies(tree):
    for gender in GENDERS:
        body = load_body(tree / "smpl" / f"{gender}.npz", gender)
        np.testing.assert_array_equal(body.faces, embedded_body(gender).faces)


def test_the_bytes_do_not_depend_on_the_number_of_jobs(tree, tmp_path):
    write_synthetic(tmp_path / "tree", COUNTS, 3, jobs=2)
    assert len(contents(tree)) == 3 * len(MOTIONS) + 2
    assert contents(tree) == contents(tmp_path / "tree")


def test_another_seed_gives_other_shapes_and_motions(tree, tmp_path):
    write_synthetic(tmp_path / "tree", COUNTS, 4, jobs=1)
    name = "cmu/train/run0/01_walk/01_walk_c0001_info.mat"
    one, two = read_clip(tree / name), read_clip(tmp_path / "tree" / name)
    assert not np.array_equal(one.betas, two.betas)
    assert len(one.pose) != len(two.pose) or not np.allclose(one.pose, two.pose)


def test_more_subjects_do_not_change_the_first_ones():
    few = draw_subjects(COUNTS, 0)
    many = draw_subjects(Synthetic(train_subjects=5, test_subjects=2), 0)
    for one, other in zip(few[:2], many[:2], strict=True):
        assert (one.number, one.gender, one.style) == (other.number, other.gender, other.style)
        np.testing.assert_array_equal(one.betas, other.betas)
    assert [subject.split for subject in many] == ["train"] * 5 + ["test"] * 2
    assert {subject.gender for subject in many} == set(GENDERS)
