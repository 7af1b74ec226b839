"""The tree of procedural clips."""

import numpy as np
import pytest
from helpers.checks import contents

from tpifu.body.body import embedded_body
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import read_clip
from tpifu.clips.splits import subject_of
from tpifu.config import Synthetic
from tpifu.sources.synthetic.beats import MOTIONS
from tpifu.sources.synthetic.families import families
from tpifu.sources.synthetic.tree import FRAMES, broad_names, draw_subjects, write_synthetic

COUNTS = Synthetic(train_subjects=1, test_subjects=1, motions="both", clips=3)
FLIGHTS = {"run", "jump", "jumping", "dance", "leap", "tuck", "climb", "medley"}
"""Parts of the names of motions that leave the floor."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "tree"
    write_synthetic(folder, COUNTS, 3, jobs=1)
    return folder


@pytest.mark.parametrize(("subject", "half"), [(1, "train"), (2, "test")])
def test_a_subject_performs_the_nine_motions_and_broad_motion_in_one_split(tree, subject, half):
    families = enumerate(broad_names(subject, 3, 3), start=1)
    expected = [*MOTIONS, *(f"broad_{name}_{number:02d}" for number, name in families)]
    found = [path.name for path in (tree / "cmu" / half / "run0").iterdir()]
    assert sorted(found) == sorted(f"{subject:02d}_{name}" for name in expected)
    assert {subject_of(name) for name in found} == {f"{subject:02d}"}


def test_clips_have_surreals_length_and_stand_on_the_floor(tree):
    for path in tree.glob("cmu/*/run0/*/*_info.mat"):
        clip = read_clip(path)
        assert FRAMES[0] <= len(clip.pose) <= FRAMES[1]
        vertices, joints = embedded_body(clip.gender).pose(clip.pose[::10], clip.betas)
        floor = (vertices - joints[:, :1])[:, :, 1].min(axis=1) + clip.joints[::10, 0, 1]
        assert floor.min() > -1e-3  # never below the floor
        if not FLIGHTS & set(path.parent.name.split("_")):
            np.testing.assert_allclose(floor, 0, atol=1e-3)


def test_the_bytes_depend_neither_on_the_number_of_jobs_nor_on_broad_motion(tree, tmp_path):
    write_synthetic(tmp_path / "tree", COUNTS, 3, jobs=2)
    both = contents(tree)
    assert contents(tmp_path / "tree") == both
    write_synthetic(tmp_path / "nine", COUNTS.model_copy(update={"motions": "nine"}), 3, jobs=1)
    nine = contents(tmp_path / "nine")
    assert nine.items() <= both.items()
    assert (len(nine), len(both)) == (2 + 2 * len(MOTIONS), 2 + 2 * len(MOTIONS) + 2 * 3)


def test_a_subject_performs_all_families_in_turn_and_more_clips_keep_the_first():
    every = list(families())
    names = broad_names(7, 2 * len(every), 0)
    assert sorted(names) == sorted(every * 2)
    assert broad_names(7, 5, 0) == names[:5] != broad_names(8, 5, 0)


def test_another_seed_gives_other_shapes_and_motions(tree, tmp_path):
    write_synthetic(tmp_path / "tree", COUNTS, 4, jobs=1)
    name = "cmu/train/run0/01_walk/01_walk_c0001_info.mat"
    one, two = read_clip(tree / name), read_clip(tmp_path / "tree" / name)
    assert not np.array_equal(one.betas, two.betas)
    assert len(one.pose) != len(two.pose) or not np.allclose(one.pose, two.pose)


def test_more_subjects_do_not_change_the_first_ones():
    few = draw_subjects(Synthetic(train_subjects=2, test_subjects=1), 0)
    many = draw_subjects(Synthetic(train_subjects=5, test_subjects=2), 0)
    for one, other in zip(few[:2], many[:2], strict=True):
        assert (one.number, one.gender, one.style) == (other.number, other.gender, other.style)
        np.testing.assert_array_equal(one.betas, other.betas)
    assert [subject.split for subject in many] == ["train"] * 5 + ["test"] * 2
    assert {subject.gender for subject in many} == set(GENDERS)
