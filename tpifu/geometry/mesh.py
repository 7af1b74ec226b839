"""Triangle meshes: vertices in metres, y up; faces counter-clockwise seen from outside.

trimesh and scipy take 64 and 34 MB. They are imported inside the functions that use them, because
training does not need them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True)
class Mesh:
    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]

    def corners(self) -> Float[np.ndarray, "f 3 3"]:
        """The three vertices of each face, float64."""
        return self.vertices.astype(np.float64)[self.faces]

    def vertex_normals(self) -> Float[np.ndarray, "v 3"]:
        """Area-weighted means of the face normals around each vertex: unit, 0 without a face."""
        corners = self.vertices[self.faces]
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        owner, count = self.faces.ravel(), len(self.vertices)
        sums = [np.bincount(owner, np.repeat(face[:, axis], 3), count) for axis in range(3)]
        normals = np.stack(sums, axis=1)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)

    def volume(self) -> float:
        """Volume of a closed surface, cubic metres. Overlapping parts count twice."""
        a, b, c = np.moveaxis(self.corners(), 1, 0)
        return float(np.einsum("fx,fx->", np.cross(a, b), c) / 6)

    def trimesh(self) -> "trimesh.Trimesh":
        """The same mesh as a trimesh object, nothing merged or reordered."""
        import trimesh

        return trimesh.Trimesh(self.vertices, self.faces, process=False)


def largest_component(mesh: Mesh) -> Mesh:
    """The connected component with the most faces, without unused vertices."""
    label = connected(mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2), len(mesh.vertices))
    of_face = label[mesh.faces[:, 0]]
    faces = mesh.faces[of_face == np.bincount(of_face).argmax()]
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], renumbered.reshape(-1, 3).astype(mesh.faces.dtype))


def watertight_error(faces: Int[np.ndarray, "f 3"]) -> str | None:
    """Why these faces do not bound a volume; None if they do.

    Faces bound a volume if each directed edge occurs once and its reverse once. Posing and
    self-intersection do not change that.
    """
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    count = int(faces.max(initial=0)) + 1
    forward = np.sort(edges[:, 0] * count + edges[:, 1])
    backward = np.sort(edges[:, 1] * count + edges[:, 0])
    if np.array_equal(forward, backward) and len(np.unique(forward)) == len(forward):
        return None
    _, uses = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    if holes := int((uses == 1).sum()):
        return f"{holes} edges belong to only one face (holes)"
    if branches := int((uses > 2).sum()):
        return f"{branches} edges belong to more than two faces"
    return "neighbouring faces are oriented inconsistently (flipped faces)"


def connected(links: Int[np.ndarray, "n 2"], count: int) -> Int[np.ndarray, " {count}"]:
    """Component number, from 0, of each of `count` nodes; `links` are pairs of nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(links), dtype=bool)
    _, component = connected_components(coo_array((ones, links.T), (count, count)), directed=False)
    return component


def safe_divide(
    numerator: Float[np.ndarray, "..."], denominator: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """The quotient; 0 where the denominator is 0, as for faces and edges without extent."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
