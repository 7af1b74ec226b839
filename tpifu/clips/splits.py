"""Which clips make up the splits. Clips are drawn by seed; train and test share no sequence, train
and validation no subject."""

import fnmatch
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np

from tpifu.clips.clip import clip_name, read_clip
from tpifu.clips.matfile import UnusableClip
from tpifu.config import Data
from tpifu.errors import DataError
from tpifu.shards.schema import SPLITS

VALIDATION_SUBJECTS = 2
"""Subjects of the validation split. Fifty meshes are four clips; if all of them showed one person,
a network that fits only that person would seem better."""
# The index of a split is part of the seed of its draw.
_STREAMS = ("train", "test", "unseen_motion", "validation")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Choice:
    """The clips of all splits."""

    clips: list[tuple[str, Path, int]]
    """(split, file, number of kept frames), sorted."""
    skipped: list[UnusableClip]


@dataclass(frozen=True)
class _Taken:
    """The clips of one split with their numbers of kept frames, and the skipped clips."""

    clips: list[tuple[Path, int]]
    skipped: list[UnusableClip]

    @property
    def meshes(self) -> int:
        return sum(kept for _, kept in self.clips)


def matches(sequence: str, patterns: Sequence[str]) -> bool:
    """Whether one of the shell patterns matches the name of the sequence."""
    return any(fnmatch.fnmatchcase(sequence, pattern) for pattern in patterns)


def subject_of(sequence: str) -> str:
    """The subject of a sequence: `01` for `01_01` and for `01_walk`, `104` for `ung_104_46`.

    SURREAL prefixes some of CMU's takes with `ung_`.
    """
    return sequence.removeprefix("ung_").partition("_")[0]


def wanted_meshes(data: Data) -> dict[str, int]:
    """Number of meshes of each split."""
    return {
        "train": data.train_meshes,
        "validation": data.validation_meshes,
        "test": data.test_meshes,
        "unseen_motion": data.unseen_meshes,
    }


def shuffled(clips: Sequence[Item], split: str, seed: int) -> list[Item]:
    """The clips in the order in which `split` takes them; it does not depend on other splits."""
    rng = np.random.default_rng([seed, _STREAMS.index(split)])
    return [clips[index] for index in rng.permutation(len(clips))]


def validation_queue(
    clips: Sequence[Item], sequences: Sequence[str], seed: int
) -> list[list[Item]]:
    """The clips of each subject; subjects and their clips are in a seeded order. The validation
    split takes subjects from the front.

    The place of a subject depends only on its name and the seed. The download, which sees clips
    that the tree lacks, therefore finds the same subjects.
    """
    by_subject: dict[str, list[Item]] = {}
    for clip, sequence in zip(clips, sequences, strict=True):
        by_subject.setdefault(subject_of(sequence), []).append(clip)
    queue = []
    for subject, own in by_subject.items():
        code = zlib.crc32(subject.encode())
        rng = np.random.default_rng([seed, _STREAMS.index("validation"), code])
        queue.append((rng.random(), [own[index] for index in rng.permutation(len(own))]))
    return [own for _, own in sorted(queue, key=lambda entry: entry[0])]


def by_turns(lists: Sequence[Sequence[Item]]) -> list[Item]:
    """The first item of each list, then the second of each, and so on."""
    turns = zip_longest(*([(item,) for item in own] for own in lists), fillvalue=())
    return [item for turn in turns for entry in turn for item in entry]


def choose_clips(tree: Path, data: Data, seed: int) -> Choice:
    """Whole clips in a seeded order until each split has its number of meshes. The last clip of a
    split is cut to fit.

    `validation` takes subjects of the train half that `train` then lacks. Sequences that match
    `data.unseen` are in neither `train`, `validation` nor `test`; those of the test half make
    `unseen_motion`, which may have fewer meshes than its number. Raises DataError if the tree is
    missing or too small, if too many clips are unusable, or if a sequence is in both halves.
    """
    found = {
        split: sorted((tree / "cmu" / split).glob("run*/*/*_info.mat"))
        for split in ("train", "test")
    }
    for split, paths in found.items():
        if not paths:
            raise DataError(
                f"{tree}/cmu/{split}: no *_info.mat there; run the download stage first"
            )
    if both := {p.parent.name for p in found["train"]} & {p.parent.name for p in found["test"]}:
        raise DataError(
            f"{tree}: sequence {min(both)} is in train and in test; a split is by subject"
        )
    candidates: dict[str, list[Path]] = {"train": [], "test": [], "unseen_motion": []}
    for split, paths in found.items():
        for path in paths:
            if not matches(path.parent.name, data.unseen):
                candidates[split].append(path)
            elif split == "test":
                candidates["unseen_motion"].append(path)
    wanted = wanted_meshes(data)
    train, validation = _train_and_validation(candidates["train"], data, seed)
    taken = {"train": train, "validation": validation}
    for split in ("test", "unseen_motion"):
        order = shuffled(candidates[split], split, seed)
        taken[split] = _take(order, wanted[split], data.frame_step)
    skipped = [clip for own in taken.values() for clip in own.skipped]
    for split, own in taken.items():
        if own.meshes < wanted[split] and split != "unseen_motion":
            raise DataError(
                f"{tree}: {split} has {own.meshes} of {wanted[split]} meshes{_why(skipped)}; "
                f"lower data.{split}_meshes in params.yaml, or get more from the source "
                f"(data.{data.source})"
            )
    clips = [(split, path, kept) for split, own in taken.items() for path, kept in own.clips]
    share = len(skipped) / (len(skipped) + len(clips))
    if share > data.max_skipped:
        raise DataError(
            f"{tree}: {len(skipped)} clips unusable ({share:.0%}, data.max_skipped is "
            f"{data.max_skipped:.0%}); the first: {skipped[0]}"
        )
    place = {split: number for number, split in enumerate(SPLITS)}
    return Choice(sorted(clips, key=lambda c: (place[c[0]], clip_name(c[1]))), skipped)


def _train_and_validation(paths: list[Path], data: Data, seed: int) -> tuple[_Taken, _Taken]:
    """Validation takes clips of VALIDATION_SUBJECTS subjects in turn, or of more subjects if these
    have too few meshes; train takes clips of all others. Subjects needed to fill train are skipped.

    SURREAL's own validation clips are not used, because they are test clips as well.
    """

    def take_train(without: list[list[Path]]) -> _Taken:
        lacking = {path for own in without for path in own}
        order = shuffled([path for path in paths if path not in lacking], "train", seed)
        return _take(order, data.train_meshes, data.frame_step)

    train, validation = take_train([]), _Taken([], [])
    held_out: list[list[Path]] = []
    for own in validation_queue(paths, [path.parent.name for path in paths], seed):
        enough = min(VALIDATION_SUBJECTS, len(validation.clips))
        if validation.meshes == data.validation_meshes and len(held_out) >= enough:
            break
        rest = take_train([*held_out, own])
        if rest.meshes < data.train_meshes:
            continue
        held_out.append(own)
        train = rest
        validation = _take(by_turns(held_out), data.validation_meshes, data.frame_step)
    return train, validation


def _take(order: Sequence[Path], meshes: int, step: int) -> _Taken:
    taken = _Taken([], [])
    for path in order:
        if taken.meshes == meshes:
            break
        try:
            frames = len(read_clip(path).pose)
        except UnusableClip as unusable:
            taken.skipped.append(unusable)
            continue
        taken.clips.append((path, min(-(-frames // step), meshes - taken.meshes)))
    return taken


def _why(skipped: list[UnusableClip]) -> str:
    return f" ({len(skipped)} clips unusable, the first: {skipped[0]})" if skipped else ""
