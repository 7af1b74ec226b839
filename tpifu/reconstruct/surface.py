"""Occupancy grid to mesh, by marching cubes."""

import numpy as np
from jaxtyping import Float
from skimage.measure import marching_cubes

from tpifu.errors import DataError
from tpifu.geometry.mesh import Mesh

LEVEL = 0.5


class EmptyField(DataError):
    """A field without a surface: nothing inside, or everything."""


def extract_surface(grid: Float[np.ndarray, "r r r"], half: float, level: float = LEVEL) -> Mesh:
    """The closed surface of what is above `level`: world metres, faces wound to point outwards.

    What reaches the border of the box is cut off at its walls. Raises EmptyField if there is no
    surface.
    """
    inside = grid > level
    if inside.all() or not inside.any():
        missing = "outside" if inside.all() else "inside"
        raise EmptyField(
            f"the network predicts nothing {missing}: occupancy runs from {grid.min():.3g} to "
            f"{grid.max():.3g}, the surface is at {level:g}; check that the mask shows the body "
            "and that the training loss fell well below 0.25"
        )
    # As far below the level as 1 is above: a border cell of occupancy 1 is cut off exactly at the
    # wall.
    padded = np.pad(grid, 1, constant_values=2 * level - 1)
    # Lorensen's cases stay watertight where values tie with the level or each other, Lewiner's not.
    corners, faces, _, _ = marching_cubes(
        padded, level, method="lorensen", gradient_direction="ascent"
    )
    vertices = ((corners - 0.5) * 2 / len(grid) - 1) * half
    return Mesh(vertices=vertices.astype(np.float32), faces=faces.astype(np.int32))
