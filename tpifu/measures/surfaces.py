"""Two triangle meshes compared: distances between their surfaces, whole and by body part; topology.

Meshes are in metres, y up; values whose key ends in `_cm` are centimetres. Nothing is aligned.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tpifu.body.skeleton import PARTS
from tpifu.geometry.mesh import Mesh, connected, watertight_fault
from tpifu.geometry.nearest import Nearest, Surface
from tpifu.geometry.sampling import SurfacePoints
from tpifu.measures.points import point_metrics

F_SCORE_CM = (1, 2, 5)
"""Thresholds of the F-scores."""


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
