"""Pictures of a comparison: contact sheets (Figures 4 and 5), surfaces coloured by their error,
curves and bars.

Equal input gives equal bytes: no dates, no versions, no random names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Real, UInt8
from matplotlib import pyplot as plt
from PIL import Image, ImageDraw, ImageFont

from tpifu.geometry.camera import calibration
from tpifu.geometry.mesh import Mesh
from tpifu.pictures.tiles import ANGLES, COLOURS, FAR, TILE, Tile, on_white
from tpifu.render.render import render

matplotlib.use("Agg")  # no display is needed, and none may be asked for


@dataclass(frozen=True)
class Pictured:
    """One frame: what the network saw, and meshes of it."""

    label: str
    pixels: UInt8[np.ndarray, "h w c"]
    yaw: float
    """Degrees: the view of the input."""
    window: float
    """Metres across a picture."""
    meshes: Sequence[Mesh | None]
    """The truth and each model's; None where a model predicted nothing."""
    errors: Sequence[Float[np.ndarray, " _"] | None]
    """Of each mesh's vertices, metres to the true surface; None for the truth and for no mesh."""

    @property
    def truth(self) -> Mesh:
        true = self.meshes[0]
        assert true is not None
        return true


def shape_tiles(item: Pictured) -> list[Tile]:
    """The input, then each mesh from every angle."""
    tiles = [on_white(item.pixels)]
    for mesh in item.meshes:
        tiles += _views(mesh, item, list(ANGLES.values()))
    return tiles


def error_tiles(item: Pictured) -> list[Tile]:
    """The input, the truth, then each model's mesh coloured by its error, each from the front and
    the back."""
    tiles = [on_white(item.pixels)]
    for mesh, errors in zip(item.meshes, item.errors, strict=True):
        tiles += _views(mesh, item, [0.0, 180.0], errors)
    return tiles


def _views(
    mesh: Mesh | None,
    item: Pictured,
    angles: Sequence[float],
    errors: Float[np.ndarray, " _"] | None = None,
) -> list[Tile]:
    if mesh is None:  # the network predicted nothing inside: an empty tile says so
        return [np.full((TILE, TILE, 3), 255, np.uint8) for _ in angles]
    calibs = np.stack([calibration(item.yaw + angle, item.window) for angle in angles])
    # Embree, whatever drew the views: the picture is the same on every machine.
    shades = render(mesh, calibs, TILE, "embree")
    if errors is None:
        return [on_white(shade) for shade in shades]
    levels = render(mesh, calibs, TILE, "embree", values=np.clip(errors / FAR, 0, 1))
    colours = matplotlib.colormaps[COLOURS](np.arange(256))[:, :3]
    tiles = []
    for shade, level in zip(shades, levels, strict=True):
        lit = colours[level[..., 0]] * (0.35 + 0.65 * shade[..., :1] / 255) * 255
        tiles.append(np.where(shade[..., 1:] > 127, lit, 255).round().astype(np.uint8))
    return tiles


def sheet(
    rows: Sequence[Sequence[Tile]], columns: Sequence[str], labels: Sequence[str], path: Path
) -> None:
    """Write tiles as a table with column headings and row labels."""
    left, top = 130, 40
    size = left + TILE * len(columns), top + TILE * len(rows)
    picture = Image.new("RGB", size, (255, 255, 255))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for number, text in enumerate(columns):
        draw.multiline_text((left + TILE * number + 8, 4), text, fill=0, font=font)
    for number, (tiles, text) in enumerate(zip(rows, labels, strict=True)):
        draw.multiline_text((6, top + TILE * number + TILE // 2 - 14), text, fill=0, font=font)
        for place, tile in enumerate(tiles):
            image = Image.fromarray(tile).resize((TILE, TILE), Image.Resampling.LANCZOS)
            picture.paste(image, (left + TILE * place, top + TILE * number))
    picture.save(path)


def plot_curves(
    curves: dict[str, tuple[Real[np.ndarray, " _"], Float[np.ndarray, " _"]]],
    title: str,
    y_label: str,
    path: Path,
) -> None:
    """Write curves over training steps, (steps, values) by name."""
    figure, axes = plt.subplots(figsize=(7, 4), dpi=120)
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(y_label)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def plot_bars(
    groups: Sequence[str], values: Mapping[str, Sequence[float]], title: str, label: str, path: Path
) -> None:
    """Write horizontal bars: for each group one bar of each name; nan leaves a gap."""
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.55 * len(groups)), dpi=120)
    height = 0.8 / len(values)
    for number, (name, own) in enumerate(values.items()):
        places = np.arange(len(groups)) + (number - (len(values) - 1) / 2) * height
        bars = axes.barh(places, own, height, label=name)
        axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=2)
    axes.set_yticks(np.arange(len(groups)), groups)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    _save(figure, path)


def moving_mean(values: Float[np.ndarray, " n"], width: int) -> Float[np.ndarray, " m"]:
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    # Without the version in the metadata the picture's bytes do not change with the library.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
