"""The clips of each split.

A report names a tree of test clips alone. Further members, tested below: a half that is needed, no
validation, a tree that is too small, two clips of one name, a sequence in both halves.
"""

import shutil
from collections import Counter

import pytest
from helpers.data import SIZES, SMALL, sizes

from tpifu.clips.clip import read_clip
from tpifu.clips.splits import VALIDATION_SUBJECTS, choose_clips, matches, subject_of
from tpifu.config import Data
from tpifu.errors import DataError


def changed(**values) -> Data:
    return SMALL.model_copy(update=values)


def clips_of(tree, split: str):
    return sorted((tree / "cmu" / split).glob("run*/*/*_info.mat"))


def meshes_of(path) -> int:
    return -(-len(read_clip(path).pose) // SMALL.frame_step)


def sequences(choice, split):
    return {path.parent.name for at, path, _ in choice.clips if at == split}


def subjects(choice, split):
    return {subject_of(name) for name in sequences(choice, split)}


@pytest.fixture
def copy(synthetic_tree, tmp_path):
    return shutil.copytree(synthetic_tree, tmp_path / "tree")


@pytest.mark.parametrize(
    ("sequence", "subject"),
    [("01_01", "01"), ("ung_104_46", "104"), ("03_jumping_jack", "03"), ("143_21", "143")],
)
def test_the_subject_is_part_of_the_sequences_name(sequence, subject):
    assert subject_of(sequence) == subject


def test_splits_have_their_number_of_meshes_and_share_no_sequence(synthetic_tree):
    choice = choose_clips(synthetic_tree, SMALL, seed=0)
    assert choice.skipped == []
    assert sizes(choice) == SIZES
    for split in SIZES:
        unseen = {name.endswith(("_kick", "_lunge")) for name in sequences(choice, split)}
        assert unseen == {split == "unseen_motion"}
    assert not sequences(choice, "train") & sequences(choice, "test")
    assert choice.clips == choose_clips(synthetic_tree, SMALL, seed=0).clips
    assert choice.clips != choose_clips(synthetic_tree, SMALL, seed=1).clips
    # Only the last clip of a split is cut.
    cut = [kept < meshes_of(path) for _, path, kept in choice.clips]
    assert sum(cut) <= len(SIZES)


@pytest.mark.parametrize("seed", range(5))
def test_validation_subjects_are_not_trained_on(synthetic_tree, seed):
    choice = choose_clips(synthetic_tree, changed(validation_meshes=50), seed)
    assert sizes(choice)["validation"] == 50
    own = [path for split, path, _ in choice.clips if split == "validation"]
    assert all(path.is_relative_to(synthetic_tree / "cmu" / "train") for path in own)
    assert len(subjects(choice, "validation")) == VALIDATION_SUBJECTS
    assert not subjects(choice, "validation") & subjects(choice, "train")
    # No clip has more than 20 kept frames, and a subject performs every motion once.
    motions = {name.partition("_")[2] for name in sequences(choice, "validation")}
    assert len(motions) >= 2
    assert not motions & {"kick", "lunge"}


def test_validation_skips_subjects_needed_for_training(synthetic_tree):
    meshes: Counter[str] = Counter()
    for path in clips_of(synthetic_tree, "train"):
        if not matches(path.parent.name, SMALL.unseen):
            meshes[subject_of(path.parent.name)] += meshes_of(path)
    smallest = min(meshes, key=meshes.__getitem__)  # the only subject that can be spared
    most = meshes.total() - meshes[smallest]
    for seed in range(5):
        choice = choose_clips(synthetic_tree, changed(train_meshes=most), seed)
        assert subjects(choice, "validation") == {smallest}
    with pytest.raises(DataError, match=r"validation has 0 of 16 .* lower data.validation_meshes"):
        choose_clips(synthetic_tree, changed(train_meshes=most + 1), seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_clips_outside_all_splits_do_not_affect_the_choice(copy, seed):
    """The download leaves them out."""
    for walk in sorted((copy / "cmu" / "train" / "run0").iterdir()):
        for number in (10, 20):  # more subjects
            name = f"{number + int(walk.name[:2])}{walk.name[2:]}"
            shutil.copytree(walk, walk.with_name(name))
            for path in walk.with_name(name).iterdir():
                path.rename(path.with_name(path.name.replace(walk.name, name)))
    data = changed(validation_meshes=50)
    whole = choose_clips(copy, data, seed)
    for path in copy.rglob("*_info.mat"):
        if path not in {path for _, path, _ in whole.clips}:
            path.unlink()
    part = choose_clips(copy, data, seed)
    assert subjects(part, "validation") == subjects(whole, "validation")
    assert not subjects(part, "train") & subjects(part, "validation")
    assert sizes(part) == {**SIZES, "validation": 50}


def test_the_other_splits_do_not_depend_on_validation(synthetic_tree):
    held_out = []
    for validation_meshes in (0, 16, 60):
        choice = choose_clips(synthetic_tree, changed(validation_meshes=validation_meshes), seed=0)
        assert sizes(choice)["validation"] == validation_meshes
        held_out.append([clip for clip in choice.clips if clip[0] in ("test", "unseen_motion")])
    assert held_out[0] == held_out[1] == held_out[2]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_unreadable_clips_are_skipped_up_to_a_limit(synthetic_tree, copy, split):
    whole = choose_clips(synthetic_tree, SMALL, seed=0)
    path = next(path for at, path, _ in whole.clips if at == split)
    broken = copy / path.relative_to(synthetic_tree)
    broken.write_bytes(b"")
    choice = choose_clips(copy, changed(max_skipped=0.5), seed=0)
    assert [(clip.path, clip.reason) for clip in choice.skipped] == [(broken, "unreadable")]
    assert sizes(choice) == SIZES
    assert subjects(choice, "validation") == subjects(whole, "validation")
    assert not subjects(choice, "validation") & subjects(choice, "train")
    with pytest.raises(DataError, match=r"1 clips unusable \(\d+%, data.max_skipped is 5%\)"):
        choose_clips(copy, SMALL, seed=0)


def test_a_missing_a_small_and_a_leaking_tree_are_rejected(synthetic_tree, copy, tmp_path):
    with pytest.raises(DataError, match=r"cmu/train: no .*_info\.mat; run the download"):
        choose_clips(tmp_path / "none", SMALL, seed=0)
    with pytest.raises(DataError, match=r"train has \d+ of 9999 meshes; lower data.train_meshes"):
        choose_clips(synthetic_tree, Data(train_meshes=9999), seed=0)
    walk = next((copy / "cmu" / "train" / "run0").glob("*_walk"))
    shutil.copytree(walk, copy / "cmu" / "test" / "run0" / walk.name)
    with pytest.raises(DataError, match=f"sequence {walk.name} is in train and test"):
        choose_clips(copy, SMALL, seed=0)


def test_a_half_that_no_split_needs_may_be_missing(synthetic_tree, copy):
    shutil.rmtree(copy / "cmu" / "train")
    held_out = changed(train_meshes=0, validation_meshes=0)
    choice = choose_clips(copy, held_out, seed=0)
    assert sizes(choice) == {"test": 25, "unseen_motion": 12}
    whole = choose_clips(synthetic_tree, SMALL, seed=0)
    names = [sequences(found, "test") for found in (choice, whole)]
    assert names[0] == names[1]
    for needed in (changed(train_meshes=0), changed(validation_meshes=0)):
        with pytest.raises(DataError, match=r"test clips alone, set data.train_meshes and valid"):
            choose_clips(copy, needed, seed=0)


def test_two_clips_of_one_name_are_rejected(copy):
    path = clips_of(copy, "test")[0]
    other = path.parent.with_name("other") / path.name
    other.parent.mkdir()
    shutil.copy(clips_of(copy, "test")[1], other)
    with pytest.raises(DataError, match=r"has the same name as .*; rename one of the clips"):
        choose_clips(copy, SMALL, seed=0)
