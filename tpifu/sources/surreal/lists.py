"""Lists of SURREAL's clips: the authors', or one's own."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tpifu.clips.clip import clip_path
from tpifu.clips.splits import matches
from tpifu.config import Surreal
from tpifu.errors import DataError

# Clips of 100 frames start every so many frames (SURREAL's data generation; its README has the two
# last the wrong way round).
_STRIDES = {"run0": 50, "run1": 30, "run2": 70}
CLIP_FRAMES = 100
_CLIP = re.compile(
    r"cmu/(?P<split>train|test)/(?P<run>run[012])/(?P<sequence>[\w-]+)/"
    r"(?P=sequence)_c(?P<number>[0-9]{4})_info\.mat"
)


@dataclass(frozen=True, order=True)
class ListedClip:
    """A clip that SURREAL has."""

    split: str
    run: str
    sequence: str
    number: int

    @property
    def path(self) -> Path:
        """In the tree, and on the server below SURREAL/data."""
        return clip_path(Path(), self.split, self.run, self.sequence, self.number)


def read_list(path: Path) -> list[ListedClip]:
    """Clips of a list: SURREAL's own (a path or URL of an *_info.mat a line), or a CSV file with
    columns split, sequence, frames, where frames is the length of the motion at SURREAL's rate.

    Raises DataError, naming the line, for anything else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable list of clips ({error})") from error
    if lines and {"split", "sequence", "frames"} <= set(lines[0].replace(" ", "").split(",")):
        return sorted(_computed(path, lines))
    clips = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#") or "cmu/val/" in line or "h36m" in line:
            continue  # the validation clips are test clips too; Human3.6M's were never released
        match = _CLIP.search(line)
        if match is None:
            raise DataError(
                f"{path}: line {number}: {line.strip()[:80]!r} names no cmu/SPLIT/RUN/SEQUENCE/"
                "SEQUENCE_c0001_info.mat"
            )
        clips.add(ListedClip(match["split"], match["run"], match["sequence"], int(match["number"])))
    return sorted(clips)


def _computed(path: Path, lines: list[str]) -> list[ListedClip]:
    clips = []
    for number, row in enumerate(csv.DictReader(lines, skipinitialspace=True), 2):
        try:
            split, sequence, frames = row["split"], row["sequence"], int(row["frames"])
            if split not in ("train", "test") or not re.fullmatch(r"[\w-]+", sequence):
                raise ValueError("a split is train or test, a sequence like 01_01")
            clips += [
                ListedClip(split, run, sequence, clip)
                for run in _STRIDES
                for clip in range(1, clip_count(frames, run) + 1)
            ]
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    return clips


def clip_count(frames: int, run: str) -> int:
    """Clips that SURREAL has of a sequence of `frames` frames; the last one may be shorter."""
    stride = _STRIDES[run]
    return max(1, -(-(frames - (CLIP_FRAMES - stride)) // stride))


def wanted_clips(listed: Sequence[ListedClip], config: Surreal) -> list[ListedClip]:
    """Those of the chosen runs, without excluded subjects, and without frames that two clips share
    unless `overlapping`."""
    chosen = []
    for clip in listed:
        apart = -(-CLIP_FRAMES // _STRIDES[clip.run])
        if (
            clip.run in config.runs
            and not matches(clip.sequence, config.exclude)
            and (config.overlapping or (clip.number - 1) % apart == 0)
        ):
            chosen.append(clip)
    return chosen
