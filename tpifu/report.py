"""Two evaluated models side by side: Table 2, Figures 4 and 5, tables, plots, and the page that
shows them all.

What it writes: `comparison/` (pictures), `tables/` (Table 2 as text, every number as CSV), `truth/`
(the true meshes of the frames that are shown), `index.html` (all of it in one file, with a player
of a clip in 3D).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float
from ruamel.yaml import YAML

from tpifu import figures, tables
from tpifu.config import Evaluate
from tpifu.dataset import Windows
from tpifu.evaluate import (
    BY_PART,
    HEADLINE,
    MEASURES,
    MESHES_NAME,
    PER_MESH_NAME,
    POINTS,
    SHARES,
    SURFACE,
    TIME,
    Shown,
    flat,
    sequence_frames,
    splits_of,
    spread_frames,
)
from tpifu.figures import ANGLES, Pictured
from tpifu.page import FAR, Picture, Player, Section, Table, Track, write_page
from tpifu.reconstruct import read_mesh, save_mesh
from tpifu.shards import HELD_OUT, MeshReader
from tpifu.surface import PARTS, Surface
from tpifu.tables import Paired
from tpifu.train import LOSS_NAME, SETTINGS_NAME, VALIDATION_NAME

TABLE_NAME = "table2.md"
PAGE_NAME = "index.html"
FIGURE5_FRAMES = 6


@dataclass(frozen=True)
class Side:
    """One evaluated model."""

    name: str
    report: Path
    model: Path


def compare(
    sides: Sequence[Side],
    meshes: Path,
    views: Path,
    points: Path,
    out: Path,
    config: Evaluate,
    *,
    seed: int,
    profile: str,
) -> dict[str, Any]:
    """Write comparison/, tables/, truth/ and index.html to `out`; returns the differences.

    A difference is second minus first side, per mesh, with a 95 % bootstrap interval that resamples
    whole clips.
    """
    pictures, numbers = out / "comparison", out / "tables"
    for folder in (pictures, numbers):
        folder.mkdir(parents=True, exist_ok=True)
    names = [side.name for side in sides]
    rows = tables.by_mesh(*(pq.read_table(s.report / PER_MESH_NAME).to_pylist() for s in sides))
    found = {
        split: tables.paired(*tables.of_split(rows, split), MEASURES, seed)
        for split in dict.fromkeys(row["split"] for row in rows[0])
    }
    motions = tables.by_motion(*rows, (*HEADLINE, *SHARES), seed)
    reader = MeshReader(meshes)
    provenance = reader.shards.metadata["provenance"]
    (numbers / TABLE_NAME).write_text(tables.table2(names, found, profile, seed, provenance))
    for name, table in (
        ("measures", tables.long_rows("split", found)),
        ("motions", tables.long_rows("motion", motions)),
        ("confusion", tables.confusion_rows(names, motions)),
        ("parts", tables.part_rows(names, next(iter(found.values())))),
    ):
        (numbers / f"{name}.csv").write_text(tables.csv_text(table))

    frames = _Frames(sides, reader, views, points)
    shown = _draw_frames(frames, config, pictures)
    for item in shown.items:
        save_mesh(frames[item].truth, out / "truth" / f"{item.stem}.glb")
    curves = _draw_training(sides, pictures)
    main_split, main = next(iter(found.items()))
    bars = _draw_parts(names, main, pictures)
    moving = bool(shown.sequence)

    lead = (
        f"PIFu on single frames ({names[0]}) and on neighbouring frames ({names[1]}): the same "
        f"data, order, steps and settings. Profile {profile}, seed {seed}, "
        f"{max(one.meshes for one in main.values())} {main_split} meshes."
    )
    sections = [
        Section("Table 2", [_table2(names, main), *tables.notes(profile, provenance)]),
        *([Section("A clip in motion", [_player(frames, shown.sequence)])] if moving else []),
        Section("Figure 4: single frames", shown.figure4),
        *([Section("Figure 5: a clip over time", shown.figure5)] if moving else []),
        Section(
            "Shape",
            [
                f"Surfaces are compared at {config.surface_points} points on each, without "
                f"alignment, on reconstructions of {config.resolution} cells a side, drawn with "
                f"seed {seed}.",
                _paired_table(names, main, ("volumetric_iou", *SURFACE)),
                *shown.errors,
            ],
        ),
        Section(
            "Motion",
            [
                "What changes from frame to frame beyond what the true body does; all are 0 for "
                "the truth. A frame is every fifth of the source, where that is SURREAL.",
                _paired_table(names, main, TIME),
            ],
        ),
        *([Section("Body parts", [*bars, _paired_table(names, main, BY_PART)])] if bars else []),
        Section("By motion", [_motion_table(names, motions)]),
        *(
            Section(f"Split {split}", [_paired_table(names, other, HEADLINE)])
            for split, other in found.items()
            if split != main_split
        ),
        Section("Training", [*curves, _table1(sides)]),
    ]
    write_page(
        out / PAGE_NAME,
        "Temporal PIFu: pixel-aligned occupancy of bodies in motion",
        lead,
        sections,
    )
    return tables.differences(found)


class _Frames:
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


def _draw_frames(frames: _Frames, config: Evaluate, out: Path) -> _Drawn:
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
        figures.sheet([figures.shape_tiles(item) for item in pictured], angles, labels, path)
        drawn.figure4.append(
            Picture(path, f"Frames of {split}: input, truth, both models from three angles", split)
        )
        path = out / f"errors_{split}.png"
        figures.sheet([figures.error_tiles(item) for item in pictured], turns, labels, path)
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
        columns = [figures.shape_tiles(item) for item in pictured]
        path = out / "figure5.png"
        figures.sheet(
            [list(row) for row in zip(*columns, strict=True)],
            [item.label for item in pictured],
            [text.replace("\n", " ") for text in angles],
            path,
        )
        drawn.figure5.append(
            Picture(path, "A clip over time: input, truth and both models from three angles")
        )
    return drawn


def _player(frames: _Frames, sequence: Sequence[Shown]) -> Player:
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


def _table2(names: Sequence[str], found: dict[str, Paired]) -> Table:
    """The measures that the paper prints beside ours."""
    rows = []
    for measure in (*POINTS, "volumetric_iou"):
        if measure in found:
            printed = tables.PAPER.get(measure)
            paper = [f"{value:.4f}" for value in printed] if printed else ["", ""]
            rows.append([tables.words(measure), *found[measure].cells(), *paper])
    head = ["", *names, "difference [95 %]", *(f"paper, {name}" for name in names)]
    return Table(head, rows)


def _paired_table(names: Sequence[str], found: dict[str, Paired], measures: Sequence[str]) -> Table:
    rows = [
        [tables.words(measure), *found[measure].cells(), str(found[measure].meshes)]
        for measure in measures
        if measure in found
    ]
    return Table(["", *names, "difference [95 %]", "meshes"], rows)


def _motion_table(names: Sequence[str], motions: dict[str, dict[str, Paired]]) -> Table:
    measures = ("iou", "volumetric_iou", "chamfer_cm", "flicker")
    head = ["motion", "meshes"]
    head += [f"{tables.words(measure)}, {name}" for measure in measures for name in names]
    rows = []
    for motion, found in motions.items():
        row = [motion, str(max(one.meshes for one in found.values()))]
        for measure in measures:
            row += found[measure].cells()[:2] if measure in found else ["", ""]
        rows.append(row)
    return Table(head, rows)


def _table1(sides: Sequence[Side]) -> Table:
    """Table 1 as each model was run: its config.yaml."""
    settings = [
        flat(YAML(typ="safe", pure=True).load((side.model / SETTINGS_NAME).read_text()))
        for side in sides
    ]
    rows = [[key, *(str(one.get(key, "")) for one in settings)] for key in settings[0]]
    return Table(["setting", *(side.name for side in sides)], rows, "Table 1 as run")


def _draw_training(sides: Sequence[Side], out: Path) -> list[Picture]:
    """Loss curves, and IoU of the validation split where there is one."""
    losses, validations = {}, {}
    for side in sides:
        loss = _column(side.model / LOSS_NAME, "loss")
        width = max(1, len(loss) // 50)
        smoothed = figures.moving_mean(loss, width)
        losses[side.name] = np.arange(len(smoothed)) + width, smoothed
        if (path := side.model / VALIDATION_NAME).exists():
            validations[side.name] = _column(path, "step") + 1, _column(path, "iou")
    title = f"Training loss, mean over {width} steps"
    figures.plot_curves(losses, title, "loss (mean squared error, all stacks)", out / "loss.png")
    drawn = [Picture(out / "loss.png", "Training loss of both models over steps")]
    if validations:
        path = out / "validation.png"
        figures.plot_curves(validations, "Validation split", "IoU at balanced points", path)
        drawn.append(Picture(path, "IoU of the validation split over training steps"))
    return drawn


def _column(path: Path, name: str) -> Float[np.ndarray, " n"]:
    with path.open() as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def _draw_parts(names: Sequence[str], found: dict[str, Paired], out: Path) -> list[Picture]:
    """Bars of each body part's IoU and distance from the true surface, where there are parts."""
    drawn = []
    for kind, label in (("iou", "IoU at balanced points"), ("completeness_cm", "cm")):
        parts = [part for part in PARTS if f"{kind}_{part}" in found]
        if not parts:
            continue
        values = {
            name: [getattr(found[f"{kind}_{part}"], side) for part in parts]
            for name, side in zip(names, ("first", "second"), strict=True)
        }
        path = out / f"parts_{kind}.png"
        figures.plot_bars(parts, values, tables.words(kind), label, path)
        drawn.append(Picture(path, f"{tables.words(kind)} of each body part, both models"))
    return drawn
