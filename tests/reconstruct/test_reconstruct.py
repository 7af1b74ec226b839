import os
from itertools import product

import numpy as np
import pytest
import torch
import trimesh
from scipy.ndimage import label

from tpifu.errors import DataError
from tpifu.geometry.grid import cell_centres
from tpifu.geometry.mesh import Mesh, largest_component, watertight_error
from tpifu.geometry.mesh_files import save_mesh
from tpifu.reconstruct.grid import evaluate_grid
from tpifu.reconstruct.surface import EmptyField, extract_surface, reconstruct_mesh

HALF = 1.28


def capsules(ends, radii, softness=0.01):
    """Occupancy of a union of capsules: `ends` (n, 2, 3) and `radii` (n,), metres."""
    a, b = torch.tensor(np.array(ends), dtype=torch.float32).unbind(1)
    radii = torch.tensor(radii, dtype=torch.float32)

    def field(points):
        along = b - a
        t = ((points[:, None] - a) * along).sum(-1) / (along * along).sum(-1).clamp(min=1e-12)
        nearest = a + t.clamp(0, 1)[..., None] * along
        depth = radii - (points[:, None] - nearest).norm(dim=-1)
        return torch.sigmoid(depth.amax(dim=1) / softness)

    return field


def ball(centre, radius):
    return capsules([[centre, centre]], [radius])


# A person with arms of 3 cm radius: torso, arms, legs, head.
BODY = capsules(
    [
        [[0, -0.1, 0], [0, 0.4, 0]],
        [[0.1, 0.4, 0], [0.8, 0.47, 0.13]],
        [[-0.1, 0.4, 0], [-0.71, 0.22, 0.33]],
        [[0.1, -0.1, 0], [0.15, -0.9, 0.1]],
        [[-0.1, -0.1, 0], [-0.3, -0.87, -0.2]],
        [[0, 0.4, 0], [0, 0.67, 0.05]],
    ],
    [0.12, 0.03, 0.03, 0.06, 0.06, 0.09],
)


def blobs(seed):
    """Smooth bumps around the middle of the box, some of them holes; values beyond [0, 1]."""
    rng = np.random.default_rng(seed)
    centres = torch.tensor(rng.uniform(-0.6, 0.6, (12, 3)), dtype=torch.float32)
    heights = torch.tensor(rng.uniform(-1, 1.5, 12), dtype=torch.float32)
    return lambda points: (
        heights * torch.exp(-((points[:, None] - centres) ** 2).sum(-1) / 0.09)
    ).sum(dim=1)


class Counted:
    def __init__(self, field):
        self.field, self.points = field, 0

    def __call__(self, points):
        self.points += len(points)
        return self.field(points)


def evaluate_dense(field, resolution, half):
    """The slow reference: the field at every cell centre, in the order x, y, z."""
    centres = torch.from_numpy(cell_centres(resolution, half).astype(np.float32))
    return field(torch.cartesian_prod(centres, centres, centres)).numpy().reshape([resolution] * 3)


FIELDS = {
    "ball": ball([0.1, -0.2, 0.3], 0.63),
    "touching": ball([0.9, -0.9, 0.3], 0.7),
    "blobs0": blobs(0),
    "blobs1": blobs(1),
    "blobs2": blobs(2),
    "hollow": lambda points: torch.sigmoid((0.1 - (points.norm(dim=1) - 0.9).abs()) / 0.01),
    "half": lambda points: torch.sigmoid((points @ torch.tensor([0.3, 0.8, 0.5]) - 0.1) / 0.05),
    "empty": lambda points: torch.zeros(len(points)),
    "full": lambda points: torch.ones(len(points)),
}


@pytest.mark.parametrize(
    ("name", "resolution", "level"),
    [
        *product(FIELDS, [2, 3, 16, 33, 47, 64], [0.5]),
        *product(["blobs2", "hollow", "half"], [33], [0.3, 0.7]),
    ],
)
def test_coarse_to_fine_equals_dense(name, resolution, level, monkeypatch):
    monkeypatch.setattr("tpifu.reconstruct.grid.CHUNK", 10_000)
    dense = evaluate_dense(FIELDS[name], resolution, HALF)
    grid = evaluate_grid(FIELDS[name], resolution, HALF, level=level, start=8)
    assert grid.shape == (resolution,) * 3
    np.testing.assert_array_equal(grid > level, dense > level)
    # Not only the signs agree: the surfaces are equal, except for the last bit of values computed
    # in different batches.
    if 0 < (dense > level).mean() < 1:
        mesh, expected = (extract_surface(values, HALF, level) for values in (grid, dense))
        np.testing.assert_allclose(mesh.vertices, expected.vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, expected.faces)


def test_thin_limbs_are_found_from_few_points():
    dense = evaluate_dense(BODY, 128, HALF)
    for start, share in ((16, 0.025), (32, 0.04)):
        field = Counted(BODY)
        grid = evaluate_grid(field, 128, HALF, start=start)
        np.testing.assert_array_equal(grid > 0.5, dense > 0.5)
        # 17^3 or 33^3 points (0.2 or 1.7 % of 128^3), plus the points around the surface.
        assert field.points < share * 128**3


@pytest.mark.parametrize("resolution", [16, 31, 33, 47])
def test_only_detached_parts_between_the_first_points_differ_from_dense(resolution):
    # Grids so coarse that the arms fall apart into separate cells.
    dense = evaluate_dense(BODY, resolution, HALF) > 0.5
    grid = evaluate_grid(BODY, resolution, HALF, start=8) > 0.5
    stride = {16: 2, 31: 2, 33: 4, 47: 4}[resolution]  # the widest with 8 intervals or more
    first = np.union1d(np.arange(0, resolution, stride), [resolution - 1])
    for side in (dense, ~dense):
        part, _ = label(side, structure=np.ones((3, 3, 3)))
        seen = np.isin(part, part[np.ix_(first, first, first)]) & side
        np.testing.assert_array_equal(grid[seen], dense[seen])
        assert seen.any()


@pytest.mark.parametrize("seed", range(6))
def test_detached_parts_wider_than_the_first_lattice_cannot_hide(seed):
    # Intervals of 16 cm. A line comes within 0.71 of them to a lattice point, a point within 0.87.
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-0.4, 0.4, 3)
    direction = rng.normal(size=3) if seed else np.array([0, 0, 1.0])
    reach = 0.5 * direction / np.linalg.norm(direction)
    limb = capsules([[middle - reach, middle + reach]], [0.71 * 0.16])
    for field in (limb, ball(middle, 0.87 * 0.16)):
        dense = evaluate_dense(field, 64, HALF)
        np.testing.assert_array_equal(evaluate_grid(field, 64, HALF, start=16) > 0.5, dense > 0.5)


def test_a_limb_that_every_coarse_point_misses_is_followed_from_the_body():
    # Points of the first lattice (stride 8 of 64) sit at centres[::8]; the limb runs between them.
    centres = cell_centres(64, HALF)
    x, y = (centres[32] + centres[40]) / 2, (centres[32] + centres[40]) / 2
    limb = [[x, y, -0.3], [x, y, 1.1]]
    field = capsules([[[x, y, -0.4], [x, y, -0.6]], limb], [0.3, 0.03])
    dense = evaluate_dense(field, 64, HALF)
    assert (dense[::8, ::8, 40::8] < 0.5).all()
    np.testing.assert_array_equal(evaluate_grid(field, 64, HALF, start=8) > 0.5, dense > 0.5)


def test_surface_lies_where_the_field_says_in_metres():
    centre, radius = [0.3, -0.2, 0.1], 0.6
    mesh = extract_surface(evaluate_grid(ball(centre, radius), 96, HALF), HALF)
    assert watertight_error(mesh.faces) is None
    assert np.abs(np.linalg.norm(mesh.vertices - centre, axis=1) - radius).max() < 0.003
    # Positive: faces are counter-clockwise seen from outside.
    assert mesh.trimesh().volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.005)


@pytest.mark.parametrize("level", [0.3, 0.5, 0.7])
def test_mesh_closes_at_the_walls_of_the_box(level):
    grid = np.zeros((8, 8, 8), dtype=np.float32)
    grid[:, :, :4] = 1
    grid[:, :, 4:] = 2 * level - 1
    mesh = extract_surface(grid, 1.0, level)
    assert watertight_error(mesh.faces) is None
    # Occupancy 1 is cut exactly at the wall, and half-way between a cell of 1 and one as
    # far below the level.
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-1, -1, -1], atol=1e-6)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 4, 1000])
def test_any_grid_gives_a_closed_outward_mesh(steps):
    # steps: values are multiples of 1/steps, so that they tie with the level and with each other.
    rng = np.random.default_rng(steps)
    for size in range(2, 12):
        grid = (np.round(rng.random((size,) * 3) * steps) / steps).astype(np.float32)
        grid.flat[0], grid.flat[-1] = 1, 0
        mesh = extract_surface(grid, 1.0)
        assert watertight_error(mesh.faces) is None
        assert mesh.trimesh().volume > 0
        assert len(np.unique(mesh.faces)) == len(mesh.vertices)


@pytest.mark.parametrize(("value", "word"), [(0.5, "nothing inside"), (0.7, "nothing outside")])
def test_a_field_without_surface_says_so_in_one_line(value, word):
    with pytest.raises(EmptyField, match=word) as caught:
        extract_surface(np.full((4, 4, 4), value, dtype=np.float32), HALF)
    assert isinstance(caught.value, DataError)
    assert f"{value:g}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reconstruction_is_the_largest_part_alone():
    small, large = ball([-0.6, 0, 0], 0.3), ball([0.5, 0.1, 0], 0.5)
    kept = reconstruct_mesh(lambda p: torch.maximum(small(p), large(p)), 48, HALF, 0.5, start=24)
    alone = extract_surface(evaluate_dense(large, 48, HALF), HALF)
    assert kept.trimesh().volume == pytest.approx(alone.trimesh().volume, rel=1e-4)
    assert len(kept.vertices) == len(alone.vertices)
    assert watertight_error(kept.faces) is None
    again = largest_component(kept)
    np.testing.assert_array_equal(again.vertices, kept.vertices)
    np.testing.assert_array_equal(again.faces, kept.faces)


TETRAHEDRON = Mesh(
    vertices=np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], dtype=np.float32),
    faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=np.int32),
)


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl", ".OBJ"])
def test_saved_mesh_is_read_back_and_written_twice_is_equal(tmp_path, suffix):
    for name in ("one", "two"):
        save_mesh(TETRAHEDRON, tmp_path / "new" / f"{name}{suffix}")
    one, two = (tmp_path / "new" / f"{name}{suffix}" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    loaded = trimesh.load(one, force="mesh")
    assert loaded.volume == pytest.approx(1.0)  # 1 * 2 * 3 / 6
    np.testing.assert_allclose(loaded.bounds, [[0, 0, 0], [1, 2, 3]], atol=1e-6)
    assert sorted(path.name for path in one.parent.iterdir()) == sorted([one.name, two.name])


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "body.ply"
    path.write_text("old")

    def interrupted(source, target):
        assert target == path
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_mesh(TETRAHEDRON, path)
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", ["body.fbx", "body"])
def test_an_unknown_suffix_names_the_known_ones(tmp_path, name):
    with pytest.raises(DataError, match=r"\.glb, \.obj, \.ply, \.stl"):
        save_mesh(TETRAHEDRON, tmp_path / name)
    assert not list(tmp_path.iterdir())
