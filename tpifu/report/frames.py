"""The frames that the report shows: input, truth and both predictions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tpifu.evaluate.evaluate import MESHES_NAME
from tpifu.evaluate.shown import Shown, read_shown
from tpifu.geometry.mesh_files import read_mesh
from tpifu.geometry.nearest import Surface
from tpifu.pictures.figures import Pictured, error_tiles, shape_tiles, sheet
from tpifu.pictures.tiles import ANGLES, FAR, draw_mesh, on_white
from tpifu.pictures.webp import write_webp
from tpifu.report.page import Picture
from tpifu.shards.coding import decode_png
from tpifu.shards.folder import DataFolder
from tpifu.shards.meshes import MeshReader
from tpifu.shards.reader import Shards, require_same_meshes

FIGURE5_FRAMES = 6
"""Columns of Figure 5."""
STEPS, STEP_MS = 3, 67
"""Number of pictures of each frame in the animation; milliseconds per picture."""


@dataclass(frozen=True)
class Side:
    """One evaluated model."""

    name: str
    report: Path
    model: Path


Frames = dict[Shown, Pictured]
"""The frames of both figures, in the order of shown.json."""


def read_frames(sides: Sequence[Side], data: DataFolder) -> Frames:
    """The frames that the first side's shown.json lists. The meshes of each frame are the truth,
    then each side's prediction; None if a side predicted nothing."""
    views, bodies = Shards(data.views, "views"), MeshReader(data.meshes)
    require_same_meshes(bodies.shards, views)
    frames = {}
    for item in read_shown(sides[0].report):
        rows = views.rows(item.split, item.clip, frame=item.frame, view=item.view)
        (stored,) = views.read(rows, ["image", "yaw"])
        (body,) = bodies.read([bodies.clip(item.split, item.clip)[item.frame]])
        surface = Surface(body.mesh)
        paths = [side.report / MESHES_NAME / f"{item.stem}.glb" for side in sides]
        found = [read_mesh(path) if path.exists() else None for path in paths]
        errors = [
            None if mesh is None else surface.nearest(mesh.vertices).distance for mesh in found
        ]
        frames[item] = Pictured(
            clip=item.clip.split("/")[-1].rsplit("_c", 1)[0],
            frame=item.frame,
            pixels=decode_png(stored["image"]),
            yaw=stored["yaw"],
            window=views.metadata["window"],
            meshes=[body.mesh, *found],
            errors=[None, *errors],
        )
    return frames


def draw_figure4(
    frames: Frames, names: Sequence[str], out: Path
) -> tuple[list[Picture], list[Picture]]:
    """Figure 4 and a sheet of errors for each split. `names`: names of the meshes."""
    angles = ["input", *(f"{name}\n{angle}" for name in names for angle in ANGLES)]
    turns = ["input", *(f"{name}\n{turn}" for name in names for turn in ("front", "back"))]
    figures, errors = [], []
    for split in dict.fromkeys(item.split for item in frames):
        pictured = [
            frame for item, frame in frames.items() if (item.figure, item.split) == (4, split)
        ]
        labels = [item.label for item in pictured]
        path = out / f"figure4_{split}.png"
        sheet([shape_tiles(item) for item in pictured], angles, labels).save(path)
        caption = f"Frames of {split}: input, truth, both models from three angles"
        figures.append(Picture(path, caption, split))
        path = out / f"errors_{split}.png"
        sheet([error_tiles(item) for item in pictured], turns, labels).save(path)
        caption = f"The same frames of {split}, surfaces coloured by their distance to the truth"
        scale = f"{split}: distance to the true surface, light 0 cm, dark {100 * FAR:g} cm or more"
        errors.append(Picture(path, caption, scale))
    return figures, errors


def draw_figure5(sequence: Sequence[Pictured], names: Sequence[str], out: Path) -> Picture:
    """Figure 5: a clip over time, one column per frame."""
    angles = ["input", *(f"{name} {angle}" for name in names for angle in ANGLES)]
    spread = np.linspace(0, len(sequence) - 1, min(FIGURE5_FRAMES, len(sequence)))
    pictured = [sequence[at] for at in spread.round().astype(int)]
    columns = [shape_tiles(item) for item in pictured]
    path = out / "figure5.png"
    rows = [list(row) for row in zip(*columns, strict=True)]
    sheet(rows, [item.label for item in pictured], angles).save(path)
    return Picture(path, "A clip over time: input, truth and both models from three angles")


def draw_animation(sequence: Sequence[Pictured], names: Sequence[str], out: Path) -> None:
    """Write clip.webp: Figure 5's clip plays while the camera turns once around the bodies."""
    count = STEPS * len(sequence)

    def pictures() -> Iterator[Image.Image]:
        for number, item in enumerate(sequence):
            steps = range(STEPS * number, STEPS * (number + 1))
            yaws = [item.yaw + 360 * step / count for step in steps]
            drawn = [draw_mesh(mesh, yaws, item.window) for mesh in item.meshes]
            for tiles in zip(*drawn, strict=True):
                yield sheet([[on_white(item.pixels), *tiles]], ["input", *names], [""], left=0)

    write_webp(pictures(), count, out / "clip.webp", STEP_MS)
