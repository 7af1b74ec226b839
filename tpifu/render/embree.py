"""Rendering and scenes by Embree, which casts rays."""

import functools

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Float64, Int, Shaped, UInt8

from tpifu.geometry.camera import ndc_to_pixel, pixel_centres
from tpifu.geometry.mesh import Mesh

RAYS = 2**20
"""Rays per call of Embree, about 100 MB with their results. Views are not split."""


def embree_views(
    mesh: Mesh,
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
    greys: Float64[np.ndarray, "n v"],
) -> UInt8[np.ndarray, "n size size 2"]:
    """Grey and mask of each view. `ndc`: the vertices in each view; `greys`: 0..1."""
    scene = mesh_scene(mesh)
    pixels = np.zeros((len(calibs), size * size, 2), dtype=np.uint8)
    batch = max(1, RAYS // size**2)
    for first in range(0, len(calibs), batch):
        views = slice(first, first + batch)
        _draw(scene, mesh.faces, size, calibs[views], ndc[views], greys[views], pixels[views])
    return pixels.reshape(-1, size, size, 2)


def _draw(
    scene: EmbreeScene,
    faces: Int[np.ndarray, "f 3"],
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
    greys: Float64[np.ndarray, "n v"],
    pixels: UInt8[np.ndarray, "n hw 2"],
) -> None:
    """Draw views into `pixels` with one call of Embree. The rays of all views go to one scene in
    world coordinates."""
    corners = np.ascontiguousarray(faces.T)
    x, y = pixel_centres(size, 1)[:, :1], pixel_centres(1, size)[:, 1:]
    pixel, origins, directions = [], [], []
    for calib, vertices in zip(calibs, ndc, strict=True):
        rows, columns = _covered(ndc_to_pixel(vertices, size, size), corners, size)
        inverse = np.linalg.inv(calib[:, :3])
        # Origins are in front of the body. The camera is linear, so they are sums over axes.
        in_front = inverse @ ([0, 0, vertices[:, 2].max() + 0.1] - calib[:, 3])
        across, down = x * inverse[:, 0], y * inverse[:, 1] + in_front
        pixel.append(rows * size + columns)
        origin = across.take(columns, axis=0) + down.take(rows, axis=0)
        origins.append(origin.astype(np.float32))
        directions.append(-inverse[:, 2] / np.linalg.norm(inverse[:, 2]))
    ends = np.cumsum([len(of_view) for of_view in pixel])
    if not ends[-1]:
        return
    of_rays = np.repeat(np.array(directions, np.float32), np.diff(ends, prepend=0), axis=0)
    hits = scene.run(np.concatenate(origins), of_rays, output=True)
    found = [np.split(hits[name], ends[:-1]) for name in ("primID", "u", "v")]
    # One view at a time, so that its data stay in the cache.
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
    """Rows and columns of the pixels in the triangles' bounding boxes, which a triangle may cover.
    `places`: the vertices, pixels."""
    spans = []
    for place in np.ascontiguousarray(places.T, dtype=np.float32):
        a, b, c = place.take(corners)
        # Pixel centres are at half-integers; the margin allows for Embree's float32 arithmetic.
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
    # Each box adds +1 and -1 at its four corners; sums over rows and columns count the boxes.
    begins, ends = ((top - y) * wide - x, (bottom - y) * wide - x)
    more = np.bincount(np.concatenate([begins + left, ends + right]), minlength=high * wide)
    less = np.bincount(np.concatenate([begins + right, ends + left]), minlength=high * wide)
    count = np.subtract(more, less, dtype=np.int32, casting="unsafe").reshape(high, wide)
    covering = count.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    covered = np.flatnonzero(covering.ravel() > 0).astype(np.int32)
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
