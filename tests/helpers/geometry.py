"""Boxes, joined meshes, grid points and the inverse of the camera."""

import numpy as np
import trimesh
from jaxtyping import Float

from tpifu.geometry.grid import cell_centres
from tpifu.geometry.mesh import Mesh

BOX = trimesh.creation.box((0.4, 1.8, 0.2))


def as_mesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))


def box(low, high) -> Mesh:
    return as_mesh(trimesh.creation.box(bounds=[low, high]))


def merged(*meshes: Mesh) -> Mesh:
    """One mesh of several closed parts."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts[:-1], strict=True)]
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    return Mesh(vertices, np.concatenate(faces).astype(np.int32))


def grid_points(resolution: int, half: float) -> Float[np.ndarray, "r3 3"]:
    """All cell centres, float32; x varies slowest, z fastest."""
    centres = cell_centres(resolution, half).astype(np.float32)
    return np.stack(np.meshgrid(centres, centres, centres, indexing="ij"), axis=-1).reshape(-1, 3)


def unproject(
    calib: Float[np.ndarray, "3 4"], ndc: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Inverse of `project`."""
    return np.linalg.solve(calib[:, :3], (ndc - calib[:, 3]).T).T
