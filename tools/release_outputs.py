"""Files of a release: model folders, metrics, the per-mesh table, loss curves, the contact sheet
and machine.json."""

import copy
import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from release_recipe import NEIGHBORHOOD, WINDOW, Recipe
from release_timed import Curve

from tpifu.config import Model
from tpifu.evaluate.rows import PER_MESH_NAME, summary
from tpifu.files import write_json
from tpifu.model.folder import TrainedModel, save_model
from tpifu.model.pifu import PIFu
from tpifu.pictures.figures import moving_mean, plot_curves, shape_tiles, sheet
from tpifu.pictures.tiles import ANGLES
from tpifu.report.frames import Side, read_frames
from tpifu.shards.folder import DataFolder

BROAD = "_broad_"
"""Substring of the names of all broad sequences."""


@dataclass
class Outputs:
    """Results so far. The release is written to `out`; `work` contains the data and reports."""

    out: Path
    work: Path
    recipe: Recipe
    machine: dict[str, Any]
    curves: dict[str, Curve] = field(default_factory=dict)
    validation: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    measured: list[str] = field(default_factory=list)
    """Names of the evaluated models."""

    def save(self, name: str, network: PIFu, model: Model, level: float) -> None:
        """Write a model in float16."""
        half = copy.deepcopy(network).half()
        size, record = self.recipe.render.size, self.recipe.record
        save_model(self.out / name, TrainedModel(half, model, WINDOW, size, level, record))

    def write(self, seconds: dict[str, float], log: list[str]) -> None:
        """Write metrics.json, per_mesh.parquet, loss.csv and machine.json, replacing older ones."""
        tables, metrics = [], {}
        for name in self.measured:
            table = pq.read_table(self.work / name / PER_MESH_NAME)
            tables.append(table.add_column(0, "model", pa.array([name] * len(table))))
            rows = table.to_pylist()
            broad = [row for row in rows if BROAD in row["sequence"]]
            nine = [row for row in rows if BROAD not in row["sequence"]]
            metrics[name] = {**summary(rows), "nine": summary(nine), "broad": summary(broad)}
        if tables:
            pq.write_table(pa.concat_tables(tables), self.out / PER_MESH_NAME, compression="zstd")
        write_json(self.out / "metrics.json", {**metrics, "validation": self.validation})
        batch = self.recipe.train.batch_size
        with (self.out / "loss.csv").open("w") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["model", "step", "loss", "learning_rate"])
            for name, curve in self.curves.items():
                for step, pair in enumerate(zip(curve.losses, curve.rates, strict=True)):
                    writer.writerow([name, step, *(f"{value:.5g}" for value in pair)])
        trained = {
            name: {
                "steps": len(curve.losses),
                "windows": batch * len(curve.losses),
                "seconds": round(curve.seconds, 1),
                "windows_per_s": round(batch * len(curve.losses) / curve.seconds, 1),
                "dropped_steps": curve.dropped,
            }
            for name, curve in self.curves.items()
        }
        sections = ("data", "render", "sample", "train", "evaluate")
        settings = {name: getattr(self.recipe, name).model_dump(mode="json") for name in sections}
        known = {**self.machine, "trained": trained, "seconds": seconds}
        write_json(self.out / "machine.json", {**known, "settings": settings, "log": log})

    def draw_losses(self) -> None:
        curves = {}
        for name, curve in self.curves.items():
            width = max(1, len(curve.losses) // 100)
            curves[name] = moving_mean(np.array(curve.losses), width)
        plot_curves(curves, "Training loss", "mean squared error", self.out / "loss.png")

    def draw_sheet(self) -> None:
        """Draw held-out frames: the input, then ground truth and predictions from three sides."""
        data = DataFolder(self.work / "data")
        names = [name for name in reversed(NEIGHBORHOOD) if name in self.measured]
        sides = [Side(name, self.work / name, self.out / name) for name in names]
        frames = read_frames(sides, data).items()
        pictured = [frame for item, frame in frames if item.figure == 4]
        columns = [f"{name}\n{angle}" for name in ("truth", *names) for angle in ANGLES]
        tiles, labels = map(shape_tiles, pictured), [item.label for item in pictured]
        sheet(list(tiles), ["input", *columns], labels).save(self.out / "sheet.png")
