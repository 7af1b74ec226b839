import numpy as np
import pytest
from helpers.geometry import box, grid_points, merged
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.winding import winding_number
from tpifu.config import Sample
from tpifu.geometry.inside import Inside
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.sampling import sample_near_surface
from tpifu.prepare.points import sample_points
from tpifu.shards.coding import dequantise, quantise
from tpifu.shards.reader import Shards
from tpifu.shards.schema import HELD_OUT, SPLITS


def rng(seed=0):
    return np.random.default_rng(seed)


def test_inside_matches_the_winding_number_of_a_self_intersecting_body(squatting):
    codes = quantise(sample_near_surface(squatting, 400, 0.05, rng()))
    points = dequantise(codes)
    winding = winding_number(squatting, points)
    assert (winding > 1.5).sum() > 10, "no points in an overlap"
    np.testing.assert_allclose(winding, np.rint(winding), atol=1e-6)
    np.testing.assert_array_equal(Inside(squatting)(points), winding > 0.5)


def test_overlaps_are_inside_and_cavities_are_outside(ball):
    lens = merged(ball(0.5, (-0.2, 0, 0)), ball(0.5, (0.2, 0, 0)))
    points = np.array([[0, 0, 0], [0.5, 0, 0], [-0.5, 0, 0], [0, 0.48, 0]], dtype=np.float32)
    np.testing.assert_allclose(winding_number(lens, points), [2, 1, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(Inside(lens)(points), [True, True, True, False])
    inner = ball(0.3)
    shell = merged(ball(0.6), Mesh(inner.vertices, inner.faces[:, ::-1]))
    points = np.array([[0, 0, 0], [0.45, 0, 0], [0.7, 0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(Inside(shell)(points), [False, True, False])
    assert Inside(shell)(points[:0]).shape == (0,)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rays_through_edges_and_vertices_count_once(axis):
    # Lattice points project onto edges, diagonals and corners of a box that is thin along `axis`.
    low, high = np.full(3, -0.5), np.full(3, 0.5)
    low[axis], high[axis] = -0.25, 0.25
    lattice = np.linspace(-0.75, 0.75, 13)  # multiples of 1/8: exact
    points = np.stack(np.meshgrid(lattice, lattice, lattice), axis=-1).reshape(-1, 3)
    points[:, axis] += 1 / 16  # not on the faces that rays cross
    off_surface = ~((points == low) | (points == high)).any(axis=1)
    inside = Inside(box(low, high))(points.astype(np.float32))
    expected = ((points > low) & (points < high)).all(axis=1)
    np.testing.assert_array_equal(inside[off_surface], expected[off_surface])


def test_rays_through_the_vertices_of_a_body_count_once(walking):
    # Points in front of and behind vertices along each axis.
    vertices = walking.vertices[::150].astype(np.float64)
    points = np.concatenate(
        [vertices + 0.3 * sign * np.eye(3)[a] for a in range(3) for sign in (-1, 1)]
    )
    points = points.astype(np.float32)
    winding = winding_number(walking, points)
    np.testing.assert_array_equal(Inside(walking)(points), winding > 0.5)


def test_crossings_closer_than_a_micrometre_are_distinguished():
    # Two slabs are 1e-7 m apart; a third overlaps the second by the same distance.
    gap = 1e-7
    slabs = merged(
        box((-1, -1, -0.1), (1, 1, -gap)),
        box((-1, -1, 0), (1, 1, 0.1)),
        box((-1, -1, np.float32(0.1) - gap), (1, 1, 0.2)),
    )
    points = np.array([[0.3, 0.2, z] for z in (-0.2, -0.05, 0.05, 0.15, 0.3)], dtype=np.float32)
    np.testing.assert_array_equal(Inside(slabs)(points), [False, True, True, True, False])


@given(st.integers(0, 2**32), st.sampled_from([0.01, 1.0, 100.0]))
def test_inside_is_exact_for_tetrahedra_of_any_scale(seed, scale):
    corners = (rng(seed).normal(size=(4, 3)) * scale).astype(np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], dtype=np.int32)
    if np.linalg.det(corners[1:] - corners[0]) < 0:
        faces = faces[:, ::-1]
    points = (rng(seed + 1).normal(size=(50, 3)) * scale).astype(np.float32)
    weights = np.linalg.solve(
        np.vstack([corners.T, np.ones(4)]).astype(np.float64),
        np.vstack([points.T, np.ones(50)]).astype(np.float64),
    )
    clear = abs(weights).min(axis=0) > 1e-4
    inside = Inside(Mesh(corners, faces))(points)
    np.testing.assert_array_equal(inside[clear], (weights > 0).all(axis=0)[clear])


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_the_grid_equals_inside_point_by_point(squatting, turn):
    # Rotated, so that the rays of the grid run along each axis once.
    mesh = Mesh(np.roll(squatting.vertices, turn, axis=1), squatting.faces)
    points = grid_points(24, 0.9)
    grid = Inside(mesh).grid(24, 0.9)
    assert grid.any()
    np.testing.assert_array_equal(grid.ravel(), Inside(mesh)(points))


def test_the_grid_equals_inside_on_the_surface():
    # Cell centres are at +-0.25 and +-0.75: faces, edges and corners of the box.
    mesh = box((-0.75, -0.75, -0.75), (0.75, 0.75, 0.25))
    points = grid_points(4, 1.0)
    grid = Inside(mesh).grid(4, 1.0)
    np.testing.assert_array_equal(grid.ravel(), Inside(mesh)(points))
    np.testing.assert_allclose(points.reshape(4, 4, 4, 3)[3, 0, 1], [0.75, -0.75, -0.25])


def test_points_on_the_surface_are_uniform_by_area():
    # A box 4 x 2 x 1: faces of 8, 4 and 2 square metres, two of each, 28 in all.
    low, high = np.array([-2, -1, -0.5]), np.array([2, 1, 0.5])
    points = sample_near_surface(box(low, high), 28_000, 0.0, rng())
    on = np.isclose(abs(points), high, atol=1e-9)
    assert on.any(axis=1).all()
    assert (abs(points) <= high + 1e-9).all()
    # Binomial standard deviation is at most sqrt(28000 / 4) = 84.
    np.testing.assert_allclose(on.sum(axis=0), [4000, 8000, 16_000], atol=4 * 84)
    # Moments of a uniform density within a face.
    top = points[on[:, 2]]
    np.testing.assert_allclose(top[:, :2].mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose(top[:, :2].std(axis=0), high[:2] / np.sqrt(3), rtol=0.02)


def test_near_surface_points_have_standard_deviation_sigma():
    # Above the middle of a large face, the distance from it is the noise in one coordinate.
    points = sample_near_surface(box((-1, -1, -1), (1, 1, 1)), 40_000, 0.05, rng())
    over_top = (abs(points[:, :2]) < 0.7).all(axis=1) & (points[:, 2] > 0.5)
    heights = points[over_top, 2] - 1
    assert heights.mean() == pytest.approx(0, abs=0.003)
    assert heights.std() == pytest.approx(0.05, rel=0.05)


def test_labels_match_the_stored_points_in_random_order(walking):
    codes, labels = sample_points(walking, Sample(near_surface=4000, uniform=1000), 1.28, rng())
    points = dequantise(codes)
    assert codes.shape == (5000, 3)
    np.testing.assert_array_equal(labels, Inside(walking)(points))
    assert 0.2 < labels.mean() < 0.6
    # The first half contains about half of the inside points (binomial sd below 36).
    assert abs(int(labels[:2500].sum()) - labels.sum() / 2) < 4 * 36


def test_uniform_points_fill_the_box(walking):
    codes, _ = sample_points(walking, Sample(near_surface=1, uniform=20_000), 1.28, rng())
    points = dequantise(codes)
    assert abs(points).max() <= 1.28 + 1e-4  # quantisation
    np.testing.assert_allclose(points.std(axis=0), 1.28 / np.sqrt(3), rtol=0.02)


def test_a_box_outside_the_codes_is_rejected(ball):
    with pytest.raises(AssertionError, match=r"codes only reach 2\.56 m"):
        sample_points(ball(0.5), Sample(), 3.0, rng())


def test_only_held_out_splits_have_a_grid(tiny):
    points = Shards(tiny / "points", "points")
    rows = points.read(range(len(points)), ["split", "grid"])
    assert {row["split"] for row in rows} == set(SPLITS)
    assert {row["split"] for row in rows if row["grid"] is not None} == set(HELD_OUT)
