import numpy as np
import pytest
import trimesh
from helpers.geometry import BOX, as_mesh, merged
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tpifu.body.skeleton import PARTS
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.nearest import Surface
from tpifu.geometry.sampling import point_on, stratified_samples
from tpifu.measures.points import point_metrics
from tpifu.measures.surfaces import (
    Comparison,
    compare,
    part_iou,
    part_metrics,
    part_of_points,
    surface_metrics,
    topology,
)


def compared(predicted: Surface, truth: Surface, count: int, rng) -> Comparison:
    """A comparison with `count` samples of each surface."""
    samples = [stratified_samples(surface.mesh, count, rng) for surface in (predicted, truth)]
    return compare(predicted, truth, *samples)


def shuffled(mesh: Mesh, rng) -> Mesh:
    """The same surface with shuffled vertices and faces, and rotated corners."""
    order = rng.permutation(len(mesh.vertices))
    faces = np.argsort(order)[rng.permutation(mesh.faces)]
    return Mesh(mesh.vertices[order], np.roll(faces, 1, axis=1).astype(np.int32))


def slow_distance(mesh, p):
    """Least distance to a face: to its plane if the projection is inside, or to its edges."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    normal = np.cross(b - a, c - a)
    within, best = np.ones(len(a), dtype=bool), np.inf
    for start, end in ((a, b), (b, c), (c, a)):
        along = end - start
        within &= (np.cross(along, p - start) * normal).sum(axis=1) > 0
        t = ((p - start) * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), 1e-300)
        on_edge = start + t.clip(0, 1)[:, None] * along
        best = min(best, np.linalg.norm(p - on_edge, axis=1).min())
    height = np.abs(((p - a) * normal).sum(axis=1))[within]
    return min(best, (height / np.linalg.norm(normal[within], axis=1)).min(initial=np.inf))


def check_nearest(mesh, points, nearest):
    """Check distances against the slow loop, and that the points lie on their faces."""
    expected = [slow_distance(mesh, p) for p in points.astype(np.float64)]
    np.testing.assert_allclose(nearest.distance, expected, atol=1e-9)
    away = np.linalg.norm(nearest.points - points, axis=1)
    np.testing.assert_allclose(away, nearest.distance, atol=1e-9)
    np.testing.assert_array_equal(nearest.points, point_on(mesh, nearest.faces, nearest.weights))
    assert (nearest.weights > -1e-12).all()
    np.testing.assert_allclose(nearest.weights.sum(axis=1), 1, atol=1e-12)


grid = st.integers(-3, 3).map(float)  # a coarse grid gives ties, needles and degenerate faces


@given(arrays(np.float32, st.tuples(st.integers(1, 9), st.just(3), st.just(3)), elements=grid))
def test_nearest_is_exact_on_any_soup_of_triangles(corners):
    mesh = Mesh(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3))
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-4, 4, (4, 3)), rng.integers(-4, 5, (4, 3))])
    check_nearest(mesh, points, Surface(mesh).nearest(points))


@pytest.mark.parametrize("sigma", [0, 0.03, 1])
def test_nearest_is_exact_on_a_body(walking, sigma):
    rng = np.random.default_rng(1)
    points = stratified_samples(walking, 40, rng).points + rng.normal(size=(40, 3)) * sigma
    check_nearest(walking, points, Surface(walking).nearest(points))


def test_nearest_is_exact_for_faces_of_very_different_sizes(ball):
    floor = as_mesh(BOX.copy().apply_scale(50).apply_translation((0, -46.3, 0)))
    mesh = merged(as_mesh(trimesh.creation.icosphere(subdivisions=2, radius=1.0)), floor)
    points = np.random.default_rng(2).uniform(-2, 2, (30, 3))
    nearest = Surface(mesh).nearest(points)
    check_nearest(mesh, points, nearest)
    on_floor = nearest.faces >= len(mesh.faces) - 12
    assert 0 < on_floor.sum() < 30


def test_points_with_many_candidate_faces_are_split_into_batches(ball, monkeypatch):
    # Near the centre of a sphere no face can be excluded: 50 * 5,120 pairs.
    mesh, points = ball(1.0), np.random.default_rng(3).normal(size=(50, 3)) * 1e-3
    at_once = Surface(mesh).nearest(points)
    monkeypatch.setattr("tpifu.geometry.nearest._PAIRS", 2000)
    batches = Surface(mesh).nearest(points)
    np.testing.assert_array_equal(batches.distance, at_once.distance)
    np.testing.assert_array_equal(batches.faces, at_once.faces)
    monkeypatch.setattr("tpifu.geometry.nearest._CHUNK", 7)
    np.testing.assert_array_equal(Surface(mesh).nearest(points).distance, at_once.distance)
    assert len(Surface(mesh).nearest(points[:0]).distance) == 0


def test_nearest_does_not_depend_on_face_order(walking):
    rng = np.random.default_rng(4)
    points = stratified_samples(walking, 1000, rng).points + rng.normal(size=(1000, 3)) * 0.03
    one, other = (Surface(m).nearest(points) for m in (walking, shuffled(walking, rng)))
    # Edges and corners are often nearest; several faces then tie.
    assert (one.weights.min(axis=1) < 1e-9).mean() > 0.2
    np.testing.assert_allclose(one.distance, other.distance, atol=1e-12)
    np.testing.assert_allclose(one.normals, other.normals, atol=1e-9)


def test_at_an_edge_the_face_most_towards_the_point_is_chosen():
    # The edge x = 0.2, z = 0.1 of the box is nearest to both points.
    points = np.array([[0.2 + 0.5, 0.3, 0.1 + 0.2], [0.2 + 0.2, 0.3, 0.1 + 0.5]])
    nearest = Surface(as_mesh(BOX)).nearest(points)
    np.testing.assert_allclose(nearest.points, [[0.2, 0.3, 0.1]] * 2, atol=1e-7)
    np.testing.assert_array_equal(nearest.normals, [[1, 0, 0], [0, 0, 1]])


def test_points_on_a_needle_have_distance_0():
    # With aspect ratio 1e5, the normal equations would misplace the projection by 4e-7 m.
    corners = np.array([[0, 0, 0], [0.7, 0.1, 0.3], [0.35, 0.05 + 1e-5, 0.15]], np.float32)
    needle = Mesh(corners, np.array([[0, 1, 2]]))
    points = stratified_samples(needle, 500, np.random.default_rng(0)).points
    np.testing.assert_allclose(Surface(needle).nearest(points).distance, 0, atol=1e-11)


def test_stratified_samples_are_uniform_by_area():
    mesh = as_mesh(BOX)
    on = stratified_samples(mesh, 6000, np.random.default_rng(0))
    np.testing.assert_allclose(Surface(mesh).nearest(on.points).distance, 0, atol=1e-12)
    np.testing.assert_array_equal(on.points, point_on(mesh, on.faces, on.weights))
    np.testing.assert_allclose(on.normals, BOX.face_normals[on.faces], atol=1e-6)
    share = np.bincount(on.faces, minlength=12) / 6000
    np.testing.assert_allclose(share, BOX.area_faces / BOX.area, atol=2 / 6000)
    # Within a triangle each weight has mean 1/3 and mean square 1/6.
    np.testing.assert_allclose(on.weights.mean(axis=0), 1 / 3, atol=0.015)
    np.testing.assert_allclose((on.weights**2).mean(axis=0), 1 / 6, atol=0.015)


def test_faces_without_area_are_not_sampled(ball):
    mesh = ball(1.0)
    mesh = Mesh(mesh.vertices, np.concatenate([[[0, 0, 1]], mesh.faces, [[2, 3, 3]]]))
    faces = stratified_samples(mesh, 20_000, np.random.default_rng(0)).faces
    assert faces.min() == 1
    assert faces.max() == len(mesh.faces) - 2


def test_equal_surfaces_have_distance_0(squatting):
    rng = np.random.default_rng(0)
    body = Surface(squatting)
    found = surface_metrics(compared(body, Surface(shuffled(squatting, rng)), 2000, rng))
    for key in ("p2s_cm", "completeness_cm", "chamfer_cm"):
        assert found.pop(key) == pytest.approx(0, abs=1e-10)
    assert found.keys() == {"normal_consistency", "f_1cm", "f_2cm", "f_5cm"}
    assert list(found.values()) == pytest.approx([1, 1, 1, 1])


def test_concentric_spheres(ball):
    # 3 cm apart; the polyhedra deviate from spheres by 0.3 % of the radius.
    found = surface_metrics(
        compared(Surface(ball(0.5)), Surface(ball(0.53)), 2000, np.random.default_rng(0))
    )
    for key in ("p2s_cm", "completeness_cm", "chamfer_cm"):
        assert found[key] == pytest.approx(3, abs=0.05)
    assert found["normal_consistency"] == pytest.approx(1, abs=2e-3)
    assert (found["f_1cm"], found["f_2cm"], found["f_5cm"]) == (0, 0, 1)


def test_a_missing_half_affects_completeness_but_not_p2s():
    # A plate of 1 m x 1 m and its left half. The right half has a mean distance of 0.25 m, and a
    # strip of 5 cm is within 5 cm: precision 1, recall 0.55.
    plate = Mesh(
        np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32),
        np.array([[0, 1, 2], [0, 2, 3]]),
    )
    half = Mesh(plate.vertices * np.float32([0.5, 1, 1]), plate.faces)
    found = surface_metrics(
        compared(Surface(half), Surface(plate), 20_000, np.random.default_rng(0))
    )
    assert found["p2s_cm"] == pytest.approx(0, abs=1e-10)
    assert found["completeness_cm"] == pytest.approx(12.5, rel=0.02)
    assert found["chamfer_cm"] == pytest.approx(found["completeness_cm"] / 2)
    assert found["f_5cm"] == pytest.approx(2 * 0.55 / 1.55, abs=0.01)


def test_normal_consistency_ignores_the_sign(ball):
    sphere = ball(0.5)
    inside_out = Surface(Mesh(sphere.vertices, sphere.faces[:, ::-1]))
    found = surface_metrics(compared(inside_out, Surface(sphere), 500, np.random.default_rng(0)))
    assert found["normal_consistency"] == pytest.approx(1)


def two_balls(ball, gap=0.0):
    """A head, feet 1 m + `gap` below it, and the part of each vertex."""
    head, feet = ball(0.2, (0, 0.5, 0)), ball(0.2, (0, -0.5 - gap, 0))
    return merged(head, feet), np.repeat(
        [PARTS.index("head"), PARTS.index("feet")], len(head.vertices)
    )


def test_part_metrics_assign_errors_to_their_part(ball):
    truth, part_of_vertex = two_balls(ball)
    predicted, _ = two_balls(ball, gap=0.04)
    comparison = compared(Surface(predicted), Surface(truth), 4000, np.random.default_rng(0))
    found = part_metrics(comparison, part_of_vertex)
    assert found["p2s_cm_head"] == pytest.approx(0, abs=1e-10)
    assert found["completeness_cm_head"] == pytest.approx(0, abs=1e-10)
    # A sphere moved by d has the mean distance d mean(|cos|) = d / 2.
    assert found["p2s_cm_feet"] == pytest.approx(2, rel=0.1)
    assert found["completeness_cm_feet"] == pytest.approx(2, rel=0.1)
    # Half of the points belong to the head.
    whole = surface_metrics(comparison)
    assert whole["p2s_cm"] == pytest.approx(found["p2s_cm_feet"] / 2, rel=0.01)
    for part in ("torso", "arms", "hands", "legs"):
        assert np.isnan(found[f"p2s_cm_{part}"])
        assert np.isnan(found[f"completeness_cm_{part}"])


def test_a_point_belongs_to_the_part_of_the_vertex_with_most_weight():
    triangle = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32), np.array([[0, 1, 2]]))
    points = np.array([[0.1, 0.1, 5], [0.8, 0.1, -1], [-1, 3, 0], [0.4, 0.35, 0]])
    # The weights of the last point are 0.25, 0.4 and 0.35.
    part = part_of_points(points, Surface(triangle), np.array([3, 4, 5]))
    np.testing.assert_array_equal(part, [3, 4, 5, 4])


def test_part_iou_uses_the_points_of_the_part_only():
    rng = np.random.default_rng(0)
    occupancy, labels = rng.random(200).astype(np.float32), rng.random(200) < 0.5
    part = rng.choice([0, 2, 5], 200)
    found = part_iou(occupancy, labels, part)
    assert list(found) == [f"iou_{name}" for name in PARTS]
    for index in (0, 2, 5):
        own = point_metrics(occupancy[part == index], labels[part == index])["iou"]
        assert found[f"iou_{PARTS[index]}"] == own
    assert all(np.isnan(found[f"iou_{name}"]) for name in ("torso", "hands", "legs"))


def torus(centre=(0.0, 0.0, 0.0)) -> Mesh:
    return as_mesh(trimesh.creation.torus(0.5, 0.2).apply_translation(centre))


def test_topology_counts_components_and_handles(ball, walking):
    assert topology(ball(1.0)) == {"components": 1, "genus": 0, "closed": 1}
    assert topology(walking) == {"components": 1, "genus": 0, "closed": 1}
    assert topology(torus()) == {"components": 1, "genus": 1, "closed": 1}
    two = merged(ball(1.0), ball(1.0, (3, 0, 0)))
    assert topology(two) == {"components": 2, "genus": 0, "closed": 1}
    many = shuffled(merged(torus(), ball(0.1), torus((5, 0, 0))), np.random.default_rng(0))
    unused = np.concatenate([many.vertices, [[9, 9, 9]]]).astype(np.float32)
    assert topology(Mesh(unused, many.faces)) == {"components": 3, "genus": 2, "closed": 1}


def test_an_open_surface_has_no_genus(ball):
    sphere = ball(1.0)
    found = topology(merged(Mesh(sphere.vertices, sphere.faces[1:]), ball(0.2)))
    assert (found["components"], found["closed"]) == (2, 0)
    assert np.isnan(found["genus"])


def test_sheets_that_touch_in_one_vertex_are_separate(ball):
    # Two tetrahedra share vertex 0; a pinched sphere has two identical vertices.
    lower = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    upper = np.where(lower == 0, 0, lower + 3)
    tetrahedra = Mesh(np.eye(7, 3, dtype=np.float32), np.concatenate([lower, upper]))
    assert topology(tetrahedra) == {"components": 2, "genus": 0, "closed": 1}
    sphere = ball(1.0)
    north, south = sphere.vertices[:, 1].argmax(), sphere.vertices[:, 1].argmin()
    pinched = np.where(sphere.faces == south, north, sphere.faces)
    assert topology(Mesh(sphere.vertices, pinched)) == {"components": 1, "genus": 0, "closed": 1}
