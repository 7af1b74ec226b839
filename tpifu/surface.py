"""Two triangle meshes compared: distances between their surfaces, whole and by body part; topology.

Meshes are in metres, y up; values whose key ends in `_cm` are centimetres. Nothing is aligned.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from tpifu.mesh import Mesh, connected, watertight_fault
from tpifu.metrics import point_metrics

F_SCORE_CM = (1, 2, 5)
"""Thresholds of the F-scores."""

PARTS = ("head", "torso", "arms", "hands", "legs", "feet")
_PART_NAME_OF_JOINT = (
    *("torso", "legs", "legs"),  # pelvis, left and right hip
    *("torso", "legs", "legs"),  # spine1, knees
    *("torso", "feet", "feet"),  # spine2, ankles
    *("torso", "feet", "feet"),  # spine3, feet
    *("head", "torso", "torso", "head"),  # neck, left and right collar, head
    *("arms", "arms", "arms", "arms"),  # shoulders, elbows
    *("hands", "hands", "hands", "hands"),  # wrists, hands
)
PART_OF_JOINT = np.array([PARTS.index(name) for name in _PART_NAME_OF_JOINT])
"""Index into PARTS of SMPL's 24 joints. A vertex belongs to the part of the joint that moves it
most."""

_CHUNK = 8192
"""Points looked up at once, ..."""
_PAIRS = 500_000
"""... fewer where that makes more pairs of a point and a box than these: about 100 MB."""
_ROUNDING = 1e-12
"""Metres: distances that differ by less are equal."""


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a mesh."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    """Of the faces, not interpolated: unit, outwards; 0 for a face without area."""
    faces: Int[np.ndarray, " n"]
    weights: Float[np.ndarray, "n 3"]
    """Barycentric: of the three corners of the face."""


@dataclass(frozen=True)
class Nearest(SurfacePoints):
    """The point on a mesh that is nearest, for each of n points."""

    distance: Float[np.ndarray, " n"]
    """Metres."""


def sample_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> SurfacePoints:
    """`count` points uniform over the area, one in each count-th of it; ordered by face."""
    corners = _corners(mesh)
    normals, areas = _normals_and_areas(corners)
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
    normals, _ = _normals_and_areas(_corners(mesh)[points.faces])
    places = point_on(mesh, points.faces, points.weights)
    return SurfacePoints(places, normals, points.faces, points.weights)


def point_on(
    mesh: Mesh, faces: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """The points with these barycentric weights on these faces."""
    corners = mesh.vertices[mesh.faces[faces]].astype(np.float64)
    return np.einsum("nc,ncd->nd", weights, corners)


class Surface:
    """A mesh ready for nearest-point queries, through a balanced binary tree of boxes around faces.

    Boxes rather than a k-d tree of centroids alone: faces of one body differ a hundredfold in size,
    and the largest would widen the search around every point.
    """

    def __init__(self, mesh: Mesh) -> None:
        assert len(mesh.faces), "a mesh without faces has no nearest point"
        self.mesh = mesh
        corners = _corners(mesh)
        self._normals, _ = _normals_and_areas(corners)
        a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        cross = np.cross(ab, ac)
        per_square = _divide(cross, (cross**2).sum(axis=1, keepdims=True))
        # For _to_faces: the dot products of p - a with the fourth and fifth are the weights of b
        # and c at its foot on the plane. Exact for needles, as the normal equations are not.
        self._triangles = np.stack(
            [a, ab, ac, np.cross(ac, per_square), np.cross(per_square, ab), self._normals], axis=1
        )
        centroids = corners.mean(axis=1)
        self._centroids = cKDTree(centroids)
        self._leaves = _tree_order(centroids)
        low, high = corners.min(axis=1)[self._leaves].T, corners.max(axis=1)[self._leaves].T
        self._boxes: list[Float[np.ndarray, "2 3 boxes"]] = []
        """Centres and half widths, from below the root down: the children of box i are 2i and
        2i + 1, one level further."""
        while low.shape[1] > 1:
            self._boxes.insert(0, np.stack([(low + high) / 2, (high - low) / 2]))
            low, high = low.reshape(3, -1, 2).min(axis=2), high.reshape(3, -1, 2).max(axis=2)

    def nearest(self, points: Float[np.ndarray, "n 3"]) -> Nearest:
        """The exactly nearest point of the mesh.

        Of faces equally near (an edge or a corner is), the one that faces the point most is named:
        neither distance nor normal depend on the order of the faces.
        """
        points = points.astype(np.float64)
        faces = np.zeros(len(points), dtype=np.int64)
        distance, weights = np.zeros(len(points)), np.zeros((len(points), 3))
        starts = range(0, len(points), _CHUNK)
        queue = [(start, min(start + _CHUNK, len(points))) for start in starts]
        while queue:
            start, stop = queue.pop()
            candidates = self._candidates(points[start:stop])
            if candidates is None:
                middle = (start + stop) // 2
                queue += [(start, middle), (middle, stop)]
                continue
            best = self._best(points[start:stop], *candidates)
            distance[start:stop], faces[start:stop], weights[start:stop] = best
        return Nearest(
            point_on(self.mesh, faces, weights), self._normals[faces], faces, weights, distance
        )

    def _candidates(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]] | None:
        """Pairs of a point, ascending, and a face that may be its nearest; None if too many."""
        _, guess = self._centroids.query(points)
        bound, _, _ = self._to_faces(points, guess)
        # A little more: rounding must not lose the guess itself.
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
        """Distance, face and weights, of the nearest among the candidates."""
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
        """From each point to a face of its own: distance, distance from the plane, and the weights
        of the nearest point.

        The nearest of four: the foot on the plane, if within, and the nearest point of each edge
        (Ericson, "Real-Time Collision Detection", 2005, Sec. 5.1.5, without its case distinction,
        which rounding can mislead at needles).
        """
        # Axes first: three times as fast as a last axis of 3.
        triangles = self._triangles[faces].reshape(-1, 18).T.copy().reshape(6, 3, -1)
        a, ab, ac, to_b, to_c, normal = triangles
        ap, bc = points.T - a, ac - ab
        v, w = _dot(ap, to_b), _dot(ap, to_c)
        within = (v >= 0) & (w >= 0) & (v + w <= 1)
        along_ab, along_ac, along_bc = (
            _divide(_dot(start, edge), _dot(edge, edge)).clip(0, 1)
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


@dataclass(frozen=True)
class Comparison:
    """Points drawn on a predicted and on the true surface, and the nearest on the other one."""

    truth: Mesh
    on_predicted: SurfacePoints
    to_truth: Nearest
    """Nearest to `on_predicted`."""
    on_truth: SurfacePoints
    to_predicted: Nearest
    """Nearest to `on_truth`."""


def compare(
    predicted: Surface, truth: Surface, on_predicted: SurfacePoints, on_truth: SurfacePoints
) -> Comparison:
    """Look up the points of each on the other."""
    return Comparison(
        truth.mesh,
        on_predicted,
        truth.nearest(on_predicted.points),
        on_truth,
        predicted.nearest(on_truth.points),
    )


def surface_metrics(comparison: Comparison) -> dict[str, float]:
    """How far apart two surfaces are, and how alike their normals.

    `p2s_cm`: mean distance of predicted points from the true surface, PIFu's P2S.
    `completeness_cm`: of true points from the predicted surface. `chamfer_cm`: the mean of the two.
    `normal_consistency`: |cos| between the normals of a point and its nearest, mean over both
    directions, as in Occupancy Networks (Mescheder et al., 2019); 1 if equal.
    `f_1cm` ...: harmonic mean of the shares, of either's points, nearer than that to the other
    (Knapitsch et al., "Tanks and Temples", 2017).
    """
    c = comparison
    there, back = c.to_truth.distance * 100, c.to_predicted.distance * 100
    found = {"p2s_cm": float(there.mean()), "completeness_cm": float(back.mean())}
    found["chamfer_cm"] = (found["p2s_cm"] + found["completeness_cm"]) / 2
    found["normal_consistency"] = float(
        np.mean([_alike(c.on_predicted, c.to_truth), _alike(c.on_truth, c.to_predicted)])
    )
    for threshold in F_SCORE_CM:
        precision, recall = float((there < threshold).mean()), float((back < threshold).mean())
        found[f"f_{threshold}cm"] = 2 * precision * recall / (precision + recall or 1)
    return found


def part_metrics(comparison: Comparison, part_of_vertex: Int[np.ndarray, " v"]) -> dict[str, float]:
    """`p2s_cm_arms`: as P2S, of the predicted points whose nearest true point is on the arms.
    `completeness_cm_arms`: of the true points on the arms. nan for a part without points.

    `part_of_vertex`: index into PARTS, of the true vertices.
    """
    c = comparison
    nearest_part = _part_of(c.to_truth, c.truth, part_of_vertex)
    own_part = _part_of(c.on_truth, c.truth, part_of_vertex)
    found = {}
    for index, part in enumerate(PARTS):
        found[f"p2s_cm_{part}"] = _mean_cm(c.to_truth.distance[nearest_part == index])
        found[f"completeness_cm_{part}"] = _mean_cm(c.to_predicted.distance[own_part == index])
    return found


def part_of_points(
    points: Float[np.ndarray, "n 3"], truth: Surface, part_of_vertex: Int[np.ndarray, " v"]
) -> Int[np.ndarray, " n"]:
    """The part of the surface point that is nearest: an index into PARTS.

    `part_of_vertex`: the same, of the vertices. A surface point is of the part of the corner with
    the largest barycentric weight.
    """
    return _part_of(truth.nearest(points), truth.mesh, part_of_vertex)


def part_iou(
    occupancy: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
    part_of_point: Int[np.ndarray, " n"],
) -> dict[str, float]:
    """`iou_head` ...: IoU, as in `point_metrics`, over the points of one part; nan without any."""
    found = {}
    for index, part in enumerate(PARTS):
        of_part = part_of_point == index
        iou = point_metrics(occupancy[of_part], labels[of_part])["iou"]
        found[f"iou_{part}"] = iou if of_part.any() else np.nan
    return found


def topology(mesh: Mesh) -> dict[str, float]:
    """`components`: parts that no edge connects. `genus`: handles of all parts together; nan if not
    closed. `closed`: 1, or 0 if `watertight_fault` finds one.

    Where sheets meet in one vertex only, as marching cubes can make them, they count as apart, as
    if each had a vertex of its own. Then every closed mesh is an oriented surface without boundary,
    and genus = components - (V - E + F) / 2 a whole number. Self-intersections do not matter.
    """
    # Each face starts with corners of its own; faces that share an edge share its two ends.
    steps = [[0, 1], [1, 2], [2, 0]]
    edges = mesh.faces[:, steps].reshape(-1, 2)
    corners = np.arange(mesh.faces.size).reshape(-1, 3)[:, steps].reshape(-1, 2)
    ascending = edges.argsort(axis=1)
    edges, corners = (np.take_along_axis(pair, ascending, axis=1) for pair in (edges, corners))
    by_edge = np.lexsort(edges.T)
    edges, corners = edges[by_edge], corners[by_edge]
    shared = (edges[1:] == edges[:-1]).all(axis=1)
    links = np.stack([corners[:-1][shared], corners[1:][shared]], axis=-1).reshape(-1, 2)
    faces = connected(links, mesh.faces.size).reshape(-1, 3)

    vertices = int(faces.max(initial=-1)) + 1
    components = int(connected(faces[:, [0, 1, 1, 2]].reshape(-1, 2), vertices).max(initial=-1)) + 1
    closed = watertight_fault(mesh.faces) is None
    euler = vertices - 3 * len(faces) // 2 + len(faces)
    return {
        "components": float(components),
        "genus": components - euler / 2 if closed else np.nan,
        "closed": float(closed),
    }


def _corners(mesh: Mesh) -> Float[np.ndarray, "f 3 3"]:
    return mesh.vertices.astype(np.float64)[mesh.faces]


def _normals_and_areas(
    corners: Float[np.ndarray, "f 3 3"],
) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, " f"]]:
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return _divide(cross, length[:, None]), length / 2


def _tree_order(centroids: Float[np.ndarray, "f 3"]) -> Int[np.ndarray, " leaves"]:
    """Faces in the order of the leaves of a balanced k-d tree: halved at each level, across the
    longest axis. So that all levels are full, some faces have two leaves."""
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


def _part_of(
    on: SurfacePoints, mesh: Mesh, part_of_vertex: Int[np.ndarray, " v"]
) -> Int[np.ndarray, " n"]:
    corner = on.weights.argmax(axis=1)
    return part_of_vertex[mesh.faces[on.faces, corner]]


def _alike(points: SurfacePoints, nearest: Nearest) -> float:
    """Mean |cos| between the normals."""
    return float(np.abs(np.einsum("nd,nd->n", points.normals, nearest.normals)).mean())


def _mean_cm(distance: Float[np.ndarray, " n"]) -> float:
    return float(distance.mean()) * 100 if len(distance) else np.nan


def _dot(a: Float[np.ndarray, "3 n"], b: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, " n"]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _divide(
    numerator: Float[np.ndarray, "..."], denominator: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """The quotient, or 0 where the denominator is 0: faces and edges without extent."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
