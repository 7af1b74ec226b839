"""Uniform grids of cells over the sampling box [-half, half]^3, metres."""

import numpy as np
from jaxtyping import Float


def cell_centres(resolution: int, half: float) -> Float[np.ndarray, " r"]:
    """Coordinates of the cell centres along one axis."""
    return ((np.arange(resolution) + 0.5) * 2 / resolution - 1) * half
