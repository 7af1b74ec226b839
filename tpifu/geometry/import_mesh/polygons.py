"""Readers for OBJ, OFF and STL, and the triangulation of polygons."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from manifold3d import triangulate

from tpifu.errors import DataError

Surface = tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]
"""Vertices and triangles."""
LARGEST = 1e9
"""Largest valid absolute coordinate, in any unit."""
CURVED = ("bzp", "bsp", "cstype", "curv", "curv2", "surf")
"""OBJ's keywords for curves and curved surfaces."""


def read_obj(path: Path) -> Surface:
    """Vertices and faces of all objects and materials; lines, points and textures are ignored."""
    vertices: list[list[float]] = []
    polygons: list[list[int]] = []
    for number, line in enumerate(_text(path).replace("\\\n", " ").split("\n"), 1):
        keyword, *words = line.partition("#")[0].split() or [""]
        try:
            if keyword == "v":
                x, y, z, *_ = map(float, words)
                vertices.append([x, y, z])
            elif keyword == "f":
                corners = [int(word.partition("/")[0]) for word in words]
                # A negative index counts back from the last vertex so far.
                polygons.append([i + len(vertices) if i < 0 else i - 1 for i in corners])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if keyword in CURVED:
            raise DataError(f"line {number}: '{keyword}' is a curved surface; export polygons")
    return surface(vertices, polygons)


def read_off(path: Path) -> Surface:
    """Vertices and faces; colours and normals are ignored."""
    rows = [line.partition("#")[0].split() for line in _text(path).split("\n")]
    rows = [row for row in rows if row]
    if not rows or not re.fullmatch("(ST)?C?N?OFF", rows[0].pop(0)):
        raise ValueError("the first word is not OFF")
    (vertices, faces, *_), *rows = [row for row in rows if row]
    end = int(vertices) + int(faces)
    if len(rows) < end:
        raise ValueError("the file ends early")
    points, polygons = rows[: int(vertices)], rows[int(vertices) : end]
    return surface(
        [[float(x) for x in row[:3]] for row in points],
        [[int(index) for index in row[1 : int(row[0]) + 1]] for row in polygons],
    )


def read_stl(path: Path) -> Surface:
    """Triangles of all solids of a binary or ASCII file; the file's normals are ignored."""
    data = path.read_bytes()
    if len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        row = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
        corners = np.frombuffer(data, row, offset=84)["corners"].reshape(-1, 3)
    else:
        words = _text(path).lower().split()
        if words[:1] != ["solid"] or words.count("vertex") != 3 * words.count("endfacet"):
            raise ValueError("neither a binary file of the stated length nor a complete ASCII file")
        vertices = [words[n + 1 : n + 4] for n, word in enumerate(words) if word == "vertex"]
        corners = np.array(vertices).reshape(-1, 3)
    return corners.astype(np.float64), np.arange(len(corners)).reshape(-1, 3)


def _text(path: Path) -> str:
    """Read UTF-8 or UTF-16, with or without a byte-order mark; line endings become newlines."""
    data = path.read_bytes()
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = data.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def surface(vertices: list[list[float]], polygons: list[list[int]]) -> Surface:
    """Convert `vertices` and `polygons` to arrays, with polygons cut into triangles.

    All polygon edges are kept, so a closed surface stays closed. Raises DataError for an index
    without a vertex.
    """
    points = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    by_size: dict[int, list[list[int]]] = defaultdict(list)
    for polygon in polygons:
        corners = [index for place, index in enumerate(polygon) if index != polygon[place - 1]]
        by_size[len(corners)].append(corners)
    faces = [np.zeros((0, 3), dtype=np.int64)]
    for size, group in sorted(by_size.items()):
        indices = np.array(group, dtype=np.int64)
        outside = indices[(indices < 0) | (indices >= len(points))]
        if len(outside):
            raise DataError(f"a face uses vertex {outside[0] + 1}, but the file has {len(points)}")
        if size >= 3:
            faces.append(indices if size == 3 else _triangles(points, indices))
    return points, np.concatenate(faces)


def _triangles(
    points: Float[np.ndarray, "v 3"], polygons: Int[np.ndarray, "p n"]
) -> Int[np.ndarray, "f 3"]:
    """Triangles of polygons with n corners, which need not be convex or flat."""
    corners = np.nan_to_num(points[polygons]).clip(-LARGEST, LARGEST)  # rejected later
    # Project each polygon along the largest component of its normal, counter-clockwise.
    spokes = corners - corners[:, :1]
    normals = np.cross(spokes, np.roll(spokes, -1, axis=1)).sum(axis=1)
    axis = np.abs(normals).argmax(axis=1)
    flat = np.stack(
        [np.take_along_axis(corners, ((axis + n) % 3)[:, None, None], axis=2) for n in (1, 2)],
        axis=-1,
    )[:, :, 0]
    flat[..., 0] *= np.sign(np.take_along_axis(normals, axis[:, None], axis=1))
    # Ear clipping that keeps corners on straight edges. mapbox-earcut drops some of them, which
    # opens the surface.
    return np.concatenate(
        [polygon[triangulate([shape])] for polygon, shape in zip(polygons, flat, strict=True)]
    )
