"""Frames reconstructed for the figures: evaluation chooses them, the report reads them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tpifu.dataset.windows import Windows
from tpifu.evaluate.measure import measured_view
from tpifu.files import write_json

SHOWN_NAME = "shown.json"


@dataclass(frozen=True)
class Shown:
    """A frame whose reconstruction is stored and drawn."""

    figure: Literal[4, 5]
    split: str
    clip: str
    frame: int
    view: int

    @property
    def stem(self) -> str:
        """File name of its mesh, without suffix; the same in both figures."""
        return f"{self.clip.replace('/', '_')}_f{self.frame:03d}_v{self.view}"


def spread_frames(windows: Windows, split: str, count: int) -> list[Shown]:
    """Figure 4: the middle frames of `count` clips spread evenly over a split, each in its clip's
    measured view."""
    clips = np.linspace(0, len(windows.clips) - 1, min(count, len(windows.clips)))
    shown = []
    for clip in clips.round().astype(int).tolist():
        name, rows = windows.clips[clip]
        shown.append(Shown(4, split, name, len(rows) // 2, measured_view(windows, clip)))
    return shown


def sequence_frames(windows: Windows, split: str, length: int) -> list[Shown]:
    """Figure 5: up to `length` consecutive frames from the middle of the middle clip."""
    clip = len(windows.clips) // 2
    name, rows = windows.clips[clip]
    start = max(0, (len(rows) - length) // 2)
    view = measured_view(windows, clip)
    return [Shown(5, split, name, t, view) for t in range(start, min(len(rows), start + length))]


def write_shown(folder: Path, shown: Sequence[Shown]) -> None:
    """Write the list next to the evaluation's other results."""
    write_json(folder / SHOWN_NAME, {"frames": [asdict(item) for item in shown]})


def read_shown(folder: Path) -> list[Shown]:
    """The frames that an evaluation stored in `folder`."""
    return [Shown(**item) for item in json.loads((folder / SHOWN_NAME).read_text())["frames"]]
