import numpy as np
import pytest

from tpifu.geometry.mesh import Mesh
from tpifu.render.occlusion import openness


def corner(walls: int, far: float = 1000.0) -> Mesh:
    """A patch of floor (the first four vertices) of a millimetre, its middle 1 cm from each of
    `walls` walls at right angles that reach as far as `far` metres."""
    half, gap = 0.0005, 0.01
    floor = [[-half, 0, -half], [-half, 0, half], [half, 0, half], [half, 0, -half]]
    x_wall = [[-gap, -far, -far], [-gap, -far, far], [-gap, far, far], [-gap, far, -far]]
    z_wall = [[-far, -far, -gap], [far, -far, -gap], [far, far, -gap], [-far, far, -gap]]
    quads = [floor, x_wall, z_wall][: walls + 1]
    faces = [[4 * n + a, 4 * n + b, 4 * n + c] for n in range(len(quads)) for a, b, c in HALVES]
    return Mesh(np.concatenate(quads).astype(np.float32), np.array(faces, dtype=np.int32))


HALVES = ((0, 1, 2), (0, 2, 3))


@pytest.mark.parametrize("rays", [1, 16, 33])
def test_nothing_hides_a_vertex_of_a_sphere(ball, rays):
    np.testing.assert_array_equal(openness(ball(0.5), rays), 1)


def test_without_rays_nothing_is_occluded(walking):
    np.testing.assert_array_equal(openness(walking, 0), 1)


@pytest.mark.parametrize(("walls", "expected"), [(0, 1.0), (1, 0.5), (2, 0.25)])
def test_walls_hide_their_cosine_weighted_share_of_the_sky(walls, expected):
    # A wall that starts at the floor and has no end hides half of the sky, two of them three
    # quarters.
    np.testing.assert_allclose(openness(corner(walls), 2000)[:4], expected, atol=0.01)


def test_inside_a_closed_surface_no_light_arrives(ball):
    sphere = ball(0.5)
    np.testing.assert_array_equal(openness(Mesh(sphere.vertices, sphere.faces[:, ::-1]), 16), 0)


def test_few_rays_estimate_what_many_do(squatting):
    many = openness(squatting, 512)
    assert many.min() < 0.05  # between thigh and belly
    assert many.max() > 0.99
    assert np.sqrt(np.mean((openness(squatting, 32) - many) ** 2)) < 0.05


def test_it_is_deterministic_and_needs_no_normal(walking):
    stray = Mesh(np.concatenate([walking.vertices, np.zeros((1, 3), np.float32)]), walking.faces)
    one, other = openness(walking, 16), openness(stray, 16)
    np.testing.assert_array_equal(other[:-1], one)
    assert other[-1] == 1
