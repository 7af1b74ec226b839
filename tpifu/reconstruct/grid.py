"""Coarse-to-fine evaluation of an occupancy field on a uniform grid.

The grid holds the centres of resolution^3 cells that fill the box [-half, half]^3, in metres,
indexed x, y, z. A point is inside if its occupancy exceeds the level.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from tpifu.geometry.grid import cell_centres
from tpifu.model.field import Field

LEVEL = 0.5
CHUNK = 65536
"""Points per call of the field."""


def evaluate_grid(
    field: Field, resolution: int, half: float, *, level: float = LEVEL, start: int = 32
) -> Float[np.ndarray, "r r r"]:
    """The field on the grid, evaluated around its surface and interpolated elsewhere.

    Starts from a lattice of at least `start` intervals along each axis (the whole grid, if it has
    fewer) and halves the spacing until it is the grid's. At each spacing, points with any of their
    26 neighbours on the other side of `level` are evaluated, then the neighbours of each point
    whose side differs from the interpolated one, until none is left.

    A connected part of the inside or the outside is therefore exact, including its mesh, if one
    evaluated point lies in it: a limb is followed from the body, however thin. Only a detached part
    between the points of the first lattice can be missed. If `start` is `resolution`, every point
    is evaluated. The default, 32, is 8 cm in a box of 2.56 m, where no ball of radius 7 cm and no
    long limb of radius 5.7 cm can hide (0.87 and 0.71 intervals). 16 evaluates half the points and
    is exact for a field in one piece. But networks leave small fragments around a body, and 16
    misses so many that it underestimated the laptop models' Chamfer distance by 7 %.
    """
    centres = cell_centres(resolution, half)
    stride = 1
    while 2 * stride * start <= resolution:
        stride *= 2
    lattice = _lattice(resolution, stride)
    axis = centres[lattice]
    values = _evaluate(field, axis, np.arange(len(axis) ** 3)).reshape((len(axis),) * 3)
    known = np.ones(values.shape, dtype=bool)
    while stride > 1:
        stride //= 2
        coarse, lattice = lattice, _lattice(resolution, stride)
        values = _interpolate(values, coarse, lattice)
        kept = np.searchsorted(lattice, coarse)
        coarse_known, known = known, np.zeros(values.shape, dtype=bool)
        known[np.ix_(kept, kept, kept)] = coarse_known
        _refine(field, centres[lattice], values, known, level)
    return values


def _evaluate(
    field: Field, axis: Float[np.ndarray, "n"], flat: Int[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    """The field at the points with flat indices `flat` on the cubic lattice with coordinates
    `axis`."""
    values = np.zeros(len(flat), dtype=np.float32)
    for first in range(0, len(flat), CHUNK):
        index = np.unravel_index(flat[first : first + CHUNK], (len(axis),) * 3)
        points = torch.from_numpy(axis[np.stack(index, axis=-1)].astype(np.float32))
        values[first : first + CHUNK] = field(points).float().cpu().numpy()
    return values


def _lattice(resolution: int, stride: int) -> Int[np.ndarray, "n"]:
    """Every stride-th index and the last one; the lattice of half the stride contains them."""
    return np.union1d(np.arange(0, resolution, stride), [resolution - 1])


def _interpolate(
    values: Float[np.ndarray, "n n n"], coarse: Int[np.ndarray, "n"], fine: Int[np.ndarray, "m"]
) -> Float[np.ndarray, "m m m"]:
    """Interpolate trilinearly from one lattice to the next; shared points keep their values."""
    upper = np.searchsorted(coarse, fine).clip(1)
    lower = upper - 1
    weight = ((fine - coarse[lower]) / (coarse[upper] - coarse[lower])).astype(np.float32)
    for axis in range(3):
        w = np.expand_dims(weight, [other for other in range(3) if other != axis])
        values = values.take(lower, axis) * (1 - w) + values.take(upper, axis) * w
    return values


def _refine(
    field: Field,
    axis: Float[np.ndarray, "n"],
    values: Float[np.ndarray, "n n n"],
    known: Bool[np.ndarray, "n n n"],
    level: float,
) -> None:
    """Evaluate points, in place, until every point with a neighbour on the other side is known."""
    size = len(axis)
    value, is_known = values.reshape(-1), known.reshape(-1)  # views
    inside = values > level
    # Everything beyond the box is outside: marching cubes closes the mesh there.
    front = _with_neighbours(inside, border=False) & _with_neighbours(~inside, border=True)
    pending = np.flatnonzero(front & ~known)
    is_inside = inside.reshape(-1)
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(27, 3)
    while len(pending):
        value[pending] = _evaluate(field, axis, pending)
        is_known[pending] = True
        flipped = pending[(value[pending] > level) != is_inside[pending]]
        is_inside[flipped] = ~is_inside[flipped]
        # New neighbours on the other side can only appear around points that changed sides.
        at = np.stack(np.unravel_index(flipped, values.shape), axis=-1)
        around = (at[:, None] + steps).clip(0, size - 1)
        neighbours = np.ravel_multi_index(tuple(np.moveaxis(around, -1, 0)), values.shape)
        opposite = is_inside[neighbours] != is_inside[flipped][:, None]
        pending = np.unique(neighbours[opposite & ~is_known[neighbours]])


def _with_neighbours(mask: Bool[np.ndarray, "n n n"], border: bool) -> Bool[np.ndarray, "n n n"]:
    """`mask` grown by its 26-neighbourhood; points beyond the lattice count as `border`."""
    for axis in range(3):
        wide = np.pad(np.moveaxis(mask, axis, 0), [(1, 1), (0, 0), (0, 0)], constant_values=border)
        mask = np.moveaxis(wide[:-2] | wide[1:-1] | wide[2:], 0, axis)
    return mask
