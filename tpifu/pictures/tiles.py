"""Square pictures of meshes on white, from which every sheet and movie is built."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8

from tpifu.geometry.camera import calibration
from tpifu.geometry.mesh import Mesh
from tpifu.render.render import render

ANGLES = {"front": 0.0, "side": 90.0, "turned": 215.0}
"""Degrees added to the input's view."""
TILE = 160
"""Side of a tile, pixels."""
FAR = 0.05
"""Errors of this many metres or more get the last colour."""
COLOURS = "YlOrRd"
"""Matplotlib's colour map of errors; both ends stand out on light and dark backgrounds."""

Tile = UInt8[np.ndarray, "_ _ 3"]


def on_white(pixels: UInt8[np.ndarray, "h w c"]) -> Tile:
    """A rendered body on white. White parts are darkened slightly to stay visible."""
    body = 0.85 * pixels[..., :-1] * np.ones(3)
    return np.where(pixels[..., -1:] > 127, body, 255).astype(np.uint8)


def blank(size: int = TILE) -> Tile:
    """An empty tile."""
    return np.full((size, size, 3), 255, np.uint8)


def draw_mesh(
    mesh: Mesh | None,
    yaws: Sequence[float],
    window: float,
    size: int = TILE,
    errors: Float[np.ndarray, " v"] | None = None,
) -> list[Tile]:
    """A mesh from several yaws, in degrees; `window` metres across. Blank tiles if it is None.

    With `errors`, metres at each vertex, the surface is coloured from 0 to FAR. Embree draws the
    surface, so tiles are the same on every machine.
    """
    if mesh is None:
        return [blank(size) for _ in yaws]
    calibs = np.stack([calibration(yaw, window) for yaw in yaws])
    shades = render(mesh, calibs, size, "embree")
    if errors is None:
        return [on_white(shade) for shade in shades]
    levels = render(mesh, calibs, size, "embree", values=np.clip(errors / FAR, 0, 1))
    colours = matplotlib.colormaps[COLOURS](np.arange(256))[:, :3]
    tiles = []
    for shade, level in zip(shades, levels, strict=True):
        lit = colours[level[..., 0]] * (0.35 + 0.65 * shade[..., :1] / 255) * 255
        tiles.append(np.where(shade[..., 1:] > 127, lit, 255).round().astype(np.uint8))
    return tiles
