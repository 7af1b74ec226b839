"""The CMU motion capture takes in use, their splits, and their download."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from tpifu.sources.download.fetch import Remote, fetch

ACKNOWLEDGEMENT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
"""The acknowledgement that CMU asks for wherever results are shown."""


class TakeFiles(NamedTuple):
    """A take on disk."""

    split: str
    sequence: str
    skeleton: Path
    motion: Path
    codes: tuple[int, int]
    """Numbers of the subject and the take, for the seeds of the body and the headings."""


class Take(NamedTuple):
    split: Literal["train", "test"]
    subject: int
    trial: int
    motion: str
    """Description in CMU's index."""

    @property
    def sequence(self) -> str:
        return f"{self.subject:02d}_{self.trial:02d}"

    @property
    def skeleton_file(self) -> str:
        return f"{self.subject:02d}/{self.subject:02d}.asf"

    @property
    def motion_file(self) -> str:
        return f"{self.subject:02d}/{self.sequence}.amc"

    def files(self, folder: Path) -> TakeFiles:
        """The take in a folder with CMU's layout."""
        skeleton, motion = folder / self.skeleton_file, folder / self.motion_file
        return TakeFiles(self.split, self.sequence, skeleton, motion, (self.subject, self.trial))


TAKES = (
    Take("train", 2, 1, "walk"),
    Take("train", 2, 3, "run/jog"),
    Take("train", 2, 4, "jump, balance"),
    Take("train", 5, 2, "dance - expressive arms, pirouette"),
    Take("train", 5, 6, "dance - cartwheel-like start, pirouettes, jete"),
    Take("train", 5, 17, "dance - coupe dessous, grand jete en tourant"),
    Take("train", 7, 1, "walk"),
    Take("train", 7, 12, "brisk walk"),
    Take("train", 9, 1, "run"),
    Take("train", 9, 12, "navigate - walk forward, backward, sideways"),
    Take("train", 13, 11, "forward jump"),
    Take("train", 13, 29, "jumping jacks, side twists, bend over, squats"),
    Take("train", 14, 6, "jumping jacks, jog, squats, side twists, stretches"),
    Take("train", 16, 1, "jump"),
    Take("train", 16, 8, "run/jog, sudden stop"),
    Take("train", 16, 11, "walk, veer left"),
    Take("train", 16, 35, "run/jog"),
    Take("train", 49, 2, "jump up and down, hop on one foot"),
    Take("train", 49, 4, "run, leap"),
    Take("train", 49, 6, "cartwheel"),
    Take("train", 49, 10, "dance - fold in from side arabesque, curl inwards"),
    Take("train", 118, 1, "jump"),
    Take("test", 8, 1, "walk"),
    Take("test", 8, 7, "walk, exaggerated stride"),
    Take("test", 10, 1, "soccer - kick ball"),
    Take("test", 35, 1, "walk"),
    Take("test", 35, 17, "run/jog"),
    Take("test", 141, 6, "jump twist"),
    Take("test", 141, 12, "dance, twist"),
    Take("test", 144, 1, "cartwheels"),
    Take("test", 144, 5, "front kicking"),
    Take("test", 144, 11, "left lunges"),
)
"""A short list, because CMU asks users not to crawl its site. Split by subject, like SURREAL.
Subject 89 is left out: its takes run at 60 frames per second, but the files do not say so."""

CMU_FRAME_RATE = 120
"""Frames per second of all TAKES."""
CMU_URL = "http://mocap.cs.cmu.edu"
CMU_ACCESS = "CMU should need no login: try again later, or set data.source to synthetic"


def urls(base: str = CMU_URL) -> dict[str, str]:
    """URL of every file of TAKES, by its path in CMU's layout."""
    files = {file for take in TAKES for file in (take.skeleton_file, take.motion_file)}
    return {file: f"{base}/subjects/{file}" for file in sorted(files)}


def fetch_cmu(cache: Path, environment: Mapping[str, str]) -> tuple[list[TakeFiles], list[str]]:
    """Download the takes to `cache`. Returns the takes that have a motion file, and a line for each
    file that is not available."""
    files = urls(environment.get("CMU_URL", CMU_URL))
    reasons = fetch(
        [Remote(url=url, path=cache / name) for name, url in files.items()],
        credentials=None,
        check=lambda part: None,  # `write_cmu` reports damaged files
        access=CMU_ACCESS,
        connections=2,  # CMU asks users not to crawl
        label="CMU takes",
    )
    takes = [take.files(cache) for take in TAKES]
    return [take for take in takes if take.motion.exists()], list(reasons.values())
