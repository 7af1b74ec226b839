"""Square pictures of meshes on white, the units of every sheet and movie."""

import numpy as np
from jaxtyping import UInt8

ANGLES = {"front": 0.0, "side": 90.0, "turned": 215.0}
"""Degrees added to the input's view."""
TILE = 160

Tile = UInt8[np.ndarray, "_ _ 3"]


def on_white(pixels: UInt8[np.ndarray, "h w c"]) -> Tile:
    """A rendered body in front of white, (h, w, 3); a little darker than rendered, or it would
    vanish there."""
    body = 0.85 * pixels[..., :-1] * np.ones(3)
    return np.where(pixels[..., -1:] > 127, body, 255).astype(np.uint8)


def blank() -> Tile:
    return np.full((TILE, TILE, 3), 255, np.uint8)


FAR = 0.05
"""Metres: errors from here on have the last colour."""
COLOURS = "YlOrRd"
"""Matplotlib's colours of errors; its ends are seen on light and on dark ground."""
