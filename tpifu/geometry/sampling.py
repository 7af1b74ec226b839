"""Random points on, near and around a surface; metres."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tpifu.geometry.mesh import Mesh, safe_divide


def sample_near_surface(
    mesh: Mesh, count: int, sigma: float, rng: np.random.Generator
) -> Float[np.ndarray, "count 3"]:
    """Independent surface points, uniform by area, plus Gaussian noise of standard deviation
    `sigma` metres per coordinate."""
    # Coordinates first: gathering and crossing rows of 3 is slow.
    vertices = mesh.vertices.T.astype(np.float64)
    a, b, c = (vertices.take(corner, axis=1) for corner in mesh.faces.T)
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    cross = (uy * vz - uz * vy) ** 2 + (uz * vx - ux * vz) ** 2 + (ux * vy - uy * vx) ** 2
    area = np.cumsum(np.sqrt(cross))
    face = np.searchsorted(area, rng.random(count) * area[-1], side="right")
    u, v = rng.random((2, count))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)  # fold the parallelogram
    a, b, c = (corner.take(face, axis=1) for corner in (a, b, c))
    return (a + u * (b - a) + v * (c - a)).T + rng.normal(0, sigma, (count, 3))


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a mesh."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    """Unit face normals, outward, not interpolated; 0 for a face without area."""
    faces: Int[np.ndarray, " n"]
    weights: Float[np.ndarray, "n 3"]
    """Barycentric weights of the face's three vertices."""


def stratified_samples(mesh: Mesh, count: int, rng: np.random.Generator) -> SurfacePoints:
    """`count` points uniform by area, one in each of `count` equal parts of the area, in face
    order.

    Means over them have less variance than means over independent points.
    """
    normals, areas = normals_and_areas(mesh.corners())
    ends = np.cumsum(areas)
    assert ends[-1] > 0, "cannot sample a mesh without area"
    at = (np.arange(count) + rng.random(count)) / count * ends[-1]
    faces = np.searchsorted(ends, at, side="right").clip(max=np.flatnonzero(areas)[-1])
    # Osada et al., "Shape distributions", 2002, Sec. 3.2.
    root, share = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], axis=1)
    return SurfacePoints(point_on(mesh, faces, weights), normals[faces], faces, weights)


def follow(points: SurfacePoints, mesh: Mesh) -> SurfacePoints:
    """The same surface points on another pose of their mesh, which has the same faces."""
    normals, _ = normals_and_areas(mesh.corners()[points.faces])
    places = point_on(mesh, points.faces, points.weights)
    return SurfacePoints(places, normals, points.faces, points.weights)


def point_on(
    mesh: Mesh, faces: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Points with the given barycentric weights on the given faces."""
    corners = mesh.vertices[mesh.faces[faces]].astype(np.float64)
    return np.einsum("nc,ncd->nd", weights, corners)


def normals_and_areas(
    corners: Float[np.ndarray, "f 3 3"],
) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, " f"]]:
    """Unit normals (0 without area) and areas, square metres, of triangles."""
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return safe_divide(cross, length[:, None]), length / 2
