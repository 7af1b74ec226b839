"""Two evaluated models side by side: Table 2 with the paper's numbers, Figures 4 and 5, loss
curves."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow.parquet as pq
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from tpifu.camera import calibration
from tpifu.config import Evaluate
from tpifu.dataset import Windows
from tpifu.errors import DataError
from tpifu.evaluate import (
    MEASURES,
    MESHES_NAME,
    PER_MESH_NAME,
    Shown,
    sequence_frames,
    splits_of,
    spread_frames,
)
from tpifu.mesh import Mesh
from tpifu.metrics import bootstrap_interval
from tpifu.reconstruct import save_mesh
from tpifu.render import render
from tpifu.shards import HELD_OUT, MeshReader
from tpifu.train import LOSS_NAME

matplotlib.use("Agg")  # no display is needed, and none may be asked for
from matplotlib import pyplot as plt

PAPER = {
    "iou": (0.8118, 0.8599),
    "mse": (0.0649, 0.0462),
    "precision": (0.8565, 0.8980),
    # Table 2 prints these as "Accuracy"; its own IoU and precision imply a recall of .940 and .953
    # (docs/paper.md).
    "recall": (0.9381, 0.9515),
}
"""The paper's Table 2: baseline, temporal."""
ANGLES = {"front": 0.0, "side": 90.0, "turned": 215.0}
"""Degrees added to the input's view."""
TILE = 160
TABLE_NAME = "table2.md"


@dataclass(frozen=True)
class Side:
    """One evaluated model."""

    name: str
    report: Path
    metrics: Path
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
    """Write table2.md, figure4_SPLIT.png, figure5.png, loss.png and the true meshes to `out`;
    returns the differences.

    The difference is second minus first side, per mesh, with a 95 % bootstrap interval that
    resamples whole clips.
    """
    out.mkdir(parents=True, exist_ok=True)
    tables = [pq.read_table(side.report / PER_MESH_NAME).to_pylist() for side in sides]
    differences = paired_differences(tables[0], tables[1], seed)
    metrics = [json.loads(side.metrics.read_text()) for side in sides]
    truth = _Truth(meshes)
    provenance = truth.reader.shards.metadata["provenance"]
    (out / TABLE_NAME).write_text(table2(sides, metrics, differences, profile, seed, provenance))
    _plot_losses(sides, out / "loss.png")
    for split in splits_of(points):
        windows = Windows(views, points, split, neighborhood=1)
        shown = spread_frames(windows, split, config.frames)
        rows = [_frame_row(item, windows, truth, sides) for item in shown]
        heading = ["input", *(f"{who}\n{angle}" for who in _columns(sides) for angle in ANGLES)]
        _sheet(rows, heading, [_label(item) for item in shown]).save(out / f"figure4_{split}.png")
        if split == HELD_OUT[0] and config.sequence:
            sequence = sequence_frames(windows, split, config.sequence)
            frames = [_frame_row(item, windows, truth, sides) for item in sequence]
            _sheet(
                [list(row) for row in zip(*frames, strict=True)],
                [_label(item) for item in sequence],
                [label.replace("\n", " ") for label in heading],
            ).save(out / "figure5.png")
            shown += sequence
        for item in shown:
            save_mesh(truth.mesh(item), out / MESHES_NAME / f"{item.stem}.glb")
    return differences


def paired_differences(
    first: list[dict[str, Any]], second: list[dict[str, Any]], seed: int
) -> dict[str, Any]:
    """Per split and measure: mean of second - first over meshes, and its interval [low, high]."""

    def key(row: dict[str, Any]) -> tuple[str, str, int]:
        return row["split"], row["clip"], row["frame"]

    if [key(row) for row in first] != [key(row) for row in second]:
        raise DataError("the two evaluations are of different meshes; evaluate both models anew")
    result: dict[str, Any] = {}
    for split in dict.fromkeys(row["split"] for row in first):
        pairs = [(a, b) for a, b in zip(first, second, strict=True) if a["split"] == split]
        clips = np.array([a["clip"] for a, _ in pairs])
        own = {}
        for measure in MEASURES:
            change = np.array([b[measure] - a[measure] for a, b in pairs])
            if np.isnan(change).any():  # no grid in the shards
                continue
            low, high = bootstrap_interval(change, clips, np.random.default_rng(seed))
            own[measure] = {
                name: round(float(value), 6)
                for name, value in (("difference", change.mean()), ("low", low), ("high", high))
            }
        if split == HELD_OUT[0]:
            result |= own
        else:
            result[split] = own
    return result


def table2(
    sides: Sequence[Side],
    metrics: list[dict[str, Any]],
    differences: dict[str, Any],
    profile: str,
    seed: int,
    provenance: dict[str, Any],
) -> str:
    """Table 2 as text: ours and the paper's, the difference per mesh with its interval, what was
    run, and on whose data under which terms."""
    first, second = (side.name for side in sides)
    lines = [
        f"Table 2, profile {profile}, seed {seed}",
        "",
        f"| {'metric':<28} | {first:>8} | {second:>8} | {'difference [95 %]':<26} | paper |",
        f"|{'-' * 30}|{'-' * 9}:|{'-' * 9}:|{'-' * 28}|---|",
    ]
    unseen = [split for split, value in metrics[0].items() if isinstance(value, dict)]
    for split in ["", *unseen]:
        values = [side[split] if split else side for side in metrics]
        change = differences[split] if split else differences
        for measure in (*MEASURES, "meshes"):
            if measure not in values[0]:
                continue
            if measure == "meshes":
                row = [
                    f"{values[0][measure]}",
                    f"{values[1][measure]}",
                    "",
                    "" if split else "100, 100",
                ]
            else:
                found = change[measure]
                row = [f"{side[measure]:.4f}" for side in values]
                row.append(
                    f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"
                )
                printed = PAPER.get(measure) if not split else None
                row.append("{:.4f}, {:.4f}".format(*printed) if printed else "")
            label = f"{split}: {measure}" if split else measure
            lines.append(f"| {label:<28} | {row[0]:>8} | {row[1]:>8} | {row[2]:<26} | {row[3]} |")
    lines += [
        "",
        "Points are 50/50 inside and outside, per mesh, then averaged (Table 2's setting);",
        "volumetric_iou is on a uniform grid and not comparable with it. The interval (95 %",
        "bootstrap) resamples whole clips. The paper's row 'Accuracy' stands beside recall,",
        "which it very probably is (docs/paper.md).",
    ]
    if profile != "paper":
        lines.append(f"The {profile} profile is a small network: its numbers are not the paper's.")
    lines.append(f"Motion: {provenance['source']} ({provenance['licence']}).")
    if citation := provenance["citation"]:
        lines.append(citation if citation.endswith(".") else f"{citation}.")
    return "\n".join(lines) + "\n"


class _Truth:
    """True meshes by clip and frame."""

    def __init__(self, folder: Path) -> None:
        self.reader = MeshReader(folder)
        index = self.reader.shards.index
        keys = zip(index["split"], index["clip"], index["frame"], strict=True)
        self.rows = {(str(s), str(c), int(f)): row for row, (s, c, f) in enumerate(keys)}

    def mesh(self, item: Shown) -> Mesh:
        return self.reader.read([self.rows[item.split, item.clip, item.frame]])[0].mesh


def _label(item: Shown) -> str:
    return f"{item.clip.split('/')[-1].rsplit('_c', 1)[0]}\nframe {item.frame}"


def _columns(sides: Sequence[Side]) -> list[str]:
    return ["ground truth", *(side.name for side in sides)]


def _frame_row(
    item: Shown, windows: Windows, truth: _Truth, sides: Sequence[Side]
) -> list[UInt8[np.ndarray, "_ _"]]:
    """Tiles of one frame: the input, then truth and each side from every angle."""
    clip = next(number for number, (name, _) in enumerate(windows.clips) if name == item.clip)
    images, calib = windows.pixels(clip, item.view, np.array([item.frame]))
    window = windows.views.metadata["window"]
    yaw = float(np.degrees(np.arctan2(calib[0, 2], calib[0, 0])))
    calibs = np.stack([calibration(yaw + angle, window) for angle in ANGLES.values()])
    meshes: list[Mesh | None] = [truth.mesh(item)]
    meshes += [_load(side.report / MESHES_NAME / f"{item.stem}.glb") for side in sides]
    tiles = [_on_white(images[0])]
    for mesh in meshes:
        if mesh is None:  # the network predicted nothing inside: an empty tile says so
            tiles += [np.full((TILE, TILE), 255, np.uint8) for _ in ANGLES]
        else:
            # Embree, whatever drew the views: the picture is the same on every machine.
            tiles += [_on_white(view) for view in render(mesh, calibs, TILE, "embree")]
    return tiles


def _load(path: Path) -> Mesh | None:
    if not path.exists():
        return None
    loaded = trimesh.load_mesh(path, process=False)
    return Mesh(np.asarray(loaded.vertices, np.float32), np.asarray(loaded.faces, np.int32))


def _on_white(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w"]:
    # A little darker than rendered, or a white body would vanish in a white page.
    return np.where(pixels[..., -1] > 127, 0.85 * pixels[..., 0], 255).astype(np.uint8)


def _sheet(
    rows: list[list[UInt8[np.ndarray, "_ _"]]], columns: list[str], labels: list[str]
) -> Image.Image:
    """Tiles in a table with column headings and row labels."""
    left, top = 130, 40
    sheet = Image.new("L", (left + TILE * len(columns), top + TILE * len(rows)), 255)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, text in enumerate(columns):
        draw.multiline_text((left + TILE * number + 8, 4), text, fill=0, font=font)
    for number, (tiles, text) in enumerate(zip(rows, labels, strict=True)):
        draw.multiline_text((6, top + TILE * number + TILE // 2 - 14), text, fill=0, font=font)
        for place, tile in enumerate(tiles):
            image = Image.fromarray(tile).resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(image, (left + TILE * place, top + TILE * number))
    return sheet


def _plot_losses(sides: Sequence[Side], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), dpi=120)
    for side in sides:
        with (side.model / LOSS_NAME).open() as file:
            losses = np.array([float(row["loss"]) for row in csv.DictReader(file)])
        width = max(1, len(losses) // 50)
        axes.plot(
            np.arange(len(smoothed := _moving_mean(losses, width))) + width,
            smoothed,
            label=side.name,
        )
    axes.set_xlabel("step")
    axes.set_ylabel("loss (mean squared error, all stacks)")
    axes.set_title(f"Training loss, mean over {width} steps")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    # Without the version in the metadata the picture's bytes do not change with the library.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _moving_mean(values: Float[np.ndarray, " n"], width: int) -> Float[np.ndarray, " m"]:
    return np.convolve(values, np.full(width, 1 / width), mode="valid")
