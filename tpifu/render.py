"""Mesh + camera -> image and mask: a white Lambert body lit from the camera, in front of nothing.

A vertex has shade `AMBIENT + (1 - AMBIENT) * max(0, n.z)`, n its normal in view space; a pixel
takes the shade interpolated over the nearest triangle at its centre, as grey = round(255 * shade)
with mask 255; elsewhere both are 0. Pyrender (OpenGL through EGL) and Embree (rays, no OpenGL
needed) draw the same picture.
"""

import functools
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Float, Float64, Int, Shaped, UInt8

from tpifu import camera, shards
from tpifu.build import build
from tpifu.errors import ConfigError
from tpifu.mesh import Mesh
from tpifu.shards import Group, MeshReader, StoredClip

Backend = Literal["pyrender", "embree"]

AMBIENT = 0.2
"""Shade of a surface seen edge-on, 0..1: the silhouette stays apart from the black background."""

_APT = "apt-get install libegl1 libgl1"


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
    ndc = np.stack([camera.project(calib, vertices) for calib in calibs])
    greys = []
    for calib in calibs:
        towards_camera = calib[2, :3] / np.linalg.norm(calib[2, :3])
        shade = AMBIENT + (1 - AMBIENT) * np.maximum(0, normals @ towards_camera)
        greys.append(shade if values is None else values.astype(np.float64))
    draw = {"pyrender": _pyrender_views, "embree": _embree_views}[backend]
    return draw(mesh, size, calibs, ndc, np.stack(greys))


def write_views(
    meshes: Path, out: Path, *, size: int, views: int, window: float, backend: Backend, jobs: int
) -> None:
    """Meshes -> PNG and camera rows of `views` evenly spaced yaws, a row group a clip and view.

    `size` in pixels, `window` in metres. A clip keeps its cameras: neighbouring frames share them.
    """
    reader = MeshReader(meshes)
    task = partial(_clip_views, size=size, views=views, window=window, backend=backend)
    metadata = {
        "meshes": reader.shards.metadata,
        "backend": backend,
        "size": size,
        "views": views,
        "window": window,
        "units": "yaw: degrees about +y; calib: world metres -> ndc [-1, 1], z towards the viewer",
    }
    inputs = {"meshes": shards.digest([meshes])}
    build(out, "views", task, reader.clips(), metadata, inputs, jobs=jobs, label="views")


def _clip_views(
    clip: StoredClip,
    *,
    size: int,
    views: int,
    window: float,
    backend: Backend,
) -> list[Group]:
    yaws = [360.0 * view / views for view in range(views)]
    calibs = np.stack([camera.calibration(yaw, window) for yaw in yaws])
    groups: list[Group] = [[] for _ in yaws]
    for frame in clip.read():
        for view, image in enumerate(render(frame.mesh, calibs, size, backend)):
            groups[view].append(
                {
                    "split": frame.split,
                    "sequence": frame.sequence,
                    "clip": frame.clip,
                    "view": view,
                    "frame": frame.frame,
                    "yaw": yaws[view],
                    "calib": calibs[view].ravel(),
                    "image": shards.png(image),
                }
            )
    return groups


def choose_backend(requested: Literal["auto", "pyrender", "embree"]) -> Backend:
    """What `requested` means here: auto is Pyrender where OpenGL has a GPU, else Embree, the faster
    one on a CPU (benchmarks/render.py).

    Raises ConfigError if Pyrender is asked for by name and cannot draw.
    """
    if requested == "embree":
        return "embree"
    drawer = _opengl()
    if requested == "auto":
        on_cpu = drawer is None or any(name in drawer.lower() for name in _CPU_DRAWERS)
        return "embree" if on_cpu else "pyrender"
    if drawer is None:
        raise ConfigError(
            "render.backend is pyrender, but no OpenGL/EGL context can be created here: "
            f"{_APT}, or set render.backend=embree"
        )
    return "pyrender"


_CPU_DRAWERS = ("llvmpipe", "softpipe", "swiftshader", "swrast", "software")


def explain(requested: Literal["auto", "pyrender", "embree"], chosen: Backend) -> str | None:
    """The line to print about a choice the user did not make; None if there is nothing to say."""
    if requested != "auto" or chosen != "embree":
        return None
    drawer = _opengl()
    reason = f"OpenGL has no GPU here ({drawer})" if drawer else "no usable OpenGL/EGL was found"
    return f"Embree renders: {reason}"


@functools.cache
def _opengl() -> str | None:
    """Who draws for OpenGL here; None if nobody can."""
    # Asked in another process: a failed or crashed start of EGL leaves PyOpenGL unusable for good.
    probe = (
        "import pyrender; pyrender.OffscreenRenderer(8, 8); "
        "from OpenGL.GL import GL_RENDERER, glGetString; print(glGetString(GL_RENDERER).decode())"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe],
            env=_opengl_platform() | os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() or "unknown" if done.returncode == 0 else None


def _opengl_platform() -> dict[str, str]:
    # EGL needs no display and works beside one; Pyrender itself would open a window.
    return {"PYOPENGL_PLATFORM": "egl"} if sys.platform == "linux" else {}


def _pyrender_views(
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
        # Depth fitted to the fixed camera's range: only its order matters, and nothing is clipped.
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
            primitive.delete()  # its buffers stay on the OpenGL side otherwise
        image[..., 0] = colour[..., 0]
        image[..., 1] = np.where(distance > 0, 255, 0)
    return images


@functools.cache
def _pyrender() -> tuple[Any, Any, Any]:
    """Pyrender, and this process's one OpenGL context and scene, both reused for every image."""
    for name, value in _opengl_platform().items():
        os.environ.setdefault(name, value)  # read once, when OpenGL is imported
    # Imported here: without OpenGL the import itself fails, and Embree must still work.
    import pyrender
    from OpenGL import GL
    from pyrender.renderer import Renderer

    class PointSampled(Renderer):
        """Pyrender's renderer without multisampling, which mixes body and background at edges."""

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


_RAYS = 2**20
"""At most so many leave in one call of Embree, or those of one view: with what belongs to them, a
hundred MB."""


def _embree_views(
    mesh: Mesh,
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
    greys: Float64[np.ndarray, "n v"],
) -> UInt8[np.ndarray, "n size size 2"]:
    # Robust: no ray slips through between two triangles that share an edge.
    scene = EmbreeScene(robust=True)
    TriangleMesh(
        scene,
        np.ascontiguousarray(mesh.vertices, dtype=np.float32),
        _triples(np.ascontiguousarray(mesh.faces, dtype=np.int32).tobytes()),
    )
    pixels = np.zeros((len(calibs), size * size, 2), dtype=np.uint8)
    together = max(1, _RAYS // size**2)
    for first in range(0, len(calibs), together):
        views = slice(first, first + together)
        _shoot(scene, mesh.faces, size, calibs[views], ndc[views], greys[views], pixels[views])
    return pixels.reshape(-1, size, size, 2)


@functools.lru_cache(maxsize=4)
def _triples(faces: bytes) -> Shaped[np.ndarray, " f"]:
    """A tuple for each face. Embreex reads its vertices one by one, from tuples four times as fast
    as from rows of an array; kept, as the meshes of a clip have the same faces."""
    triples = np.full(len(faces) // (3 * np.int32().nbytes), None, dtype=object)
    triples[:] = list(map(tuple, np.frombuffer(faces, np.int32).reshape(-1, 3).tolist()))
    return triples


def _shoot(
    scene: EmbreeScene,
    faces: Int[np.ndarray, "f 3"],
    size: int,
    calibs: Float64[np.ndarray, "n 3 4"],
    ndc: Float64[np.ndarray, "n v 3"],
    greys: Float64[np.ndarray, "n v"],
    pixels: UInt8[np.ndarray, "n hw 2"],
) -> None:
    """Draw views of a mesh with one call of Embree. The views turn the rays, not the mesh: one
    scene serves them all."""
    corners = np.ascontiguousarray(faces.T)
    x, y = camera.pixel_centres(size, 1)[:, :1], camera.pixel_centres(1, size)[:, 1:]
    pixel, origins, away = [], [], []
    for calib, places in zip(calibs, ndc, strict=True):
        rows, columns = _covered(camera.ndc_to_pixel(places, size, size), corners, size)
        inverse = np.linalg.inv(calib[:, :3])
        # In front of the body, at ndc (x, y): a sum over axes, as the camera is linear.
        in_front = inverse @ ([0, 0, places[:, 2].max() + 0.1] - calib[:, 3])
        across, down = x * inverse[:, 0], y * inverse[:, 1] + in_front
        pixel.append(rows * size + columns)
        at_pixel = across.take(columns, axis=0) + down.take(rows, axis=0)
        origins.append(at_pixel.astype(np.float32))
        away.append(-inverse[:, 2] / np.linalg.norm(inverse[:, 2]))
    ends = np.cumsum([len(of_view) for of_view in pixel])
    if not ends[-1]:
        return
    directions = np.repeat(np.array(away, dtype=np.float32), np.diff(ends, prepend=0), axis=0)
    hits = scene.run(np.concatenate(origins), directions, output=True)
    found = [np.split(hits[name], ends[:-1]) for name in ("primID", "u", "v")]
    # One view at a time: what belongs to it stays in the cache.
    for image, places, grey, triangle, u, v in zip(pixels, pixel, greys, *found, strict=True):
        hit = np.flatnonzero(triangle >= 0)
        a, b, c = grey.take(corners).take(triangle.take(hit), axis=1)
        value = a + u.take(hit) * (b - a) + v.take(hit) * (c - a)
        at = places.take(hit)
        image[at, 0] = np.rint(255 * value)
        image[at, 1] = 255


def _covered(
    places: Float64[np.ndarray, "v 2"], corners: Int[np.ndarray, "3 f"], size: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The rows and columns of pixels that a triangle may cover: those in the triangles' boxes.
    `places`: the vertices in pixels."""
    spans = []
    for place in np.ascontiguousarray(places.T, dtype=np.float32):
        a, b, c = place.take(corners)
        # Of pixel centres, at half-integers; a little more, for Embree computes in float32.
        first = np.ceil(np.minimum(np.minimum(a, b), c) - 0.51)
        end = np.floor(np.maximum(np.maximum(a, b), c) - 0.49) + 1
        spans.append([edge.clip(0, size).astype(np.int32) for edge in (first, end)])
    (left, right), (top, bottom) = spans
    some = np.flatnonzero((left < right) & (top < bottom))
    if not len(some):
        return some, some
    left, right, top, bottom = (edge[some] for edge in (left, right, top, bottom))
    x, y = left.min(), top.min()
    wide, high = right.max() - x + 1, bottom.max() - y + 1
    # A box is +1 and -1 at its four corners, summed over rows and columns.
    begins, ends = ((top - y) * wide - x, (bottom - y) * wide - x)
    more = np.bincount(np.concatenate([begins + left, ends + right]), minlength=high * wide)
    less = np.bincount(np.concatenate([begins + right, ends + left]), minlength=high * wide)
    count = np.subtract(more, less, dtype=np.int32, casting="unsafe").reshape(high, wide)
    covering = count.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    covered = np.flatnonzero(covering.ravel() > 0).astype(np.int32)
    rows = covered // wide
    return rows + y, covered - rows * wide + x
