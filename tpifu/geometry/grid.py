"""Uniform grids of points in the sampling box [-1, 1]^3."""

import numpy as np
from jaxtyping import Float


def cell_centres(resolution: int, half: float) -> Float[np.ndarray, " r"]:
    """Coordinates, along one axis, of the cells of a uniform grid over [-half, half]^3."""
    return ((np.arange(resolution) + 0.5) * 2 / resolution - 1) * half


def grid_points(resolution: int, half: float) -> Float[np.ndarray, "r3 3"]:
    """Centres of the cells of a uniform grid over [-half, half]^3, x slowest, z fastest."""
    centres = cell_centres(resolution, half).astype(np.float32)
    return np.stack(np.meshgrid(centres, centres, centres, indexing="ij"), axis=-1).reshape(-1, 3)
