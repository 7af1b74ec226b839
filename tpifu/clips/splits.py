"""Seeded choice of clips for each split. Train and test share no sequence; train and validation
share no subject."""

import fnmatch
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
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
"""Number of validation subjects. Fifty meshes are about four clips; if all showed one subject, they
would favour a network that fits only that person."""
_STREAMS = ("train", "test", "unseen_motion", "validation")
"""A split's index is part of the seed for its draw."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Choice:
    """The clips of all splits."""

    clips: list[tuple[str, Path, int]]
    """(split, file, number of kept frames), sorted by split and name."""
    skipped: list[UnusableClip]


@dataclass
class _Selection:
    """The clips of one split, each with its number of kept frames, and the skipped clips."""

    clips: list[tuple[Path, int]] = field(default_factory=list)
    skipped: list[UnusableClip] = field(default_factory=list)
    meshes: int = 0


def matches(sequence: str, patterns: Sequence[str]) -> bool:
    """Whether a sequence's name matches any of the shell patterns."""
    return any(fnmatch.fnmatchcase(sequence, pattern) for pattern in patterns)


def subject_of(sequence: str) -> str:
    """The subject of a sequence: `01` for `01_01` and `01_walk`, `104` for `ung_104_46`.

    SURREAL prefixes some CMU takes with `ung_`.
    """
    return sequence.removeprefix("ung_").partition("_")[0]


def mesh_counts(data: Data) -> dict[str, int]:
    """The configured number of meshes for each split."""
    return {
        "train": data.train_meshes,
        "validation": data.validation_meshes,
        "test": data.test_meshes,
        "unseen_motion": data.unseen_meshes,
    }


def shuffled(clips: Sequence[Item], split: str, seed: int) -> list[Item]:
    """The clips in the order in which `split` takes them, which is independent of other splits."""
    rng = np.random.default_rng([seed, _STREAMS.index(split)])
    return [clips[index] for index in rng.permutation(len(clips))]


def validation_queue(
    clips: Sequence[Item], sequences: Sequence[str], seed: int
) -> list[list[Item]]:
    """The clips of each subject, with subjects and clips in seeded order. The validation split
    takes subjects from the front.

    A subject's position depends only on its name and the seed. The download, which lists more clips
    than the tree contains, therefore picks the same subjects.
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


def interleave(lists: Sequence[Sequence[Item]]) -> list[Item]:
    """The first item of each list, then the second item of each, and so on."""
    rounds = zip_longest(*([(item,) for item in own] for own in lists), fillvalue=())
    return [item for entries in rounds for entry in entries for item in entry]


def choose_clips(tree: Path, data: Data, seed: int) -> Choice:
    """Draw whole clips until each split has its number of meshes; its last clip is truncated.

    `validation` takes subjects from the train half, and `train` leaves them out. Sequences that
    match `data.unseen` are left out, except that those in the test half form `unseen_motion`, which
    may have fewer meshes than configured. Raises DataError if the tree is missing or too small, if
    too many clips are unusable, if two clips have the same name, or if a sequence is in both
    halves.
    """
    found = {
        split: sorted((tree / "cmu" / split).glob("run*/*/*_info.mat"))
        for split in ("train", "test")
    }
    needed = {"train": data.train_meshes + data.validation_meshes, "test": data.test_meshes}
    for half, paths in found.items():
        if needed[half] and not paths:
            advice = "run the download stage first, or add clips"
            if half == "train" and found["test"]:
                advice = "for test clips alone, set data.train_meshes and validation_meshes to 0"
            raise DataError(f"{tree}/cmu/{half}: no run*/SEQUENCE/*_info.mat; {advice}")
        names: dict[str, Path] = {}
        for path in paths:
            if (other := names.setdefault(clip_name(path), path)) != path:
                raise DataError(f"{path}: has the same name as {other}; rename one of the clips")
    if both := {p.parent.name for p in found["train"]} & {p.parent.name for p in found["test"]}:
        raise DataError(f"{tree}: sequence {min(both)} is in train and test; split by subject")

    def part(half: str, *, unseen: bool) -> list[Path]:
        return [path for path in found[half] if matches(path.parent.name, data.unseen) == unseen]

    train, validation = _train_and_validation(part("train", unseen=False), data, seed)
    counts = mesh_counts(data)
    selections = {"train": train, "validation": validation}
    for split in ("test", "unseen_motion"):
        paths = part("test", unseen=split == "unseen_motion")
        selections[split] = _select(shuffled(paths, split, seed), counts[split], data.frame_step)
    skipped = [clip for selection in selections.values() for clip in selection.skipped]
    for split, selection in selections.items():
        if selection.meshes < counts[split] and split != "unseen_motion":
            why = f" ({len(skipped)} clips unusable, the first: {skipped[0]})" if skipped else ""
            raise DataError(
                f"{tree}: {split} has {selection.meshes} of {counts[split]} meshes{why}; lower "
                f"data.{split}_meshes, or get more clips (docs/data.md)"
            )
    clips = [
        (split, path, kept)
        for split, selection in selections.items()
        for path, kept in selection.clips
    ]
    share = len(skipped) / (len(skipped) + len(clips))
    if share > data.max_skipped:
        raise DataError(
            f"{tree}: {len(skipped)} clips unusable ({share:.0%}, data.max_skipped is "
            f"{data.max_skipped:.0%}); the first: {skipped[0]}"
        )
    return Choice(sorted(clips, key=lambda c: (SPLITS.index(c[0]), clip_name(c[1]))), skipped)


def _train_and_validation(
    paths: list[Path], data: Data, seed: int
) -> tuple[_Selection, _Selection]:
    """Validation takes clips of VALIDATION_SUBJECTS subjects in turn, or of more subjects if these
    have too few meshes; train takes clips of the others. Validation skips subjects that train
    needs.

    SURREAL's validation clips are not used, because they are also test clips.
    """

    def select_train(held_out: list[list[Path]]) -> _Selection:
        excluded = {path for own in held_out for path in own}
        order = shuffled([path for path in paths if path not in excluded], "train", seed)
        return _select(order, data.train_meshes, data.frame_step)

    train, validation = select_train([]), _Selection()
    held_out: list[list[Path]] = []
    for own in validation_queue(paths, [path.parent.name for path in paths], seed):
        enough = min(VALIDATION_SUBJECTS, len(validation.clips))
        if validation.meshes == data.validation_meshes and len(held_out) >= enough:
            break
        rest = select_train([*held_out, own])
        if rest.meshes < data.train_meshes:
            continue
        held_out.append(own)
        train = rest
        validation = _select(interleave(held_out), data.validation_meshes, data.frame_step)
    return train, validation


def _select(order: Sequence[Path], meshes: int, step: int) -> _Selection:
    """Take clips in order, every `step`-th frame, until there are `meshes` meshes."""
    selection = _Selection()
    for path in order:
        if selection.meshes == meshes:
            break
        try:
            frames = len(read_clip(path).pose)
        except UnusableClip as unusable:
            selection.skipped.append(unusable)
            continue
        kept = min(-(-frames // step), meshes - selection.meshes)
        selection.clips.append((path, kept))
        selection.meshes += kept
    return selection
