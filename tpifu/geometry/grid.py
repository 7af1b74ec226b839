"""Uniform grids of cells over the sampling box [-half, half]^3, metres."""

import numpy as np
from jaxtyping import Float


def cell_centres(resolution: int, half: float) -> Float[np.ndarray, " r"]:
    """Coordinates of the cell centres along one axis."""
    return ((np.arange(resolution) + 0.5) * 2 / resolution - 1) * half


def grid_points(resolution: int, half: float) -> Float[np.ndarray, "r3 3"]:
    """All cell centres, float32; x varies slowest, z fastest."""
    centres = cell_centres(resolution, half).astype(np.float32)
    return np.stack(np.meshgrid(centres, centres, centres, indexing="ij"), axis=-1).reshape(-1, 3)
