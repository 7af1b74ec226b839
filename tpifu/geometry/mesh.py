"""Triangle meshes: vertices in metres, y up; faces counter-clockwise seen from outside.

Importing trimesh and scipy takes 64 and 34 MB. Training does not need them, so the functions that
use them import them.
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
        """Area-weighted mean of the face normals around each vertex, normalised; 0 without a
        face."""
        corners = self.vertices[self.faces]
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        owner, count = self.faces.ravel(), len(self.vertices)
        sums = [np.bincount(owner, np.repeat(face[:, axis], 3), count) for axis in range(3)]
        normals = np.stack(sums, axis=1)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)

    def volume(self) -> float:
        """Volume of a closed surface, cubic metres. Overlapping parts count twice."""
        return float(tetrahedra(self.corners()).sum())

    def trimesh(self) -> "trimesh.Trimesh":
        """The same mesh as a trimesh object, with nothing merged or reordered."""
        import trimesh

        return trimesh.Trimesh(self.vertices, self.faces, process=False)


def tetrahedra(corners: Float[np.ndarray, "f 3 3"]) -> Float[np.ndarray, " f"]:
    """Signed volumes of the tetrahedra that triangles span with the origin."""
    a, b, c = np.moveaxis(corners, 1, 0)
    return np.einsum("fx,fx->f", np.cross(a, b), c) / 6


def without_unused_vertices(
    vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """The surface without vertices that no face uses."""
    used, renumbered = np.unique(faces, return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3).astype(faces.dtype)


def largest_component(mesh: Mesh) -> Mesh:
    """The connected component with the most faces, without unused vertices."""
    label = connected(mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2), len(mesh.vertices))
    of_face = label[mesh.faces[:, 0]]
    faces = mesh.faces[of_face == np.bincount(of_face).argmax()]
    return Mesh(*without_unused_vertices(mesh.vertices, faces))


def watertight_error(faces: Int[np.ndarray, "f 3"]) -> str | None:
    """Why these faces do not bound a volume, and what to do; None if they do.

    Faces bound a volume if each directed edge occurs as often as its reverse. Parts may touch.
    Posing and self-intersection do not change that.
    """
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    low, high = edges.min(axis=1), edges.max(axis=1)
    _, edge, uses = np.unique(
        low * (high.max(initial=0) + 1) + high, return_inverse=True, return_counts=True
    )
    unequal = np.bincount(edge, np.sign(edges[:, 1] - edges[:, 0]), len(uses)) != 0
    if not unequal.any():
        return None
    if holes := int((uses == 1).sum()):
        return (
            f"{holes} edges belong to only one face (holes); close the mesh (Blender: 3D-Print "
            "Toolbox, Make Manifold)"
        )
    if shared := int((unequal & (uses > 2)).sum()):
        return (
            f"{shared} edges belong to three or more faces (parts that share a face); delete the "
            "faces between the parts (Blender: Select All by Trait, Interior Faces)"
        )
    return (
        f"at {int(unequal.sum())} edges, neighbouring faces are oriented inconsistently (flipped "
        "faces); turn them outwards (Blender: Mesh, Normals, Recalculate Outside)"
    )


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
    """The quotient; 0 where the denominator is 0, as for degenerate faces and edges."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
