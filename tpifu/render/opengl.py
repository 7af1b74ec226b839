"""Rendering with OpenGL, through pyrender."""

import functools
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from tpifu.geometry.mesh import Mesh


def pyrender_views(
    mesh: Mesh,
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
    greys: Float64[np.ndarray, "n v"],
) -> UInt8[np.ndarray, "n size size 2"]:
    pyrender, renderer, scene = _pyrender()
    renderer.viewport_width = renderer.viewport_height = size
    flags = pyrender.RenderFlags.FLAT | pyrender.RenderFlags.SKIP_CULL_FACES
    images = np.zeros((len(calibs), size, size, 2), dtype=np.uint8)
    for image, places, grey in zip(images, ndc, greys, strict=True):
        # Scale depth to the camera's range, which keeps its order and avoids clipping.
        near, far = places[:, 2].max(), places[:, 2].min()
        depth = (places[:, 2] - near) / max(near - far, 1e-6) - 1
        primitive = pyrender.Primitive(
            positions=np.column_stack([places[:, :2], depth]),
            indices=mesh.faces,
            color_0=np.repeat(grey[:, None], 3, axis=1),
            mode=pyrender.GLTF.TRIANGLES,
        )
        node = scene.add(pyrender.Mesh([primitive]))
        try:
            colour, distance = renderer.render(scene, flags)
        finally:
            scene.remove_node(node)
            primitive.delete()  # frees the OpenGL buffers
        image[..., 0] = colour[..., 0]
        image[..., 1] = np.where(distance > 0, 255, 0)
    return images


@functools.cache
def _pyrender() -> tuple[Any, Any, Any]:
    """Pyrender, a renderer and a scene; each process has one OpenGL context for all images."""
    # Imported here, because Embree must work where importing OpenGL fails.
    import pyrender
    from OpenGL import GL
    from pyrender.renderer import Renderer

    class PointSampled(Renderer):
        """Pyrender's renderer without multisampling, which blends body and background at edges."""

        def _configure_main_framebuffer(self) -> None:
            fresh = self._main_fb is None or self._main_fb_dims != (
                self.viewport_width,
                self.viewport_height,
            )
            super()._configure_main_framebuffer()
            if not fresh:
                return
            for buffer, kind in (
                (self._main_cb_ms, GL.GL_RGBA8),
                (self._main_db_ms, GL.GL_DEPTH_COMPONENT24),
            ):
                GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, buffer)
                GL.glRenderbufferStorage(GL.GL_RENDERBUFFER, kind, *self._main_fb_dims)

    renderer = pyrender.OffscreenRenderer(1, 1)
    renderer._renderer = PointSampled(1, 1)
    scene = pyrender.Scene(bg_color=(0.0, 0.0, 0.0, 0.0))
    scene.add(pyrender.OrthographicCamera(xmag=1.0, ymag=1.0, znear=0.5, zfar=2.5))
    return pyrender, renderer, scene
