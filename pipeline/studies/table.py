"""The table of a run: one row of measures for each held-out mesh."""

import csv
from collections.abc import Sequence
from pathlib import Path

from tpifu.measures.names import Row

TABLE_NAME = "measures.csv"
MEASURED = (
    *("iou", "mse", "volumetric_iou", "chamfer_cm", "p2s_cm", "normal_consistency", "components"),
    *("flicker", "speed_error_cm"),
)
_KEY = ("split", "clip", "frame")


def write_rows(rows: Sequence[Row], folder: Path) -> None:
    """Write the measures in MEASURED, with five significant digits."""
    with (folder / TABLE_NAME).open("w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_KEY, *MEASURED])
        for row in rows:
            writer.writerow([*(row[name] for name in _KEY), *(f"{row[m]:.5g}" for m in MEASURED)])


def read_rows(folder: Path) -> list[Row]:
    """The rows of a table; nan for a measure that a mesh does not have."""
    with (folder / TABLE_NAME).open() as file:
        rows: list[Row] = list(csv.DictReader(file))
    for row in rows:
        row["frame"] = int(row["frame"])
        row |= {measure: float(row[measure]) for measure in MEASURED}
    return rows
