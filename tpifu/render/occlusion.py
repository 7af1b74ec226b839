"""Ambient occlusion: how much of the hemisphere over each vertex other parts of the body hide.

It belongs to the mesh, not to a view or a light. Greys are multiplied by it, which is exact where
light comes evenly from the whole hemisphere. PIFu's script instead weights each occluded direction
by the light in it, which takes nine values a vertex.
"""

import numpy as np
from jaxtyping import Float64

from tpifu.geometry.mesh import Mesh
from tpifu.render.embree import RAYS, mesh_scene
from tpifu.render.light import hemisphere

_OFF_SURFACE = 1e-3
"""Metres along the normal from a vertex to the origin of its rays: clear of its own triangles."""


def openness(mesh: Mesh, rays: int) -> Float64[np.ndarray, " v"]:
    """Share of the light of an even hemisphere that reaches each vertex, 0..1; without rays 1.

    All vertices share `rays` axes. Along each axis one ray leaves a vertex, on the side of its
    normal, and counts by its cosine. The estimate's error therefore varies smoothly over the
    surface: it is shading that is a little wrong, not noise.
    """
    count = len(mesh.vertices)
    if not rays:
        return np.ones(count)
    axes = hemisphere(rays)
    normals = mesh.vertex_normals()
    cosines = normals @ axes.T
    origins = (mesh.vertices + _OFF_SURFACE * normals).astype(np.float32)
    scene = mesh_scene(mesh)
    free = np.zeros(cosines.shape, dtype=bool)
    together = max(1, RAYS // rays)
    for first in range(0, count, together):
        some = slice(first, first + together)
        sides = np.copysign(np.float32(1), cosines[some, :, None], dtype=np.float32)
        directions = (sides * axes.astype(np.float32)).reshape(-1, 3)
        hits = scene.run(np.repeat(origins[some], rays, axis=0), directions, query="OCCLUDED")
        free[some] = (hits < 0).reshape(-1, rays)
    weights = abs(cosines)
    total = weights.sum(axis=1)
    # A vertex of no face, or of degenerate ones, has no normal.
    return np.divide((weights * free).sum(axis=1), total, out=np.ones(count), where=total > 0)
