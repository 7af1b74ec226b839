"""Triangle meshes: vertices in metres, y up; faces counter-clockwise seen from outside.

trimesh and scipy are imported where they are used: they take 64 and 34 MB, and a trainer that
reads shards has no need.
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

    def vertex_normals(self) -> Float[np.ndarray, "v 3"]:
        """Unit normals, area-weighted over the faces around each vertex."""
        corners = self.vertices[self.faces]
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.stack(
            [
                np.bincount(
                    self.faces.ravel(), np.repeat(face[:, axis], 3), minlength=len(self.vertices)
                )
                for axis in range(3)
            ],
            axis=1,
        )
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)

    def volume(self) -> float:
        """Cubic metres inside a closed surface; what lies in two parts of it counts twice."""
        a, b, c = np.moveaxis(self.vertices[self.faces].astype(np.float64), 1, 0)
        return float(np.einsum("fx,fx->", np.cross(a, b), c) / 6)

    def trimesh(self) -> "trimesh.Trimesh":
        """The same mesh for trimesh, nothing merged or reordered."""
        import trimesh

        return trimesh.Trimesh(self.vertices, self.faces, process=False)


def largest_component(mesh: Mesh) -> Mesh:
    """The connected part with the most faces, and its vertices alone."""
    label = connected(mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2), len(mesh.vertices))
    of_face = label[mesh.faces[:, 0]]
    faces = mesh.faces[of_face == np.bincount(of_face).argmax()]
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(
        vertices=mesh.vertices[used], faces=renumbered.reshape(-1, 3).astype(mesh.faces.dtype)
    )


def watertight_fault(faces: Int[np.ndarray, "f 3"]) -> str | None:
    """Why these faces do not bound a volume, in words; None if they do.

    Every directed edge must occur once and its reverse once. That is a property of the faces alone:
    posing or self-intersection cannot break it.
    """
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    count = int(faces.max(initial=0)) + 1
    forward = np.sort(edges[:, 0] * count + edges[:, 1])
    backward = np.sort(edges[:, 1] * count + edges[:, 0])
    if np.array_equal(forward, backward) and len(np.unique(forward)) == len(forward):
        return None
    _, uses = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    if holes := int((uses == 1).sum()):
        return f"{holes} edges belong to one face only (holes)"
    if branches := int((uses > 2).sum()):
        return f"{branches} edges belong to more than two faces"
    return "neighbouring faces disagree about which side is outside (flipped faces)"


def connected(links: Int[np.ndarray, "n 2"], count: int) -> Int[np.ndarray, " {count}"]:
    """The connected part, numbered from 0, of each of `count` things; a link joins two of them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joined = np.ones(len(links), dtype=bool)
    _, part = connected_components(coo_array((joined, links.T), (count, count)), directed=False)
    return part
