"""Compare two triangle meshes: surface distances, overall and by body part; topology.

Meshes are in metres, y up; values whose key ends in `_cm` are in centimetres. The meshes are not
aligned first.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tpifu.body.skeleton import PARTS
from tpifu.geometry.mesh import Mesh, connected, watertight_error
from tpifu.geometry.nearest import Nearest, Surface
from tpifu.geometry.sampling import SurfacePoints
from tpifu.measures.points import point_metrics

F_SCORE_CM = (1, 2, 5)
"""Thresholds of the F-scores."""


@dataclass(frozen=True)
class Comparison:
    """Samples of the predicted and the true surface, each with its nearest point on the other."""

    truth: Mesh
    on_predicted: SurfacePoints
    to_truth: Nearest
    """Nearest points to `on_predicted`."""
    on_truth: SurfacePoints
    to_predicted: Nearest
    """Nearest points to `on_truth`."""


def compare(
    predicted: Surface, truth: Surface, on_predicted: SurfacePoints, on_truth: SurfacePoints
) -> Comparison:
    """For the samples of each surface, find the nearest points on the other."""
    to_truth, to_predicted = truth.nearest(on_predicted.points), predicted.nearest(on_truth.points)
    return Comparison(truth.mesh, on_predicted, to_truth, on_truth, to_predicted)


def surface_metrics(comparison: Comparison) -> dict[str, float]:
    """Distances between two surfaces and agreement of their normals.

    `p2s_cm`: mean distance from predicted points to the true surface, PIFu's P2S.
    `completeness_cm`: mean distance from true points to the predicted surface.
    `chamfer_cm`: the mean of the two.
    `normal_consistency`: |cos| between the normals of a point and its nearest point, mean over both
    directions, 0..1, as in Occupancy Networks (Mescheder et al., 2019).
    `f_1cm` ...: harmonic mean of the shares of predicted and of true points that are closer to the
    other surface than the threshold (Knapitsch et al., "Tanks and Temples", 2017).
    """
    c = comparison
    there, back = c.to_truth.distance * 100, c.to_predicted.distance * 100
    found = {"p2s_cm": float(there.mean()), "completeness_cm": float(back.mean())}
    found["chamfer_cm"] = (found["p2s_cm"] + found["completeness_cm"]) / 2
    found["normal_consistency"] = float(
        np.mean(
            [_mean_cosine(c.on_predicted, c.to_truth), _mean_cosine(c.on_truth, c.to_predicted)]
        )
    )
    for threshold in F_SCORE_CM:
        precision, recall = float((there < threshold).mean()), float((back < threshold).mean())
        found[f"f_{threshold}cm"] = 2 * precision * recall / (precision + recall or 1)
    return found


def normal_error(
    predicted: Float[np.ndarray, "n h w 3"], truth: Float[np.ndarray, "n h w 3"]
) -> float:
    """ICON's normal error (Xiu et al., 2022) between the normal images of two meshes: the squared
    distance between the colours, averaged over all pixels and summed over the views."""
    return float(((predicted - truth) ** 2).sum(axis=3).mean(axis=(1, 2), dtype=np.float64).sum())


def part_metrics(comparison: Comparison, part_of_vertex: Int[np.ndarray, " v"]) -> dict[str, float]:
    """`p2s_cm_arms`: P2S of the predicted points whose nearest true point is on the arms.
    `completeness_cm_arms`: completeness of the true points on the arms. nan for an empty part.

    `part_of_vertex`: index into PARTS of each true vertex.
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
    """Body part of the nearest true surface point, as an index into PARTS.

    A surface point belongs to the part of the vertex with the largest barycentric weight.
    """
    return _part_of(truth.nearest(points), truth.mesh, part_of_vertex)


def part_iou(
    occupancy: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
    part_of_point: Int[np.ndarray, " n"],
) -> dict[str, float]:
    """`iou_head` ...: IoU (see `point_metrics`) over the points of each part; nan if there are
    none."""
    found = {}
    for index, part in enumerate(PARTS):
        of_part = part_of_point == index
        iou = point_metrics(occupancy[of_part], labels[of_part])["iou"]
        found[f"iou_{part}"] = iou if of_part.any() else np.nan
    return found


def topology(mesh: Mesh) -> dict[str, float]:
    """`components`: number of connected components. `genus`: total number of handles, nan if the
    surface is not closed. `closed`: 1 if the mesh is watertight, else 0.

    Sheets that touch at a single vertex, which marching cubes can produce, count as separate. Every
    closed mesh is then an oriented surface without boundary, and the genus
    components - (V - E + F) / 2 is an integer. Self-intersections do not matter.
    """
    # Give each face its own corners; faces that share an edge share its two corners.
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
    closed = watertight_error(mesh.faces) is None and not (shared[1:] & shared[:-1]).any()
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


def _mean_cosine(points: SurfacePoints, nearest: Nearest) -> float:
    """Mean |cos| of the angle between the normals."""
    return float(np.abs(np.einsum("nd,nd->n", points.normals, nearest.normals)).mean())


def _mean_cm(distance: Float[np.ndarray, " n"]) -> float:
    return float(distance.mean()) * 100 if len(distance) else np.nan
