"""Turn an occupancy field into a mesh, by marching cubes on a grid."""

import numpy as np
from jaxtyping import Float
from skimage.measure import marching_cubes

from tpifu.errors import DataError
from tpifu.geometry.mesh import Mesh, largest_component
from tpifu.model.field import Field
from tpifu.reconstruct.grid import LEVEL, evaluate_grid


class EmptyField(DataError):
    """The field has no surface: nothing or everything is inside."""


def reconstruct_mesh(field: Field, resolution: int, half: float, level: float, start: int) -> Mesh:
    """The largest connected part of a field's surface, in metres, from a grid of `resolution` cells
    per side.

    A body has one part. ICON's evaluation keeps the largest part, too. `start`: intervals per side
    of the lattice that is refined. Raises EmptyField.
    """
    grid = evaluate_grid(field, resolution, half, level=level, start=start)
    return largest_component(extract_surface(grid, half, level))


def extract_surface(grid: Float[np.ndarray, "r r r"], half: float, level: float = LEVEL) -> Mesh:
    """The closed surface around all cells above `level`, in world metres; normals point outwards.

    The surface is cut off at the walls of the box. Raises EmptyField if there is no surface.
    """
    inside = grid > level
    if inside.all() or not inside.any():
        missing = "outside" if inside.all() else "inside"
        raise EmptyField(
            f"the network predicts nothing {missing}: occupancy runs from {grid.min():.3g} to "
            f"{grid.max():.3g}, but the level is {level:g}; check that the mask shows the body "
            "and that the training loss fell well below 0.25"
        )
    # As far below the level as 1 is above it, so that full border cells end exactly at the wall.
    padded = np.pad(grid, 1, constant_values=2 * level - 1)
    # Lorensen's cases stay watertight where values equal the level or each other; Lewiner's do not.
    corners, faces, _, _ = marching_cubes(
        padded, level, method="lorensen", gradient_direction="ascent"
    )
    vertices = ((corners - 0.5) * 2 / len(grid) - 1) * half
    return Mesh(vertices=vertices.astype(np.float32), faces=faces.astype(np.int32))
