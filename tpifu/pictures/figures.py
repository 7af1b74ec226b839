"""Pictures of a comparison: contact sheets (Figures 4 and 5), error maps, curves and bars.

Equal input gives equal bytes: files contain no dates, versions or random names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Real, UInt8
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from tpifu.geometry.mesh import Mesh
from tpifu.pictures.tiles import ANGLES, TILE, Tile, draw_mesh, on_white

matplotlib.use("Agg")  # draws without a display

Curve = tuple[Real[np.ndarray, " _"], Float[np.ndarray, " _"]]
"""Steps and values."""


@dataclass(frozen=True)
class Pictured:
    """One frame: the network's input, the true mesh and the reconstructions."""

    clip: str
    frame: int
    pixels: UInt8[np.ndarray, "h w c"]
    yaw: float
    """View of the input, degrees."""
    window: float
    """Width of a picture, metres."""
    meshes: Sequence[Mesh | None]
    """The truth, then each model's reconstruction; None where the field had no surface."""
    errors: Sequence[Float[np.ndarray, " _"] | None]
    """Distance from each mesh's vertices to the true surface, metres; None for the truth."""

    @property
    def label(self) -> str:
        return f"{self.clip}\nframe {self.frame}"

    @property
    def truth(self) -> Mesh:
        true = self.meshes[0]
        assert true is not None
        return true


def shape_tiles(item: Pictured) -> list[Tile]:
    """The input, then each mesh from every angle."""
    yaws = [item.yaw + angle for angle in ANGLES.values()]
    drawn = [draw_mesh(mesh, yaws, item.window) for mesh in item.meshes]
    return [on_white(item.pixels), *chain(*drawn)]


def error_tiles(item: Pictured) -> list[Tile]:
    """The input, the truth, then each model's mesh coloured by its error; front and back."""
    yaws = [item.yaw, item.yaw + 180]
    pairs = zip(item.meshes, item.errors, strict=True)
    drawn = [draw_mesh(mesh, yaws, item.window, errors=errors) for mesh, errors in pairs]
    return [on_white(item.pixels), *chain(*drawn)]


def sheet(
    rows: Sequence[Sequence[Tile]],
    columns: Sequence[str],
    labels: Sequence[str],
    *,
    size: int = TILE,
    left: int = 130,
) -> Image.Image:
    """Tiles as a table with column headings and row labels; `size`: side of a tile; `left`: width
    of the labels; both in pixels."""
    top = 40
    area = left + size * len(columns), top + size * len(rows)
    picture = Image.new("RGB", area, (255, 255, 255))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for number, text in enumerate(columns):
        draw.multiline_text((left + size * number + 8, 4), text, fill=0, font=font)
    for number, (tiles, text) in enumerate(zip(rows, labels, strict=True)):
        draw.multiline_text((6, top + size * number + size // 2 - 14), text, fill=0, font=font)
        for place, tile in enumerate(tiles):
            image = Image.fromarray(tile).resize((size, size), Image.Resampling.LANCZOS)
            picture.paste(image, (left + size * place, top + size * number))
    return picture


def plot_curves(curves: Mapping[str, Curve], title: str, y_label: str, path: Path) -> None:
    """Write curves over training steps."""
    figure, axes = plt.subplots(figsize=(7, 4), dpi=120)
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    _save(figure, title, path)


def plot_bars(
    groups: Sequence[str], values: Mapping[str, Sequence[float]], title: str, label: str, path: Path
) -> None:
    """Write horizontal bars, one for each name in each group; nan leaves a gap."""
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
    axes.grid(axis="x", alpha=0.3)
    _save(figure, title, path)


def moving_mean(values: Float[np.ndarray, " n"], width: int) -> Curve:
    """The moving mean over `width` steps, each value at its last step."""
    means = np.convolve(values, np.full(width, 1 / width), mode="valid")
    return np.arange(len(means)) + width, means


def _save(figure: Figure, title: str, path: Path) -> None:
    (axes,) = figure.axes
    axes.set_title(title)
    axes.legend()
    figure.tight_layout()
    # Matplotlib's version in the metadata would change the bytes.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
