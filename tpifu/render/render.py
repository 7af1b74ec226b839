"""Mesh + camera + light -> image and mask of a white, diffuse body on an empty background.

Each vertex has a grey, 0..1: light (`light.py`) times openness (`occlusion.py`). A pixel has mask
255 and the grey interpolated at its centre over the nearest triangle, as round(255 * grey); both
are 0 in the background. Pyrender (OpenGL through EGL) and Embree (rays) draw the same image.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, UInt8

from tpifu.geometry.camera import project
from tpifu.geometry.mesh import Mesh
from tpifu.render.backend import Backend
from tpifu.render.embree import embree_views
from tpifu.render.light import Environment, surface_grey
from tpifu.render.opengl import pyrender_views


def render(
    mesh: Mesh,
    calibs: Float[np.ndarray, "n 3 4"],
    size: int,
    backend: Backend,
    values: Float[np.ndarray, "*n v"] | None = None,
) -> UInt8[np.ndarray, "n size size 2"]:
    """Grey and mask (0 or 255) of each view. Images are cropped at their edges, but not in depth.

    `values`: greys of the vertices, 0..1, shared or per view; by default those of a headlight.
    """
    if values is None:
        values = shade(mesh, calibs, [None] * len(calibs))
    vertices = mesh.vertices.astype(np.float64)
    calibs = np.asarray(calibs, dtype=np.float64)
    ndc = np.stack([project(calib, vertices) for calib in calibs])
    greys = np.broadcast_to(values.astype(np.float64), (len(calibs), len(vertices)))
    draw = {"pyrender": pyrender_views, "embree": embree_views}[backend]
    return draw(mesh, size, calibs, ndc, greys)


def shade(
    mesh: Mesh, calibs: Float[np.ndarray, "n 3 4"], lights: Sequence[Environment | None]
) -> Float64[np.ndarray, "n v"]:
    """Unoccluded greys of the vertices in each view under its light; None is a headlight."""
    normals = mesh.vertex_normals()
    greys = []
    for calib, light in zip(calibs.astype(np.float64), lights, strict=True):
        axes = [axis / np.linalg.norm(axis) for axis in calib[:, :3]]
        greys.append(surface_grey(light, np.stack([normals @ axis for axis in axes], axis=1)))
    return np.stack(greys)
