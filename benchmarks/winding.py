"""A slow reference for `tpifu.geometry.inside.Inside`, for tests and benchmarks."""

import numpy as np
from jaxtyping import Float

from tpifu.geometry.mesh import Mesh


def winding_number(mesh: Mesh, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Winding number as the sum of solid angles / 4 pi.

    Van Oosterom and Strackee, "The solid angle of a plane triangle", 1983.
    """
    vertices = mesh.vertices.astype(np.float64)
    result = np.zeros(len(points))
    batch = max(1, 100_000 // len(mesh.faces))
    for start in range(0, len(points), batch):
        part = slice(start, start + batch)
        to_vertex = vertices - points[part, None].astype(np.float64)
        distance = np.linalg.norm(to_vertex, axis=2)
        a, b, c = (to_vertex[:, mesh.faces[:, corner]] for corner in range(3))
        la, lb, lc = (distance[:, mesh.faces[:, corner]] for corner in range(3))
        triple = (a * np.cross(b, c)).sum(axis=2)
        cosine = (
            la * lb * lc
            + (a * b).sum(axis=2) * lc
            + (b * c).sum(axis=2) * la
            + (c * a).sum(axis=2) * lb
        )
        result[part] = np.arctan2(triple, cosine).sum(axis=1) / (2 * np.pi)
    return result
