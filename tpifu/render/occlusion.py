"""Ambient occlusion: the share of each vertex's hemisphere that the body itself hides.

It depends only on the mesh, not on the view or the light. Greys are multiplied by the openness,
which is exact for uniform light. PIFu's script instead weights each occluded direction by its
light, which needs nine values per vertex.
"""

import numpy as np
from jaxtyping import Float64

from tpifu.geometry.mesh import Mesh
from tpifu.render.embree import mesh_scene
from tpifu.render.light import hemisphere

_RAYS = 2**20
"""Rays per call of Embree, about 100 MB with their results."""
_OFF_SURFACE = 1e-3
"""Offset of ray origins from the vertex along its normal, metres; it avoids hits at the vertex."""


def openness(mesh: Mesh, rays: int) -> Float64[np.ndarray, " v"]:
    """Share of uniform light that reaches each vertex, 0..1; 1 if `rays` is 0.

    All vertices share `rays` axes. Each vertex casts one ray along each axis, on the side of its
    normal, weighted by the cosine. The error therefore varies smoothly over the surface instead of
    appearing as noise.
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
    batch = max(1, _RAYS // rays)
    for first in range(0, count, batch):
        part = slice(first, first + batch)
        sides = np.copysign(np.float32(1), cosines[part, :, None], dtype=np.float32)
        directions = (sides * axes.astype(np.float32)).reshape(-1, 3)
        hits = scene.run(np.repeat(origins[part], rays, axis=0), directions, query="OCCLUDED")
        free[part] = (hits < 0).reshape(-1, rays)
    weights = abs(cosines)
    total = weights.sum(axis=1)
    # A vertex without faces, or with degenerate faces only, has no normal.
    return np.divide((weights * free).sum(axis=1), total, out=np.ones(count), where=total > 0)
