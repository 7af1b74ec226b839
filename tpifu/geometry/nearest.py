"""The nearest point on a surface."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from tpifu.geometry.mesh import Mesh, safe_divide
from tpifu.geometry.sampling import SurfacePoints, normals_and_areas, point_on

_CHUNK = 8192
"""Largest number of query points per batch."""
_PAIRS = 500_000
"""Largest number of candidate pairs (point, box) per batch: about 100 MB."""
_ROUNDING = 1e-12
"""Distances that differ by less than this, metres, are ties."""


@dataclass(frozen=True)
class Nearest(SurfacePoints):
    """The nearest point on a mesh for each query point."""

    distance: Float[np.ndarray, " n"]
    """Metres."""


class Surface:
    """A mesh with an index for nearest-point queries: a balanced binary tree of face boxes.

    A k-d tree of centroids is not enough: the areas of a body's faces differ by a factor of 100,
    and the largest face would widen the search around every point.
    """

    def __init__(self, mesh: Mesh) -> None:
        assert len(mesh.faces), "a mesh without faces has no nearest point"
        self.mesh = mesh
        corners = mesh.corners()
        self._normals, _ = normals_and_areas(corners)
        a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        cross = np.cross(ab, ac)
        per_square = safe_divide(cross, (cross**2).sum(axis=1, keepdims=True))
        # For _to_faces: p - a dotted with the fourth and fifth vectors gives the weights of b and c
        # at p's projection. Unlike the normal equations, this is exact for needle triangles.
        self._triangles = np.stack(
            [a, ab, ac, np.cross(ac, per_square), np.cross(per_square, ab), self._normals], axis=1
        )
        centroids = corners.mean(axis=1)
        self._centroids = cKDTree(centroids)
        self._leaves = _tree_order(centroids)
        low, high = corners.min(axis=1)[self._leaves].T, corners.max(axis=1)[self._leaves].T
        self._boxes: list[Float[np.ndarray, "2 3 boxes"]] = []
        """Centres and half widths of each level below the root. The children of box i are boxes 2i
        and 2i + 1 of the next level."""
        while low.shape[1] > 1:
            self._boxes.insert(0, np.stack([(low + high) / 2, (high - low) / 2]))
            low, high = low.reshape(3, -1, 2).min(axis=2), high.reshape(3, -1, 2).max(axis=2)

    def nearest(self, points: Float[np.ndarray, "n 3"]) -> Nearest:
        """The exact nearest point of the mesh.

        A nearest point on an edge or at a vertex belongs to several faces; the result names the
        face whose plane is farthest from the query point, so it does not depend on face order.
        """
        distance, faces, weights = self._nearest(points.astype(np.float64))
        return Nearest(
            point_on(self.mesh, faces, weights), self._normals[faces], faces, weights, distance
        )

    def _nearest(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
        """Distance, face and weights of the nearest point, in batches that fit in memory."""
        candidates = self._candidates(points) if len(points) <= _CHUNK else None
        if candidates is not None:
            return self._best(points, *candidates)
        middle = len(points) // 2
        first, second = self._nearest(points[:middle]), self._nearest(points[middle:])
        distance, faces, weights = map(np.concatenate, zip(first, second, strict=True))
        return distance, faces, weights

    def _candidates(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]] | None:
        """Pairs of a point, ascending, and a face that may be nearest to it; None if too many."""
        _, guess = self._centroids.query(points)
        bound, _, _ = self._to_faces(points, guess)
        # The margin keeps rounding from excluding the guess itself.
        squared_bound = (bound * (1 + 1e-9) + _ROUNDING) ** 2
        axes = points.T.copy()
        point, box = np.arange(len(points)), np.zeros(len(points), dtype=np.int64)
        for centres, halves in self._boxes:
            if len(point) > _PAIRS // 2 and len(points) > 1:
                return None
            point, box = np.repeat(point, 2), (2 * box[:, None] + np.arange(2)).ravel()
            squared = np.zeros(len(point))
            for at, centre, half in zip(axes, centres, halves, strict=True):
                outside = np.abs(at.take(point) - centre.take(box)) - half.take(box)
                squared += np.maximum(outside, 0) ** 2
            kept = np.flatnonzero(squared <= squared_bound[point])
            point, box = point[kept], box[kept]
        return point, self._leaves[box]

    def _best(
        self,
        points: Float[np.ndarray, "n 3"],
        point: Int[np.ndarray, " k"],
        face: Int[np.ndarray, " k"],
    ) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
        """Distance, face and weights of the nearest candidate of each point."""
        distance, facing, weights = self._to_faces(points[point], face)
        first = np.searchsorted(point, np.arange(len(points)))
        nearest = np.minimum.reduceat(distance, first)
        facing[distance > nearest[point] + _ROUNDING] = -1
        best = np.flatnonzero(facing == np.maximum.reduceat(facing, first)[point])
        _, one_each = np.unique(point[best], return_index=True)
        chosen = best[one_each]
        return distance[chosen], face[chosen], weights[chosen]

    def _to_faces(
        self, points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
        """For pairs (point, face): distance, distance from the face's plane, and the barycentric
        weights of the nearest point.

        The nearest point is one of four: the projection onto the plane, if it lies in the triangle,
        or the nearest point of an edge (Ericson, "Real-Time Collision Detection", 2005,
        Sec. 5.1.5, but without case distinctions, which rounding breaks on needle triangles).
        """
        # Axes first: three times as fast as with a last axis of 3.
        triangles = self._triangles[faces].reshape(-1, 18).T.copy().reshape(6, 3, -1)
        a, ab, ac, to_b, to_c, normal = triangles
        ap, bc = points.T - a, ac - ab
        v, w = _dot(ap, to_b), _dot(ap, to_c)
        within = (v >= 0) & (w >= 0) & (v + w <= 1)
        along_ab, along_ac, along_bc = (
            safe_divide(_dot(start, edge), _dot(edge, edge)).clip(0, 1)
            for start, edge in ((ap, ab), (ap, ac), (ap - ab, bc))
        )
        zero = np.zeros_like(v)
        squared = np.full_like(v, np.inf)
        for v_here, w_here in (
            (np.where(within, v, 0), np.where(within, w, 0)),
            (along_ab, zero),
            (zero, along_ac),
            (1 - along_bc, along_bc),
        ):
            offset = ap - v_here * ab - w_here * ac
            squared_here = _dot(offset, offset)
            nearer = squared_here < squared
            squared = np.where(nearer, squared_here, squared)
            v, w = np.where(nearer, v_here, v), np.where(nearer, w_here, w)
        return np.sqrt(squared), np.abs(_dot(ap, normal)), np.stack([1 - v - w, v, w], axis=1)


def _tree_order(centroids: Float[np.ndarray, "f 3"]) -> Int[np.ndarray, " leaves"]:
    """Faces in leaf order of a balanced k-d tree, split across the longest axis at each level. Some
    faces have two leaves, so that all levels are full."""
    count = len(centroids)
    depth = (count - 1).bit_length()
    order = (np.arange(1 << depth) * count >> depth).reshape(1, -1)
    for _ in range(depth):
        at = centroids[order]
        axis = np.ptp(at, axis=1).argmax(axis=1)
        along = np.take_along_axis(at, axis[:, None, None], axis=2)[:, :, 0]
        half = order.shape[1] // 2
        order = np.take_along_axis(order, np.argpartition(along, half, axis=1), axis=1)
        order = order.reshape(-1, half)
    return order.ravel()


def _dot(a: Float[np.ndarray, "3 n"], b: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, " n"]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
