"""Mesh + camera -> image and mask: a white Lambert body lit from the camera, in front of nothing.

A vertex has shade `AMBIENT + (1 - AMBIENT) * max(0, n.z)`, n its normal in view space; a pixel
takes the shade interpolated over the nearest triangle at its centre, as grey = round(255 * shade)
with mask 255; elsewhere both are 0. Pyrender (OpenGL through EGL) and Embree (rays, no OpenGL
needed) draw the same picture.
"""

import numpy as np
from jaxtyping import Float, UInt8

from tpifu.geometry.camera import project
from tpifu.geometry.mesh import Mesh
from tpifu.render.backend import Backend
from tpifu.render.embree import embree_views
from tpifu.render.opengl import pyrender_views

AMBIENT = 0.2
"""Shade of a surface seen edge-on, 0..1: the silhouette stays apart from the black background."""


def render(
    mesh: Mesh,
    calibs: Float[np.ndarray, "n 3 4"],
    size: int,
    backend: Backend,
    values: Float[np.ndarray, " v"] | None = None,
) -> UInt8[np.ndarray, "n size size 2"]:
    """Every view of a mesh: grey, mask (0 or 255). Cropped at the image's edges, never in depth.

    Grey is the shade or, if given, the `values` of the vertices, 0..1.
    """
    vertices = mesh.vertices.astype(np.float64)
    normals = mesh.vertex_normals()
    calibs = np.asarray(calibs, dtype=np.float64)
    ndc = np.stack([project(calib, vertices) for calib in calibs])
    greys = []
    for calib in calibs:
        towards_camera = calib[2, :3] / np.linalg.norm(calib[2, :3])
        shade = AMBIENT + (1 - AMBIENT) * np.maximum(0, normals @ towards_camera)
        greys.append(shade if values is None else values.astype(np.float64))
    draw = {"pyrender": pyrender_views, "embree": embree_views}[backend]
    return draw(mesh, size, calibs, ndc, np.stack(greys))
