"""The frames the report shows: input, truth and both predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tpifu.evaluate.evaluate import MESHES_NAME
from tpifu.evaluate.shown import Shown, read_shown
from tpifu.geometry.mesh_files import read_mesh
from tpifu.geometry.nearest import Surface
from tpifu.pictures.figures import Pictured, error_tiles, shape_tiles, sheet
from tpifu.pictures.tiles import ANGLES, FAR
from tpifu.report.page import Picture, Player, Track
from tpifu.shards.coding import decode_png
from tpifu.shards.folder import DataFolder
from tpifu.shards.meshes import MeshReader
from tpifu.shards.reader import Shards
from tpifu.shards.schema import HELD_OUT

FIGURE5_FRAMES = 6
"""Columns of Figure 5."""


@dataclass(frozen=True)
class Side:
    """One evaluated model."""

    name: str
    report: Path
    model: Path


class Frames:
    """Frames with everything that is drawn of them, each loaded once."""

    def __init__(self, sides: Sequence[Side], reader: MeshReader, data: DataFolder) -> None:
        self.sides, self.reader = sides, reader
        self.shown = read_shown(sides[0].report)
        self._views = Shards(data.views, "views")
        self._known: dict[Shown, Pictured] = {}

    def of(self, figure: int, split: str) -> list[Pictured]:
        """The frames of one figure and split."""
        return [self[item] for item in self.shown if (item.figure, item.split) == (figure, split)]

    def __getitem__(self, item: Shown) -> Pictured:
        if item not in self._known:
            self._known[item] = self._load(item)
        return self._known[item]

    def _load(self, item: Shown) -> Pictured:
        (row,) = self._views.rows(item.split, item.clip, frame=item.frame, view=item.view)
        (stored,) = self._views.read([row], ["image", "yaw"])
        row = self.reader.clip(item.split, item.clip)[item.frame]
        truth = self.reader.read([row])[0].mesh
        surface = Surface(truth)
        paths = [side.report / MESHES_NAME / f"{item.stem}.glb" for side in self.sides]
        found = [read_mesh(path) if path.exists() else None for path in paths]
        errors = [
            None if mesh is None else surface.nearest(mesh.vertices).distance for mesh in found
        ]
        return Pictured(
            label=f"{item.clip.split('/')[-1].rsplit('_c', 1)[0]}\nframe {item.frame}",
            pixels=decode_png(stored["image"]),
            yaw=stored["yaw"],
            window=self._views.metadata["window"],
            meshes=[truth, *found],
            errors=[None, *errors],
        )


def draw_figure4(frames: Frames, out: Path) -> tuple[list[Picture], list[Picture]]:
    """Figure 4 and a sheet of errors for each split."""
    names = ["ground truth", *(side.name for side in frames.sides)]
    angles = ["input", *(f"{name}\n{angle}" for name in names for angle in ANGLES)]
    turns = ["input", *(f"{name}\n{turn}" for name in names for turn in ("front", "back"))]
    figures, errors = [], []
    for split in dict.fromkeys(item.split for item in frames.shown):
        pictured = frames.of(4, split)
        labels = [item.label for item in pictured]
        path = out / f"figure4_{split}.png"
        sheet([shape_tiles(item) for item in pictured], angles, labels, path)
        caption = f"Frames of {split}: input, truth, both models from three angles"
        figures.append(Picture(path, caption, split))
        path = out / f"errors_{split}.png"
        sheet([error_tiles(item) for item in pictured], turns, labels, path)
        caption = f"The same frames of {split}, surfaces coloured by their distance to the truth"
        scale = f"{split}: distance to the true surface, light 0 cm, dark {100 * FAR:g} cm or more"
        errors.append(Picture(path, caption, scale))
    return figures, errors


def draw_figure5(frames: Frames, out: Path) -> list[Picture]:
    """Figure 5: a clip over time, one column per frame. Empty if no sequence was evaluated."""
    sequence = frames.of(5, HELD_OUT[0])
    if not sequence:
        return []
    names = ["ground truth", *(side.name for side in frames.sides)]
    angles = ["input", *(f"{name} {angle}" for name in names for angle in ANGLES)]
    spread = np.linspace(0, len(sequence) - 1, min(FIGURE5_FRAMES, len(sequence)))
    pictured = [sequence[at] for at in spread.round().astype(int)]
    columns = [shape_tiles(item) for item in pictured]
    path = out / "figure5.png"
    rows = [list(row) for row in zip(*columns, strict=True)]
    sheet(rows, [item.label for item in pictured], angles, path)
    return [Picture(path, "A clip over time: input, truth and both models from three angles")]


def player(frames: Frames) -> Player:
    """The frames of Figure 5 for the page's 3D player."""
    pictured = frames.of(5, HELD_OUT[0])
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
