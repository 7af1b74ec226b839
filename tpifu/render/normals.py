"""Normal images of a mesh: the direction of the visible surface at each pixel, as a colour."""

import numpy as np
from jaxtyping import Float

from tpifu.geometry.camera import project
from tpifu.geometry.mesh import Mesh
from tpifu.render.embree import visible_points


def normal_images(
    mesh: Mesh, calibs: Float[np.ndarray, "n 3 4"], size: int
) -> Float[np.ndarray, "n size size 3"]:
    """Colours 0..1 of each view: (normal + 1) / 2 on the body, white in the background.

    A normal is interpolated between the vertices, normalised, and given in the view's axes: x
    right, y up, z towards the viewer. Embree draws the images on every machine.
    """
    vertices, normals = mesh.vertices.astype(np.float64), mesh.vertex_normals().astype(np.float64)
    calibs = calibs.astype(np.float64)
    ndc = np.stack([project(calib, vertices) for calib in calibs])
    images = np.ones((len(calibs), size * size, 3), dtype=np.float32)
    for image, calib, visible in zip(
        images, calibs, visible_points(mesh, size, calibs, ndc), strict=True
    ):
        axes = [axis / np.linalg.norm(axis) for axis in calib[:, :3]]
        own = np.stack([visible.interpolate(normals @ axis) for axis in axes], axis=1)
        own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-30)
        image[visible.pixels] = (own + 1) / 2
    return images.reshape(-1, size, size, 3)
