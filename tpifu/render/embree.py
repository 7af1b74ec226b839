"""Scenes of Embree, which follows rays."""

import functools

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Float64, Int, Shaped, UInt8

from tpifu.geometry.camera import ndc_to_pixel, pixel_centres
from tpifu.geometry.mesh import Mesh


def embree_views(
    mesh: Mesh,
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
    greys: Float64[np.ndarray, "n v"],
) -> UInt8[np.ndarray, "n size size 2"]:
    scene = mesh_scene(mesh)
    pixels = np.zeros((len(calibs), size * size, 2), dtype=np.uint8)
    together = max(1, RAYS // size**2)
    for first in range(0, len(calibs), together):
        views = slice(first, first + together)
        _shoot(scene, mesh.faces, size, calibs[views], ndc[views], greys[views], pixels[views])
    return pixels.reshape(-1, size, size, 2)


def _shoot(
    scene: EmbreeScene,
    faces: Int[np.ndarray, "f 3"],
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
    greys: Float64[np.ndarray, "n v"],
    pixels: UInt8[np.ndarray, "n hw 2"],
) -> None:
    """Draw views of a mesh with one call of Embree. The views turn the rays, not the mesh: one
    scene serves them all."""
    corners = np.ascontiguousarray(faces.T)
    x, y = pixel_centres(size, 1)[:, :1], pixel_centres(1, size)[:, 1:]
    pixel, origins, away = [], [], []
    for calib, places in zip(calibs, ndc, strict=True):
        rows, columns = _covered(ndc_to_pixel(places, size, size), corners, size)
        inverse = np.linalg.inv(calib[:, :3])
        # In front of the body, at ndc (x, y): a sum over axes, as the camera is linear.
        in_front = inverse @ ([0, 0, places[:, 2].max() + 0.1] - calib[:, 3])
        across, down = x * inverse[:, 0], y * inverse[:, 1] + in_front
        pixel.append(rows * size + columns)
        at_pixel = across.take(columns, axis=0) + down.take(rows, axis=0)
        origins.append(at_pixel.astype(np.float32))
        away.append(-inverse[:, 2] / np.linalg.norm(inverse[:, 2]))
    ends = np.cumsum([len(of_view) for of_view in pixel])
    if not ends[-1]:
        return
    directions = np.repeat(np.array(away, dtype=np.float32), np.diff(ends, prepend=0), axis=0)
    hits = scene.run(np.concatenate(origins), directions, output=True)
    found = [np.split(hits[name], ends[:-1]) for name in ("primID", "u", "v")]
    # One view at a time: what belongs to it stays in the cache.
    for image, places, grey, triangle, u, v in zip(pixels, pixel, greys, *found, strict=True):
        hit = np.flatnonzero(triangle >= 0)
        a, b, c = grey.take(corners).take(triangle.take(hit), axis=1)
        value = a + u.take(hit) * (b - a) + v.take(hit) * (c - a)
        at = places.take(hit)
        image[at, 0] = np.rint(255 * value)
        image[at, 1] = 255


def _covered(
    places: Float64[np.ndarray, "v 2"], corners: Int[np.ndarray, "3 f"], size: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The rows and columns of pixels that a triangle may cover: those in the triangles' boxes.
    `places`: the vertices in pixels."""
    spans = []
    for place in np.ascontiguousarray(places.T, dtype=np.float32):
        a, b, c = place.take(corners)
        # Of pixel centres, at half-integers; a little more, for Embree computes in float32.
        first = np.ceil(np.minimum(np.minimum(a, b), c) - 0.51)
        end = np.floor(np.maximum(np.maximum(a, b), c) - 0.49) + 1
        spans.append([edge.clip(0, size).astype(np.int32) for edge in (first, end)])
    (left, right), (top, bottom) = spans
    some = np.flatnonzero((left < right) & (top < bottom))
    if not len(some):
        return some, some
    left, right, top, bottom = (edge[some] for edge in (left, right, top, bottom))
    x, y = left.min(), top.min()
    wide, high = right.max() - x + 1, bottom.max() - y + 1
    # A box is +1 and -1 at its four corners, summed over rows and columns.
    begins, ends = ((top - y) * wide - x, (bottom - y) * wide - x)
    more = np.bincount(np.concatenate([begins + left, ends + right]), minlength=high * wide)
    less = np.bincount(np.concatenate([begins + right, ends + left]), minlength=high * wide)
    count = np.subtract(more, less, dtype=np.int32, casting="unsafe").reshape(high, wide)
    covering = count.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    covered = np.flatnonzero(covering.ravel() > 0).astype(np.int32)
    rows = covered // wide
    return rows + y, covered - rows * wide + x


RAYS = 2**20
"""Rays in one call of Embree, at most (views are never split): with their results, 100 MB."""


def mesh_scene(mesh: Mesh) -> EmbreeScene:
    """A scene that holds one mesh."""
    # Robust: no ray slips through between two triangles that share an edge.
    scene = EmbreeScene(robust=True)
    TriangleMesh(
        scene,
        np.ascontiguousarray(mesh.vertices, dtype=np.float32),
        _triples(np.ascontiguousarray(mesh.faces, dtype=np.int32).tobytes()),
    )
    return scene


@functools.lru_cache(maxsize=4)
def _triples(faces: bytes) -> Shaped[np.ndarray, " f"]:
    """A tuple of vertices for each face. Embreex reads tuples four times as fast as rows of an
    array. Cached, because the meshes of a clip share their faces."""
    triples = np.full(len(faces) // (3 * np.int32().nbytes), None, dtype=object)
    triples[:] = list(map(tuple, np.frombuffer(faces, np.int32).reshape(-1, 3).tolist()))
    return triples
