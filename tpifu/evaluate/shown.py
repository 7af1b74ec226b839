"""Which frames are reconstructed and shown: spread over the clips, and a sequence."""

from dataclasses import dataclass

import numpy as np

from tpifu.dataset.windows import Windows
from tpifu.evaluate.measure import measured_view


@dataclass(frozen=True)
class Shown:
    """A frame whose reconstruction is kept and pictured."""

    split: str
    clip: str
    frame: int
    view: int

    @property
    def stem(self) -> str:
        return f"{self.clip.replace('/', '_')}_f{self.frame:03d}_v{self.view}"


def spread_frames(windows: Windows, split: str, count: int) -> list[Shown]:
    """`count` frames spread evenly over the clips, in the views that are measured (Figure 4). They
    depend on the data alone."""
    clips = np.linspace(0, len(windows.clips) - 1, min(count, len(windows.clips)))
    shown = []
    for clip in clips.round().astype(int).tolist():
        name, rows = windows.clips[clip]
        shown.append(Shown(split, name, len(rows) // 2, measured_view(windows, clip)))
    return shown


def sequence_frames(windows: Windows, split: str, length: int) -> list[Shown]:
    """Up to `length` consecutive frames from the middle of the middle clip (Figure 5)."""
    clip = len(windows.clips) // 2
    name, rows = windows.clips[clip]
    start = max(0, (len(rows) - length) // 2)
    view = measured_view(windows, clip)
    return [Shown(split, name, t, view) for t in range(start, min(len(rows), start + length))]
