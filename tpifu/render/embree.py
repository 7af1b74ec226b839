"""Rendering and scenes with Embree, a ray caster.

Embree computes in float32, and its results differ between CPUs in the last bits. Only the triangle
that a ray hits is used; greys and normals are computed from it in float64.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Float64, Int, Shaped, UInt8

from tpifu.geometry.camera import ndc_to_pixel, pixel_centres
from tpifu.geometry.mesh import Mesh, safe_divide


def embree_views(
    mesh: Mesh,
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
    greys: Float64[np.ndarray, "n v"],
) -> UInt8[np.ndarray, "n size size 2"]:
    """Grey and mask of each view. `ndc`: the vertices in each view; `greys`: 0..1."""
    pixels = np.zeros((len(calibs), size * size, 2), dtype=np.uint8)
    for image, visible, grey in zip(
        pixels, visible_points(mesh, size, calibs, ndc), greys, strict=True
    ):
        value = visible.interpolate(grey)
        image[visible.pixels] = np.stack([np.rint(255 * value), np.full_like(value, 255)], 1)
    return pixels.reshape(-1, size, size, 2)


@dataclass(frozen=True)
class VisiblePoints:
    """The nearest surface point at each pixel centre of one view that the mesh covers."""

    pixels: Int[np.ndarray, " n"]
    """Pixel numbers, row by row from the top left."""
    triangles: Int[np.ndarray, "3 n"]
    """Vertices of the triangle of each point."""
    u: Float64[np.ndarray, " n"]
    v: Float64[np.ndarray, " n"]
    """Barycentric coordinates for the second and the third vertex."""

    def interpolate(self, values: Float64[np.ndarray, " v"]) -> Float64[np.ndarray, " n"]:
        """Interpolate values of the vertices at the points."""
        a, b, c = values.take(self.triangles)
        return a + self.u * (b - a) + self.v * (c - a)


def visible_points(
    mesh: Mesh,
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
) -> Iterator[VisiblePoints]:
    """The visible points of each view. `ndc`: the vertices in each view."""
    scene = mesh_scene(mesh)
    corners = np.ascontiguousarray(mesh.faces.T)
    x, y = pixel_centres(size, 1)[:, :1], pixel_centres(1, size)[:, 1:]
    for calib, vertices in zip(calibs, ndc, strict=True):
        rows, columns = _covered(ndc_to_pixel(vertices, size, size), corners, size)
        # Rays are in world coordinates, so that all views share a scene. They start in front of the
        # body. The camera is linear, so an origin is the sum of a term for x and a term for y.
        inverse = np.linalg.inv(calib[:, :3])
        in_front = inverse @ ([0, 0, vertices[:, 2].max() + 0.1] - calib[:, 3])
        across, down = x * inverse[:, 0], y * inverse[:, 1] + in_front
        origins = across.take(columns, axis=0) + down.take(rows, axis=0)
        directions = np.zeros_like(origins, dtype=np.float32)
        directions[:] = -inverse[:, 2] / np.linalg.norm(inverse[:, 2])
        hits = scene.run(origins.astype(np.float32), directions, output=True)
        hit = np.flatnonzero(hits["primID"] >= 0)
        triangles = corners.take(hits["primID"].take(hit), axis=1)
        rows, columns = rows.take(hit), columns.take(hit)
        u, v = _barycentric(vertices, triangles, x.take(columns), y.take(rows))
        yield VisiblePoints(rows * size + columns, triangles, u, v)


def _barycentric(
    ndc: Float64[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "3 n"],
    x: Float64[np.ndarray, " n"],
    y: Float64[np.ndarray, " n"],
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Barycentric coordinates of (x, y) for the second and the third vertex of triangles. Embree's
    own are float32 and differ between CPUs."""
    ax, bx, cx = ndc[:, 0].take(triangles)
    ay, by, cy = ndc[:, 1].take(triangles)
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    u = safe_divide((x - ax) * (cy - ay) - (cx - ax) * (y - ay), area).clip(0, 1)
    v = safe_divide((bx - ax) * (y - ay) - (x - ax) * (by - ay), area).clip(0, 1 - u)
    return u, v


def _covered(
    places: Float64[np.ndarray, "v 2"], corners: Int[np.ndarray, "3 f"], size: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rows and columns of all pixels that a triangle may cover: those in its bounding box.
    `places`: the vertices, pixels."""
    spans = []
    for place in np.ascontiguousarray(places.T, dtype=np.float32):
        a, b, c = place.take(corners)
        # Pixel centres are at half-integers; the margin allows for Embree's float32 arithmetic.
        first = np.ceil(np.minimum(np.minimum(a, b), c) - 0.51)
        end = np.floor(np.maximum(np.maximum(a, b), c) - 0.49) + 1
        spans.append([edge.clip(0, size).astype(np.int32) for edge in (first, end)])
    (left, right), (top, bottom) = spans
    x, y = left.min(), top.min()
    wide, high = right.max() - x + 1, bottom.max() - y + 1
    # Each box adds +1 and -1 at its four corners; sums over rows and columns count the boxes.
    begins, ends = ((top - y) * wide - x, (bottom - y) * wide - x)
    more = np.bincount(np.concatenate([begins + left, ends + right]), minlength=high * wide)
    less = np.bincount(np.concatenate([begins + right, ends + left]), minlength=high * wide)
    count = np.subtract(more, less, dtype=np.int32, casting="unsafe").reshape(high, wide)
    boxes = count.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    covered = np.flatnonzero(boxes.ravel() > 0).astype(np.int32)
    rows = covered // wide
    return rows + y, covered - rows * wide + x


def mesh_scene(mesh: Mesh) -> EmbreeScene:
    """An Embree scene with one mesh."""
    # Robust mode: no ray passes between two triangles that share an edge.
    scene = EmbreeScene(robust=True)
    TriangleMesh(
        scene,
        np.ascontiguousarray(mesh.vertices, dtype=np.float32),
        _triples(np.ascontiguousarray(mesh.faces, dtype=np.int32).tobytes()),
    )
    return scene


@functools.lru_cache(maxsize=4)
def _triples(faces: bytes) -> Shaped[np.ndarray, " f"]:
    """The faces as tuples, which embreex reads four times as fast as the rows of an array. Cached,
    because the meshes of a clip share their faces."""
    triples = np.full(len(faces) // (3 * np.int32().nbytes), None, dtype=object)
    triples[:] = list(map(tuple, np.frombuffer(faces, np.int32).reshape(-1, 3).tolist()))
    return triples
