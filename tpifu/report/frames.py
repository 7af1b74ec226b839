"""The frames the report shows: input, truth and both predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tpifu.config import Evaluate
from tpifu.dataset.windows import Windows
from tpifu.evaluate.evaluate import MESHES_NAME
from tpifu.evaluate.shown import Shown, sequence_frames, spread_frames
from tpifu.geometry.mesh_files import read_mesh
from tpifu.geometry.nearest import Surface
from tpifu.pictures.figures import Pictured, error_tiles, shape_tiles, sheet
from tpifu.pictures.tiles import ANGLES, FAR
from tpifu.report.page import Picture, Player, Track
from tpifu.shards.meshes import MeshReader
from tpifu.shards.reader import splits_of
from tpifu.shards.schema import HELD_OUT

FIGURE5_FRAMES = 6


@dataclass(frozen=True)
class Side:
    """One evaluated model."""

    name: str
    report: Path
    model: Path


class Frames:
    """Frames of the held-out splits with what belongs to them, each gathered once."""

    def __init__(
        self, sides: Sequence[Side], reader: MeshReader, views: Path, points: Path
    ) -> None:
        self.sides, self._reader = sides, reader
        self.windows = {
            split: Windows(views, points, split, neighborhood=1) for split in splits_of(points)
        }
        self._known: dict[Shown, Pictured] = {}

    def __getitem__(self, item: Shown) -> Pictured:
        if item not in self._known:
            self._known[item] = self._gather(item)
        return self._known[item]

    def _gather(self, item: Shown) -> Pictured:
        windows = self.windows[item.split]
        clip = next(number for number, (name, _) in enumerate(windows.clips) if name == item.clip)
        images, calib = windows.pixels(clip, item.view, np.array([item.frame]))
        row = self._reader.clip(item.split, item.clip)[item.frame]
        truth = self._reader.read([row])[0].mesh
        surface = Surface(truth)
        paths = [side.report / MESHES_NAME / f"{item.stem}.glb" for side in self.sides]
        found = [read_mesh(path) if path.exists() else None for path in paths]
        errors = [
            None if mesh is None else surface.nearest(mesh.vertices).distance for mesh in found
        ]
        return Pictured(
            label=f"{item.clip.split('/')[-1].rsplit('_c', 1)[0]}\nframe {item.frame}",
            pixels=images[0],
            yaw=float(np.degrees(np.arctan2(calib[0, 2], calib[0, 0]))),
            window=windows.views.metadata["window"],
            meshes=[truth, *found],
            errors=[None, *errors],
        )


@dataclass(frozen=True)
class _Drawn:
    figure4: list[Picture]
    figure5: list[Picture]
    errors: list[Picture]
    sequence: list[Shown]
    items: dict[Shown, None]
    """All frames that are shown, each once."""


def draw_frames(frames: Frames, config: Evaluate, out: Path) -> _Drawn:
    """Figures 4 and 5, and sheets of errors."""
    who = ["ground truth", *(side.name for side in frames.sides)]
    angles = ["input", *(f"{name}\n{angle}" for name in who for angle in ANGLES)]
    turns = ["input", *(f"{name}\n{turn}" for name in who for turn in ("front", "back"))]
    drawn = _Drawn([], [], [], [], {})
    for split, windows in frames.windows.items():
        items = spread_frames(windows, split, config.frames)
        pictured = [frames[item] for item in items]
        labels = [item.label for item in pictured]
        path = out / f"figure4_{split}.png"
        sheet([shape_tiles(item) for item in pictured], angles, labels, path)
        drawn.figure4.append(
            Picture(path, f"Frames of {split}: input, truth, both models from three angles", split)
        )
        path = out / f"errors_{split}.png"
        sheet([error_tiles(item) for item in pictured], turns, labels, path)
        drawn.errors.append(
            Picture(
                path,
                f"The same frames of {split}, surfaces coloured by their distance to the truth",
                f"{split}: distance to the true surface, light 0 cm, dark {100 * FAR:g} cm "
                "and more",
            )
        )
        drawn.items.update(dict.fromkeys(items))
        if split == HELD_OUT[0]:
            drawn.sequence.extend(sequence_frames(windows, split, config.sequence))
            drawn.items.update(dict.fromkeys(drawn.sequence))
    if drawn.sequence:
        spread = np.linspace(0, len(drawn.sequence) - 1, min(FIGURE5_FRAMES, len(drawn.sequence)))
        pictured = [frames[drawn.sequence[at]] for at in spread.round().astype(int)]
        columns = [shape_tiles(item) for item in pictured]
        path = out / "figure5.png"
        sheet(
            [list(row) for row in zip(*columns, strict=True)],
            [item.label for item in pictured],
            [text.replace("\n", " ") for text in angles],
            path,
        )
        drawn.figure5.append(
            Picture(path, "A clip over time: input, truth and both models from three angles")
        )
    return drawn


def player(frames: Frames, sequence: Sequence[Shown]) -> Player:
    pictured = [frames[item] for item in sequence]
    names = ["ground truth", *(side.name for side in frames.sides)]
    return Player(
        title=pictured[0].label.split("\n")[0],
        labels=[item.label.split("\n")[1] for item in pictured],
        inputs=[item.pixels for item in pictured],
        tracks=[
            Track(
                name=name,
                meshes=[item.meshes[number] for item in pictured],
                errors=[item.errors[number] for item in pictured] if number else None,
            )
            for number, name in enumerate(names)
        ],
        yaw=pictured[0].yaw,
        half=pictured[0].window / 2,
    )
