"""Turn the triangles of a file into a closed surface that faces outwards."""

import numpy as np
from jaxtyping import Float, Int, Num

from tpifu.errors import DataError
from tpifu.geometry.import_mesh.polygons import LARGEST, Surface
from tpifu.geometry.inside import Inside
from tpifu.geometry.mesh import (
    Mesh,
    connected,
    tetrahedra,
    watertight_error,
    without_unused_vertices,
)


def closed_surface(vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"]) -> Surface:
    """The surface without unused vertices or degenerate faces; all parts face outwards.

    Coincident vertices are merged only if the surface would otherwise be open. Raises DataError
    with the reason and the remedy if the surface does not bound a volume.
    """
    faces = _without_reverse(_proper(faces))
    if not len(faces):
        raise DataError("contains no triangles")
    used = np.unique(faces)
    broken = used[~(np.abs(vertices[used]) < LARGEST).all(axis=1)]
    if len(broken):
        where = ", ".join(f"{coordinate:g}" for coordinate in vertices[broken[0]])
        raise DataError(f"vertex {broken[0] + 1} lies at ({where}); repair or delete it")
    vertices, faces = without_unused_vertices(vertices, faces)
    place = _groups(vertices)
    merged = _without_reverse(_proper(place[faces]))
    if copies := len(merged) - 1 - int(_groups(_rotated(merged)).max(initial=-1)):
        raise DataError(
            f"{copies} faces are stored twice; delete the copies (Blender: Merge by Distance)"
        )
    if watertight_error(faces):
        if error := watertight_error(merged):
            raise DataError(f"is not watertight: {error}")
        _, first = np.unique(place, return_index=True)
        vertices, faces = vertices[first], merged
    return without_unused_vertices(vertices, _outward(vertices, faces))


def _proper(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "g 3"]:
    """The faces with three different vertices."""
    return faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]


def _rotated(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "f 3"]:
    """Rotate each face to start at its lowest vertex; its orientation stays the same."""
    return np.take_along_axis(faces, (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3, axis=1)


def _without_reverse(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "g 3"]:
    """Drop each face whose reverse is present: walls between touching parts, and folds."""
    group = _groups(np.sort(faces, axis=1))
    _, second, third = _rotated(faces).T
    balance = np.bincount(group, np.sign(third - second))
    return faces[balance[group] != 0]


def _groups(rows: Num[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
    """Number the rows from 0; equal rows get the same number."""
    order = np.lexsort(rows.T)
    new = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    group = np.zeros(len(rows), dtype=np.int64)
    group[order[1:]] = new.cumsum()
    return group


def _outward(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Int[np.ndarray, "g 3"]:
    """Faces of the parts that have a volume, with inside-out parts flipped.

    An inverted part inside another part is a cavity. Flat parts are dropped: they contain no point,
    but would be drawn.
    """
    volumes = tetrahedra(vertices[faces] - vertices.mean(axis=0))
    if volumes.sum() < 0:
        faces, volumes = faces[:, ::-1], -volumes
    edge = _groups(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1))
    nodes = np.stack([np.arange(len(faces)).repeat(3), len(faces) + edge], axis=1)
    part = connected(nodes, int(nodes.max(initial=0)) + 1)[: len(faces)]
    volume = np.bincount(part, volumes)[part]
    solid = np.abs(volume) > 1e-12 * np.ptp(vertices, axis=0).max() ** 3
    if not solid.any():
        raise DataError("encloses no volume; give the surface a thickness")
    faces, part, inverted = faces[solid], part[solid], volume[solid] < 0
    if not inverted.any():
        return faces
    around = Inside(Mesh(vertices, faces[~inverted]))
    outside = ~around(vertices[faces[inverted]].mean(axis=1))
    flipped = np.bincount(part[inverted], outside, part.max() + 1) > 0
    return np.where(flipped[part][:, None], faces[:, ::-1], faces)


def centre_of_mass(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "3"]:
    """Centre of mass of the enclosed volume, at constant density."""
    middle = vertices.mean(axis=0)  # far from the origin, the volumes would be inexact
    corners = vertices[faces] - middle
    volumes = tetrahedra(corners)
    return middle + volumes @ corners.sum(axis=1) / (4 * volumes.sum())
