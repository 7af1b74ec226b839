import shutil
from collections import Counter

import numpy as np
import pytest

from tpifu.clips.clip import read_clip
from tpifu.clips.splits import VALIDATION_SUBJECTS, choose_clips, matches, subject_of
from tpifu.config import Data
from tpifu.errors import DataError

SMALL = Data(train_meshes=40, validation_meshes=16, test_meshes=25, unseen_meshes=12)


def test_splits_have_their_number_of_meshes_and_share_no_sequence(synthetic_tree):
    choice = choose_clips(synthetic_tree, SMALL, seed=0)
    assert choice.skipped == []
    sequences = {}
    for split, wanted in (("train", 40), ("validation", 16), ("test", 25), ("unseen_motion", 12)):
        own = [(path, kept) for at, path, kept in choice.clips if at == split]
        assert sum(kept for _, kept in own) == wanted
        sequences[split] = {path.parent.name for path, _ in own}
        unseen = {name.endswith(("_kick", "_lunge")) for name in sequences[split]}
        assert unseen == {split == "unseen_motion"}
    assert not sequences["train"] & sequences["test"]
    assert not sequences["test"] & sequences["unseen_motion"]
    assert choice.clips == choose_clips(synthetic_tree, SMALL, seed=0).clips
    assert choice.clips != choose_clips(synthetic_tree, SMALL, seed=1).clips


def test_clips_are_whole_but_for_the_last_of_a_split(synthetic_tree):
    cut = 0
    for _, path, kept in choose_clips(synthetic_tree, SMALL, seed=0).clips:
        frames = -(-len(read_clip(path).pose) // SMALL.frame_step)
        assert kept <= frames
        cut += kept < frames
    assert cut <= 4


def subjects(choice, split):
    return {subject_of(path.parent.name) for at, path, _ in choice.clips if at == split}


def motions(choice, split):
    return {path.parent.name.partition("_")[2] for at, path, _ in choice.clips if at == split}


@pytest.mark.parametrize(
    ("sequence", "subject"),
    [("01_01", "01"), ("ung_104_46", "104"), ("03_jumping_jack", "03"), ("143_21", "143")],
)
def test_a_sequence_names_its_subject(sequence, subject):
    assert subject_of(sequence) == subject


@pytest.mark.parametrize("seed", range(5))
def test_validation_has_training_subjects_to_itself(synthetic_tree, seed):
    data = Data.model_validate({**SMALL.model_dump(), "validation_meshes": 50})
    choice = choose_clips(synthetic_tree, data, seed)
    own = [(path, kept) for split, path, kept in choice.clips if split == "validation"]
    assert sum(kept for _, kept in own) == 50
    assert all(path.is_relative_to(synthetic_tree / "cmu" / "train") for path, _ in own)
    assert len(subjects(choice, "validation")) == VALIDATION_SUBJECTS
    assert not subjects(choice, "validation") & subjects(choice, "train")
    # No clip has more than 20 kept frames, and a subject performs every motion once.
    assert len(motions(choice, "validation")) >= 2
    assert not motions(choice, "validation") & {"kick", "lunge"}


def test_a_subject_whom_training_needs_is_not_validated_on(synthetic_tree):
    paths = sorted((synthetic_tree / "cmu" / "train").glob("run*/*/*_info.mat"))
    frames = Counter()
    for path in paths:
        if not matches(path.parent.name, SMALL.unseen):
            kept = -(-len(read_clip(path).pose) // SMALL.frame_step)
            frames[subject_of(path.parent.name)] += kept
    # All but the smallest: no one else can be spared.
    smallest = min(frames, key=frames.__getitem__)
    most = frames.total() - frames[smallest]
    data = Data.model_validate({**SMALL.model_dump(), "train_meshes": most})
    for seed in range(5):
        choice = choose_clips(synthetic_tree, data, seed)
        assert subjects(choice, "validation") == {smallest}
    greedy = Data.model_validate({**data.model_dump(), "train_meshes": most + 1})
    with pytest.raises(DataError, match=r"validation has 0 of 16 .* lower data.validation_meshes"):
        choose_clips(synthetic_tree, greedy, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_clips_that_no_split_takes_are_not_needed(synthetic_tree, tmp_path, seed):
    """As the download leaves them out."""
    crowd = copy_of(synthetic_tree, tmp_path)
    for walk in sorted((crowd / "cmu" / "train" / "run0").iterdir()):
        for number in (10, 20):
            name = f"{number + int(walk.name[:2])}{walk.name[2:]}"
            shutil.copytree(walk, walk.with_name(name))
            for path in walk.with_name(name).iterdir():
                path.rename(path.with_name(path.name.replace(walk.name, name)))
    data = Data.model_validate({**SMALL.model_dump(), "validation_meshes": 50})
    whole = choose_clips(crowd, data, seed)
    for path in crowd.rglob("*_info.mat"):
        if path not in {path for _, path, _ in whole.clips}:
            path.unlink()
    part = choose_clips(crowd, data, seed)
    assert subjects(part, "validation") == subjects(whole, "validation")
    assert not subjects(part, "train") & subjects(part, "validation")
    kept = Counter()
    for split, _, count in part.clips:
        kept[split] += count
    assert kept == {"train": 40, "validation": 50, "test": 25, "unseen_motion": 12}


@pytest.mark.parametrize("validation_meshes", [0, 16, 60])
def test_validation_leaves_the_test_splits_as_they_are(synthetic_tree, validation_meshes):
    data = Data.model_validate({**SMALL.model_dump(), "validation_meshes": validation_meshes})
    choice = choose_clips(synthetic_tree, data, seed=0)
    paths = sorted((synthetic_tree / "cmu" / "test").glob("run*/*/*_info.mat"))
    # Drawn as before there was a validation split.
    for number, split, wanted in ((1, "test", 25), (2, "unseen_motion", 12)):
        unseen = split == "unseen_motion"
        own = [path for path in paths if matches(path.parent.name, data.unseen) == unseen]
        expected, remaining = [], wanted
        for index in np.random.default_rng([0, number]).permutation(len(own)):
            kept = min(-(-len(read_clip(own[index]).pose) // data.frame_step), remaining)
            if kept:
                expected.append((split, own[index], kept))
            remaining -= kept
        assert sorted(expected) == sorted(clip for clip in choice.clips if clip[0] == split)


def test_no_validation_leaves_all_subjects_to_training(synthetic_tree):
    choice = choose_clips(
        synthetic_tree, Data.model_validate({**SMALL.model_dump(), "validation_meshes": 0}), seed=0
    )
    assert {split for split, _, _ in choice.clips} == {"train", "test", "unseen_motion"}
    paths = sorted((synthetic_tree / "cmu" / "train").glob("run*/*/*_info.mat"))
    seen = [path for path in paths if not matches(path.parent.name, SMALL.unseen)]
    first = seen[np.random.default_rng([0, 0]).permutation(len(seen))[0]]
    assert first in {path for split, path, _ in choice.clips if split == "train"}


def test_a_broken_validation_clip_is_skipped_and_its_subject_stays_out(synthetic_tree, tmp_path):
    broken = copy_of(synthetic_tree, tmp_path)
    whole = choose_clips(synthetic_tree, SMALL, seed=0)
    first = next(path for split, path, _ in whole.clips if split == "validation")
    (broken / first.relative_to(synthetic_tree)).write_bytes(b"")
    generous = Data.model_validate({**SMALL.model_dump(), "max_skipped": 0.5})
    choice = choose_clips(broken, generous, seed=0)
    assert [clip.path for clip in choice.skipped] == [broken / first.relative_to(synthetic_tree)]
    assert subjects(choice, "validation") == subjects(whole, "validation")
    assert subject_of(first.parent.name) not in subjects(choice, "train")
    assert sum(kept for split, _, kept in choice.clips if split == "validation") == 16


def copy_of(synthetic_tree, tmp_path):
    return shutil.copytree(synthetic_tree, tmp_path / "tree")


def test_unreadable_clips_are_skipped_counted_and_at_last_an_error(synthetic_tree, tmp_path):
    broken = copy_of(synthetic_tree, tmp_path)
    first = choose_clips(synthetic_tree, SMALL, seed=0).clips[0][1].relative_to(synthetic_tree)
    (broken / first).write_bytes(b"")
    generous = Data.model_validate({**SMALL.model_dump(), "max_skipped": 0.5})
    choice = choose_clips(broken, generous, seed=0)
    assert len(choice.skipped) == 1
    assert (choice.skipped[0].path, choice.skipped[0].reason) == (broken / first, "unreadable")
    assert sum(kept for split, _, kept in choice.clips if split == "train") == 40
    with pytest.raises(DataError, match=r"1 clips unusable \(\d+%, data.max_skipped is 5%\)"):
        choose_clips(broken, SMALL, seed=0)


def test_a_tree_that_is_missing_or_too_small_is_named(synthetic_tree, tmp_path):
    with pytest.raises(DataError, match=r"cmu/train: no \*_info\.mat there; run the download"):
        choose_clips(tmp_path, SMALL, seed=0)
    with pytest.raises(DataError, match=r"train has \d+ of 9999 meshes; lower data.train_meshes"):
        choose_clips(synthetic_tree, Data(train_meshes=9999), seed=0)


def test_a_sequence_in_two_splits_is_refused(synthetic_tree, tmp_path):
    leaking = copy_of(synthetic_tree, tmp_path)
    walk = next((leaking / "cmu" / "train" / "run0").glob("*_walk"))
    shutil.copytree(walk, leaking / "cmu" / "test" / "run0" / walk.name)
    with pytest.raises(DataError, match=f"sequence {walk.name} is in train and in test"):
        choose_clips(leaking, SMALL, seed=0)
