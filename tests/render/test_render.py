import subprocess
import sys

import numpy as np
import pytest
from helpers.checks import one_line

from tpifu.errors import ConfigError
from tpifu.geometry.camera import calibration, ndc_to_pixel, pixel_centres, project
from tpifu.geometry.mesh import Mesh
from tpifu.render.backend import choose_backend, opengl_renderer
from tpifu.render.light import AMBIENT, image_light
from tpifu.render.render import render, shade

needs_gl = pytest.mark.skipif(
    opengl_renderer() is None, reason="no OpenGL/EGL: apt-get install libegl1 libgl1"
)
BACKENDS = [pytest.param("pyrender", marks=needs_gl), "embree"]
WINDOW = 2.56


def draw(mesh, backend, *, yaws=(0,), size=64):
    return render(mesh, np.stack([calibration(float(yaw), WINDOW) for yaw in yaws]), size, backend)


def centre_of(mask):
    """Mean pixel position (u, v) of a mask, in pixels with centres at half-integers."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("yaw", [0, 90, 215])
def test_a_small_sphere_appears_at_the_projection_of_its_centre(ball, backend, yaw):
    centre = np.array([0.4, 0.7, 0.3])
    (image,) = draw(ball(0.1, centre), backend, yaws=[yaw], size=128)
    ndc = project(calibration(float(yaw), WINDOW).astype(np.float64), centre[None])
    expected = ndc_to_pixel(ndc, 128, 128)[0]
    np.testing.assert_allclose(centre_of(image[..., 1] > 0), expected, atol=0.15)
    # A disc of radius 0.1 m at 50 pixels per metre.
    assert (image[..., 1] > 0).sum() == pytest.approx(np.pi * 5**2, rel=0.08)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shade_is_lambert_from_the_camera(ball, backend):
    (image,) = draw(ball(1.0), backend, size=128)
    grey, mask = image[..., 0], image[..., 1]
    assert grey.max() == 255
    assert (grey[63:65, 63:65] == 255).all()
    # On a unit sphere, n.z is the height z above the image plane.
    xy = pixel_centres(128, 128).reshape(128, 128, 2) * WINDOW / 2
    r2 = (xy**2).sum(axis=2)
    n_z = np.sqrt(np.clip(1 - r2, 0, 1))
    expected = 255 * (AMBIENT + (1 - AMBIENT) * n_z)
    flat = r2 < 0.9  # facets are visible at grazing angles
    np.testing.assert_allclose(grey[flat], expected[flat], atol=2)
    assert set(np.unique(mask)) == {0, 255}
    assert (grey[mask == 0] == 0).all()
    # No pixel of the body is darker than the ambient light.
    assert grey[mask == 255].min() >= np.floor(255 * AMBIENT)


@pytest.mark.parametrize("backend", BACKENDS)
def test_given_greys_replace_the_headlight(ball, backend):
    sphere = ball(0.5)
    height = (sphere.vertices[:, 1] / 0.5 + 1) / 2  # 0 at the bottom, 1 at the top
    calib = calibration(0.0, 2.0)[None]
    (image,) = render(sphere, calib, 64, backend, values=height)
    on = image[..., 1] > 0
    y = 1 - (np.arange(64) + 0.5) / 32  # pixel centres, metres, from the top
    expected = np.broadcast_to(255 * (y[:, None] / 0.5 + 1) / 2, on.shape)
    np.testing.assert_allclose(image[..., 0][on], expected[on], atol=3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_nearer_surface_hides_the_farther(backend):
    # Two triangles face the camera; the nearer one is tilted and therefore darker.
    far = np.array([[-1, -1, -0.9], [1, -1, -0.9], [0, 1, -0.9]], dtype=np.float32)
    near = np.array([[-1, -1, 0.0], [1, -1, 0.0], [0, 1, 1.0]], dtype=np.float32)
    for first, second in ((far, near), (near, far)):
        mesh = Mesh(np.concatenate([first, second]), np.arange(6, dtype=np.int32).reshape(2, 3))
        (image,) = draw(mesh, backend)
        # The near plane rises 1 m over 2 m: n.z = 2 / sqrt(5).
        shade = AMBIENT + (1 - AMBIENT) * 2 / np.sqrt(5)
        assert abs(int(image[40, 32, 0]) - 255 * shade) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_are_cropped_but_depth_is_not(ball, backend):
    (image,) = draw(ball(3.0), backend)  # 2.6 times as deep as the camera's box
    assert (image[..., 1] == 255).all()
    (image,) = draw(ball(0.51, (1.28, 0, 0)), backend)
    columns = np.flatnonzero(image[..., 1].any(axis=0))
    np.testing.assert_array_equal(columns, np.arange(64 - 13, 64))  # 0.51 m are 12.75 pixels
    (image,) = draw(ball(0.5, (5, 0, 0)), backend)
    assert not image.any()


@needs_gl
@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("kind", ["camera", "environment"])
def test_backends_agree(squatting, walking, size, kind):
    calibs = np.stack([calibration(yaw, WINDOW) for yaw in (0.0, 75.0, 200.0)])
    for mesh in (squatting, walking):
        lights = [image_light(kind, 0, "clip", 0, view) for view in range(len(calibs))]
        values = shade(mesh, calibs, lights)
        ours, theirs = (render(mesh, calibs, size, b, values) for b in ("embree", "pyrender"))
        for one, other in zip(ours, theirs, strict=True):
            a, b = one[..., 1] > 0, other[..., 1] > 0
            assert (a & b).sum() / (a | b).sum() > 0.995
            difference = abs(one[..., 0].astype(int) - other[..., 0])
            assert difference[a | b].mean() < 0.01 * 255


@pytest.mark.parametrize("backend", BACKENDS)
def test_views_of_one_call_equal_views_one_by_one(walking, backend):
    together = draw(walking, backend, yaws=(10, 130))
    for yaw, image in zip((10, 130), together, strict=True):
        np.testing.assert_array_equal(draw(walking, backend, yaws=[yaw])[0], image)


@needs_gl
def test_one_context_draws_all_sizes_and_meshes(ball, walking):
    first = draw(walking, "pyrender", size=64)
    draw(ball(0.5), "pyrender", size=96)
    np.testing.assert_array_equal(draw(walking, "pyrender", size=64), first)


@needs_gl
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pyrender_frees_the_buffers_of_each_frame(ball):
    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    mesh = ball(0.5)
    for _ in range(20):
        draw(mesh, "pyrender")
    before = resident()
    for _ in range(200):
        draw(mesh, "pyrender")
    # The buffers of one frame are about 130 kB; without freeing they would sum to 26 MB.
    assert resident() - before < 5e6


@pytest.mark.parametrize(
    ("requested", "renderer", "chosen", "line"),
    [
        ("auto", "NVIDIA H100", "pyrender", "rendering with OpenGL (NVIDIA H100)"),
        ("auto", "llvmpipe", "embree", "rendering with Embree: OpenGL has no GPU (llvmpipe)"),
        ("auto", None, "embree", "rendering with Embree: no usable OpenGL/EGL was found"),
        ("embree", None, "embree", None),
        ("pyrender", "llvmpipe", "pyrender", None),
    ],
)
def test_the_backend_is_the_requested_or_the_faster_one(
    monkeypatch, requested, renderer, chosen, line
):
    monkeypatch.setattr("tpifu.render.backend.opengl_renderer", lambda: renderer)
    assert choose_backend(requested) == (chosen, line)


def test_an_unavailable_backend_is_rejected(monkeypatch):
    monkeypatch.setattr("tpifu.render.backend.opengl_renderer", lambda: None)
    with one_line(ConfigError, r"libegl1 libgl1.*render\.backend=embree"):
        choose_backend("pyrender")


@needs_gl
def test_the_opengl_renderer_has_a_name():
    assert opengl_renderer() not in (None, "", "unknown")


def test_there_is_no_renderer_without_a_context(monkeypatch):
    monkeypatch.setenv("EGL_DEVICE_ID", "99")  # Pyrender's choice of a graphics device
    monkeypatch.setenv("PYOPENGL_PLATFORM", "egl")
    opengl_renderer.cache_clear()
    assert opengl_renderer() is None
    opengl_renderer.cache_clear()


def test_embree_does_not_import_opengl():
    code = (
        "import sys, numpy as np; from tpifu.geometry.mesh import Mesh\n"
        "from tpifu.render.render import render\n"
        "render(Mesh(np.eye(3), np.array([[0, 1, 2]])), np.eye(3, 4)[None], 8, 'embree')\n"
        "assert not {'OpenGL', 'pyrender'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
