import numpy as np
import pytest
from helpers.geometry import box

from tpifu.geometry.camera import calibration, pixel_centres
from tpifu.geometry.mesh import Mesh
from tpifu.measures.surfaces import normal_error
from tpifu.render.normals import normal_images

SIZE, WINDOW = 256, 2.56  # 1 cm per pixel
FRONT = (0.0,)
AROUND = (0.0, 90.0, 180.0, 270.0)


def draw(mesh, yaws):
    return normal_images(mesh, np.stack([calibration(yaw, WINDOW) for yaw in yaws]), SIZE)


def error(predicted, truth, yaws=AROUND):
    return normal_error(draw(predicted, yaws), draw(truth, yaws))


def plane(tilt, turn=0.0):
    """A plane that fills the front view. Its normal is tilted to the right by `tilt` degrees from
    the viewing direction, and then turned about the viewing direction by `turn` degrees."""
    a, b = np.radians([tilt, turn])
    corners = np.array([[-9, -9, 0], [9, -9, 0], [9, 9, 0], [-9, 9, 0]], np.float64)
    tilted = corners @ np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    turned = tilted @ np.array([[np.cos(b), np.sin(b), 0], [-np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return Mesh(turned.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]]))


def faceted(mesh):
    """The same surface with one normal per face."""
    return Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(mesh.faces.size).reshape(-1, 3))


def test_equal_meshes_have_error_0(squatting):
    assert error(squatting, squatting) == 0


@pytest.mark.parametrize("yaw", [0.0, 90.0, 215.0])
def test_colours_are_the_normals_in_the_axes_of_the_view(ball, yaw):
    (image,) = draw(ball(1.0), (yaw,))
    x, y = (pixel_centres(SIZE, SIZE).reshape(SIZE, SIZE, 2) * WINDOW / 2).transpose(2, 0, 1)
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))  # the normal of a unit sphere is its point
    inside = x**2 + y**2 < 0.9
    expected = (np.stack([x, y, z], axis=2) + 1) / 2
    np.testing.assert_allclose(image[inside], expected[inside], atol=0.01)
    assert (image[x**2 + y**2 > 1] == 1).all()


def test_an_empty_view_is_white(ball):
    assert (draw(ball(0.5, (5, 0, 0)), FRONT) == 1).all()


@pytest.mark.parametrize("angle", [10, 60])
def test_two_planes_differ_by_half_the_chord_between_their_normals(angle):
    found = error(plane(tilt=0), plane(tilt=angle), FRONT)
    assert found == pytest.approx(np.sin(np.radians(angle / 2)) ** 2, rel=1e-5)


@pytest.mark.parametrize("turn", [30, 180])
def test_a_plane_turned_about_the_viewing_direction(turn):
    # If a plane tilted by a is turned by b, the chord between its normals is 2 sin a sin(b / 2).
    found = error(plane(tilt=40, turn=turn), plane(tilt=40), FRONT)
    expected = (np.sin(np.radians(40)) * np.sin(np.radians(turn / 2))) ** 2
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_missing_half_costs_its_area_in_each_view():
    body = faceted(box((-0.2, -0.9, -0.1), (0.2, 0.9, 0.1)))
    legs = faceted(box((-0.2, -0.9, -0.1), (0.2, 0.0, 0.1)))
    # A pixel that faces the viewer has colour (.5, .5, 1): its squared distance from white is .5.
    missing = 2 * (0.4 + 0.2) * 0.9
    assert error(legs, body) == pytest.approx(0.5 * missing / WINDOW**2, rel=1e-6)
    assert error(body, legs) == error(legs, body)
