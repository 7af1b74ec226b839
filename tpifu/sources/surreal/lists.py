"""Read lists of SURREAL's clips and choose clips from them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tpifu.clips.clip import clip_path
from tpifu.clips.splits import matches
from tpifu.config import Surreal
from tpifu.errors import DataError

# Frames between the starts of consecutive clips, from SURREAL's data generation code. Its README
# swaps run1 and run2.
_STRIDES = {"run0": 50, "run1": 30, "run2": 70}
CLIP_FRAMES = 100
_CLIP = re.compile(
    r"cmu/(?P<split>train|test)/(?P<run>run[012])/(?P<sequence>[\w-]+)/"
    r"(?P=sequence)_c(?P<number>[0-9]{4})_info\.mat"
)


@dataclass(frozen=True, order=True)
class ListedClip:
    """One clip of SURREAL."""

    split: str
    run: str
    sequence: str
    number: int

    @property
    def path(self) -> Path:
        """Path in the tree, and below SURREAL/data on the server."""
        return clip_path(Path(), self.split, self.run, self.sequence, self.number)


def read_list(path: Path) -> list[ListedClip]:
    """Read a list of clips, sorted.

    The file has one path or URL of an *_info.mat per line, as SURREAL's lists do. Raises DataError,
    with the line number if a line is anything else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable list of clips ({error})") from error
    named = ((f"{path}: line {number}", line) for number, line in enumerate(lines, 1))
    if clips := _clips(named):
        return clips
    raise DataError(f"{path}: lists no clips")


def list_folder(folder: Path) -> list[ListedClip]:
    """The clips of a folder, sorted. Raises DataError if there are none or if a path is not
    SURREAL's."""
    paths = sorted(folder.glob("cmu/*/*/*/*_info.mat"))
    if clips := _clips((str(folder), path.relative_to(folder).as_posix()) for path in paths):
        return clips
    raise DataError(f"{folder}: holds no cmu/{{train,test}}/run*/SEQUENCE/*_info.mat")


def _clips(lines: Iterable[tuple[str, str]]) -> list[ListedClip]:
    """The clips of (location, line) pairs, sorted. Errors name the location."""
    clips = set()
    for where, line in lines:
        if not line.strip() or line.startswith("#") or "cmu/val/" in line or "h36m" in line:
            continue  # validation clips repeat test clips; Human3.6M clips were never released
        match = _CLIP.search(line)
        if match is None:
            raise DataError(
                f"{where}: {line.strip()[:80]!r} is not a path "
                "cmu/SPLIT/RUN/SEQUENCE/SEQUENCE_c0001_info.mat"
            )
        clips.add(ListedClip(match["split"], match["run"], match["sequence"], int(match["number"])))
    return sorted(clips)


def wanted_clips(listed: Sequence[ListedClip], config: Surreal) -> list[ListedClip]:
    """Clips of the configured runs, without excluded subjects. No two clips of a run share frames
    unless `overlapping` is set."""
    chosen = []
    for clip in listed:
        step = -(-CLIP_FRAMES // _STRIDES[clip.run])
        if (
            clip.run in config.runs
            and not matches(clip.sequence, config.exclude)
            and (config.overlapping or (clip.number - 1) % step == 0)
        ):
            chosen.append(clip)
    return chosen
