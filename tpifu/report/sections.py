"""The report's tables and plots, section by section."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from ruamel.yaml import YAML

from tpifu.body.skeleton import PARTS
from tpifu.config import flatten
from tpifu.measures.names import PAPER, TABLE2, words
from tpifu.model.folder import LOSS_NAME, SETTINGS_NAME, VALIDATION_NAME
from tpifu.pictures.figures import moving_mean, plot_bars, plot_curves
from tpifu.report.frames import Side
from tpifu.report.page import Picture, Table
from tpifu.report.tables import Paired


def table2_section(names: Sequence[str], found: dict[str, Paired]) -> Table:
    """Our measures and the paper's side by side."""
    rows = []
    for measure in TABLE2:
        if measure in found:
            printed = PAPER.get(measure)
            paper = [f"{value:.4f}" for value in printed] if printed else ["", ""]
            rows.append([words(measure), *found[measure].cells(), *paper])
    head = ["", *names, "difference [95 %]", *(f"paper, {name}" for name in names)]
    return Table(head, rows)


def paired_table(names: Sequence[str], found: dict[str, Paired], measures: Sequence[str]) -> Table:
    rows = [
        [words(measure), *found[measure].cells(), str(found[measure].meshes)]
        for measure in measures
        if measure in found
    ]
    return Table(["", *names, "difference [95 %]", "meshes"], rows)


def motion_table(names: Sequence[str], motions: dict[str, dict[str, Paired]]) -> Table:
    measures = ("iou", "volumetric_iou", "chamfer_cm", "flicker")
    head = ["motion", "meshes"]
    head += [f"{words(measure)}, {name}" for measure in measures for name in names]
    rows = []
    for motion, found in motions.items():
        row = [motion, str(max(one.meshes for one in found.values()))]
        for measure in measures:
            row += found[measure].cells()[:2] if measure in found else ["", ""]
        rows.append(row)
    return Table(head, rows)


def table1(sides: Sequence[Side]) -> Table:
    """All settings of each model, read from its config.yaml."""
    settings = [
        flatten(YAML(typ="safe", pure=True).load((side.model / SETTINGS_NAME).read_text()))
        for side in sides
    ]
    rows = [[key, *(str(one.get(key, "")) for one in settings)] for key in settings[0]]
    return Table(["setting", *(side.name for side in sides)], rows, "Table 1 as run")


def draw_training(sides: Sequence[Side], out: Path) -> list[Picture]:
    """Loss curves, and IoU of the validation split if there is one."""
    losses, validations = {}, {}
    for side in sides:
        loss = _column(side.model / LOSS_NAME, "loss")
        width = max(1, len(loss) // 50)
        losses[side.name] = moving_mean(loss, width)
        if (path := side.model / VALIDATION_NAME).exists():
            validations[side.name] = _column(path, "step") + 1, _column(path, "iou")
    title = f"Training loss, mean over {width} steps"
    plot_curves(losses, title, "loss (mean over all stacks)", out / "loss.png")
    drawn = [Picture(out / "loss.png", "Training loss of both models over steps")]
    if validations:
        path = out / "validation.png"
        plot_curves(validations, "Validation split", "IoU at balanced points", path)
        drawn.append(Picture(path, "IoU of the validation split over training steps"))
    return drawn


def _column(path: Path, name: str) -> Float[np.ndarray, " n"]:
    with path.open() as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def draw_parts(names: Sequence[str], found: dict[str, Paired], out: Path) -> list[Picture]:
    """Bars of each body part's IoU and completeness; no pictures if there are no body parts."""
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
        plot_bars(parts, values, words(kind), label, path)
        drawn.append(Picture(path, f"{words(kind)} of each body part, both models"))
    return drawn
