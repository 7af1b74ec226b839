"""A user's own Acclaim files: SUBJECT_TAKE.amc next to SUBJECT.asf, in subfolders of any depth."""

import os
import zlib
from pathlib import Path
from typing import NoReturn

from tpifu.clips.splits import subject_of
from tpifu.config import Data
from tpifu.errors import DataError
from tpifu.sources.cmu.takes import TakeFiles
from tpifu.sources.cmu.tree import write_cmu


def write_own(out: Path, folder: Path, data: Data, *, seed: int, jobs: int) -> list[str]:
    """Write the takes of `folder` as clips to the folder `out`.

    Returns a line for each unusable take. Raises DataError if their share is above
    `data.max_skipped`.
    """
    takes, problems = find_takes(folder)
    count = len(takes) + len(problems)
    problems += write_cmu(out, takes, frame_rate=data.cmu.frame_rate, seed=seed, jobs=jobs)
    if (share := len(problems) / count) > data.max_skipped:
        raise DataError(
            f"{folder}: {len(problems)} of {count} takes unusable ({share:.0%}, data.max_skipped "
            f"is {data.max_skipped:.0%}); the first: {problems[0]}"
        )
    return problems


def find_takes(folder: Path) -> tuple[list[TakeFiles], list[str]]:
    """The takes of `folder`, and a line for each motion file without a skeleton.

    Takes in `folder`/train are training data, all others are test data. Raises DataError if there
    are no motion files or only training data, if two takes have the same name, or if a subject is
    in both splits.
    """
    files = acclaim_files(folder)
    skeletons = {(path.parent, path.stem.lower()): path for path in files if _is(path, ".asf")}
    takes: dict[str, TakeFiles] = {}
    problems = []
    for path in files:
        if not _is(path, ".amc"):
            continue
        subject = subject_of(path.stem)
        skeleton = skeletons.get((path.parent, subject.lower()))
        if skeleton is None:
            problems.append(f"{path}: there is no {subject}.asf in its folder")
            continue
        split = "train" if path.is_relative_to(folder / "train") else "test"
        codes = zlib.crc32(subject.encode()), zlib.crc32(path.stem.encode())
        take = TakeFiles(split, path.stem, skeleton, path, codes)
        if (other := takes.setdefault(path.stem, take)) is not take:
            raise DataError(f"{path}: has the same name as {other.motion}; rename one of them")
    if not takes and not problems:
        raise DataError(f"{folder}: holds no .amc files")
    train, test = (
        {subject_of(take.sequence) for take in takes.values() if take.split == split}
        for split in ("train", "test")
    )
    if both := train & test:
        raise DataError(f"{folder}: subject {min(both)} is in train and test; split by subject")
    if train and not test:
        raise DataError(f"{folder}: all takes are in train/; put the test takes outside it")
    return list(takes.values()), problems


def acclaim_files(folder: Path) -> list[Path]:
    """All .asf and .amc files below `folder`, sorted. Raises DataError for an unreadable folder."""
    files = [
        Path(place) / name
        for place, _, names in os.walk(folder, onerror=_raise, followlinks=True)
        for name in names
        if not name.startswith(".")
    ]
    return sorted(path for path in files if _is(path, ".asf") or _is(path, ".amc"))


def _is(path: Path, suffix: str) -> bool:
    return path.suffix.lower() == suffix


def _raise(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
