import numpy as np
import pytest

from tpifu.geometry.mesh import Mesh
from tpifu.render.occlusion import openness


def corner(walls: int, far: float = 1000.0) -> Mesh:
    """A floor of 1 mm (the first four vertices), 1 cm from each of `walls` perpendicular walls that
    extend `far` metres."""
    half, gap = 0.0005, 0.01
    floor = [[-half, 0, -half], [-half, 0, half], [half, 0, half], [half, 0, -half]]
    x_wall = [[-gap, -far, -far], [-gap, -far, far], [-gap, far, far], [-gap, far, -far]]
    z_wall = [[-far, -far, -gap], [far, -far, -gap], [far, far, -gap], [-far, far, -gap]]
    quads = [floor, x_wall, z_wall][: walls + 1]
    faces = [[4 * n + a, 4 * n + b, 4 * n + c] for n in range(len(quads)) for a, b, c in HALVES]
    return Mesh(np.concatenate(quads).astype(np.float32), np.array(faces, dtype=np.int32))


HALVES = ((0, 1, 2), (0, 2, 3))


@pytest.mark.parametrize("rays", [1, 16, 33])
def test_a_sphere_is_not_occluded(ball, rays):
    np.testing.assert_array_equal(openness(ball(0.5), rays), 1)


def test_without_rays_nothing_is_occluded(walking):
    np.testing.assert_array_equal(openness(walking, 0), 1)


@pytest.mark.parametrize(("walls", "expected"), [(0, 1.0), (1, 0.5), (2, 0.25)])
def test_walls_hide_their_cosine_weighted_share(walls, expected):
    # An infinite wall hides half of the hemisphere, two perpendicular walls three quarters.
    np.testing.assert_allclose(openness(corner(walls), 2000)[:4], expected, atol=0.01)


def test_the_inside_of_a_closed_surface_is_dark(ball):
    sphere = ball(0.5)
    np.testing.assert_array_equal(openness(Mesh(sphere.vertices, sphere.faces[:, ::-1]), 16), 0)


def test_few_rays_approximate_many(squatting):
    many = openness(squatting, 512)
    assert many.min() < 0.05  # between thigh and belly
    assert many.max() > 0.99
    assert np.sqrt(np.mean((openness(squatting, 32) - many) ** 2)) < 0.05


def test_vertices_without_normals_do_not_affect_others(walking):
    stray = Mesh(np.concatenate([walking.vertices, np.zeros((1, 3), np.float32)]), walking.faces)
    one, other = openness(walking, 16), openness(stray, 16)
    np.testing.assert_array_equal(other[:-1], one)
    assert other[-1] == 1
