"""Random points on, near and around a surface."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tpifu.geometry.mesh import Mesh


def sample_near_surface(
    mesh: Mesh, count: int, sigma: float, rng: np.random.Generator
) -> Float[np.ndarray, "count 3"]:
    """Surface points moved by normal noise of standard deviation `sigma` in each coordinate."""
    return area_samples(mesh, count, rng) + rng.normal(0, sigma, (count, 3))


def area_samples(mesh: Mesh, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 3"]:
    """Points uniform by area."""
    # A row a coordinate throughout: three short rows are slow to gather and to cross.
    vertices = mesh.vertices.T.astype(np.float64)
    a, b, c = (vertices.take(corner, axis=1) for corner in mesh.faces.T)
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    cross = (uy * vz - uz * vy) ** 2 + (uz * vx - ux * vz) ** 2 + (ux * vy - uy * vx) ** 2
    area = np.cumsum(np.sqrt(cross))
    face = np.searchsorted(area, rng.random(count) * area[-1], side="right")
    u, v = rng.random((2, count))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)  # fold the parallelogram
    a, b, c = (corner.take(face, axis=1) for corner in (a, b, c))
    return (a + u * (b - a) + v * (c - a)).T


def sample_uniform(
    count: int, half: float, rng: np.random.Generator
) -> Float[np.ndarray, "count 3"]:
    """Points uniform in [-half, half]^3."""
    return rng.uniform(-half, half, (count, 3))


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a mesh."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    """Of the faces, not interpolated: unit, outwards; 0 for a face without area."""
    faces: Int[np.ndarray, " n"]
    weights: Float[np.ndarray, "n 3"]
    """Barycentric: of the three corners of the face."""


def stratified_samples(mesh: Mesh, count: int, rng: np.random.Generator) -> SurfacePoints:
    """`count` points uniform over the area, one in each count-th of it; ordered by face."""
    corners = face_corners(mesh)
    normals, areas = normals_and_areas(corners)
    ends = np.cumsum(areas)
    assert ends[-1] > 0, "a mesh without area has no points to draw"
    # As uniform as independent points, and less noise in every mean over them.
    at = (np.arange(count) + rng.random(count)) / count * ends[-1]
    faces = np.searchsorted(ends, at, side="right").clip(max=np.flatnonzero(areas)[-1])
    # Osada et al., "Shape distributions", 2002, Sec. 3.2.
    root, share = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], axis=1)
    return SurfacePoints(point_on(mesh, faces, weights), normals[faces], faces, weights)


def follow(points: SurfacePoints, mesh: Mesh) -> SurfacePoints:
    """The same places on a mesh with the same faces, in another pose."""
    normals, _ = normals_and_areas(face_corners(mesh)[points.faces])
    places = point_on(mesh, points.faces, points.weights)
    return SurfacePoints(places, normals, points.faces, points.weights)


def point_on(
    mesh: Mesh, faces: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """The points with these barycentric weights on these faces."""
    corners = mesh.vertices[mesh.faces[faces]].astype(np.float64)
    return np.einsum("nc,ncd->nd", weights, corners)


def face_corners(mesh: Mesh) -> Float[np.ndarray, "f 3 3"]:
    return mesh.vertices.astype(np.float64)[mesh.faces]


def normals_and_areas(
    corners: Float[np.ndarray, "f 3 3"],
) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, " f"]]:
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return divide(cross, length[:, None]), length / 2


def divide(
    numerator: Float[np.ndarray, "..."], denominator: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """The quotient, or 0 where the denominator is 0: faces and edges without extent."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
