from typing import get_args

import numpy as np
import pytest

from tpifu.config import LightKind, Render
from tpifu.geometry.camera import calibration
from tpifu.prepare.views import write_views
from tpifu.render.light import (
    CONSTANT,
    draw_environment,
    harmonics,
    hemisphere,
    image_light,
    irradiance,
    surface_grey,
)
from tpifu.render.render import render, shade
from tpifu.shards.coding import decode_png
from tpifu.shards.reader import Shards
from tpifu.shards.schema import item_seed

MIRROR = np.array([1, 1, 1, -1, -1, 1, 1, -1, 1])
"""Mirroring x changes the sign of the harmonics that are odd in x: x, xy and xz."""


def sphere(count: int) -> np.ndarray:
    half = hemisphere(count // 2)
    return np.concatenate([half, -half])


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return np.stack([draw_environment(np.random.default_rng([7, n])) for n in range(4000)])


def test_harmonics_are_orthonormal():
    basis = harmonics(sphere(20_000))
    np.testing.assert_allclose(4 * np.pi * basis.T @ basis / len(basis), np.eye(9), atol=1e-3)


def test_irradiance_is_the_integral_of_radiance_over_the_hemisphere():
    directions = sphere(20_000)
    rng = np.random.default_rng(0)
    for _ in range(3):
        environment = draw_environment(rng)
        normals = rng.normal(size=(20, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        radiance = harmonics(directions) @ environment
        slow = [
            4 * np.pi * np.mean(radiance * np.maximum(0, directions @ normal)) for normal in normals
        ]
        np.testing.assert_allclose(irradiance(environment, normals), slow, rtol=2e-3)


def test_environments_have_the_statistics_of_pifus_lights(drawn):
    # Measured on the 240 lights of PIFu's render script, without colour.
    linear = drawn[:, [3, 1, 2]]  # x, y, z
    size = np.linalg.norm(linear, axis=1)
    assert np.median(size / drawn[:, 0]) == pytest.approx(0.43, abs=0.01)
    direction = linear / size[:, None]
    np.testing.assert_allclose(abs(direction).mean(axis=0), [0.47, 0.37, 0.65], atol=0.02)
    np.testing.assert_allclose((direction > 0).mean(axis=0)[1:], [0.64, 0.97], atol=0.03)


def test_left_and_right_are_equally_likely(drawn):
    # Greys of mirrored normals must have the same distribution, because training mirrors images.
    normals = hemisphere(12)
    greys, mirrored = (harmonics(n) @ drawn.T for n in (normals, normals * [-1, 1, 1]))
    for one, other in zip(np.sort(greys), np.sort(mirrored), strict=True):
        # Kolmogorov-Smirnov: equal distributions exceed 1.95 sqrt(2 / n) once in 1,000 draws.
        ranks = np.searchsorted(other, one) - np.arange(len(one))
        assert abs(ranks).max() / len(one) < 1.95 * np.sqrt(2 / len(one))
    assert abs((drawn * MIRROR - drawn).mean(axis=0)).max() < 0.03
    assert not np.allclose(CONSTANT["fixed"] * MIRROR, CONSTANT["fixed"], atol=0.1)


def test_the_brightest_normal_facing_the_camera_is_white(drawn):
    facing = hemisphere(3000)
    for environment in (*CONSTANT.values(), *drawn[:50]):
        brightest = irradiance(environment, facing).max() / np.pi
        assert brightest == pytest.approx(1, abs=4e-3)  # less than a grey level
    greys = surface_grey(CONSTANT["fixed"], sphere(2000))
    assert 0 <= greys.min() < 0.5
    assert greys.max() == pytest.approx(1, abs=4e-3)  # less than a grey level


def test_the_fixed_light_comes_from_the_upper_left():
    normals = np.array([[x, y, 1.0] for x, y in ((-1, 1), (1, 1), (-1, -1), (1, -1))]) / 3**0.5
    greys = surface_grey(CONSTANT["fixed"], normals)
    assert greys[0] > greys[1] > greys[3]
    assert greys[0] > greys[2] > greys[3]


def test_the_uniform_light_shows_the_silhouette_alone():
    normals = np.random.default_rng(0).normal(size=(100, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(surface_grey(CONSTANT["uniform"], normals), 1)


def test_lights_depend_on_the_parts_of_the_key_that_their_kind_names():
    def same(kind, **changed):
        item = {"seed": 0, "clip": "walk", "frame": 0, "view": 0}
        return np.array_equal(image_light(kind, **item), image_light(kind, **item | changed))

    assert same("environment")
    for changed in ({"frame": 1}, {"view": 1}, {"clip": "run"}, {"seed": 1}):
        assert not same("environment", **changed)
        assert same("environment_clip", **changed) == ("frame" in changed)
        assert same("fixed", **changed)
    assert image_light("camera", 0, "walk", 0, 0) is None


def test_lights_do_not_share_the_random_numbers_of_points():
    points = draw_environment(np.random.default_rng(item_seed(0, "walk", 0)))
    assert not np.allclose(image_light("environment", 0, "walk", 0, 0), points)


def test_lights_are_fixed_relative_to_the_camera(ball):
    calibs = np.stack([calibration(yaw, 2.56) for yaw in (0.0, 130.0)])
    sphere_mesh = ball(0.9)
    values = shade(sphere_mesh, calibs, [CONSTANT["fixed"], CONSTANT["fixed"]])
    one, other = render(sphere_mesh, calibs, 64, "embree", values)[..., 0].astype(int)
    assert abs(one - other).max() <= 6  # the facets rotate


@pytest.mark.parametrize("kind", get_args(LightKind))
def test_stored_images_have_the_configured_light(tiny, tmp_path, kind):
    config = Render(size=32, views=2, light=kind, occlusion=8)
    folders = [tmp_path / name for name in ("one", "other", "reseeded")]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        write_views(
            tiny / "meshes", folder, config, window=2.56, seed=seed, backend="embree", jobs=1
        )
    one, other, reseeded = (Shards(folder, "views") for folder in folders)
    assert (one.metadata["light"], one.metadata["occlusion"], one.metadata["seed"]) == (kind, 8, 0)

    def images(stored):
        return np.stack(
            [decode_png(row["image"]) for row in stored.read(range(len(stored)), ["image"])]
        )

    np.testing.assert_array_equal(images(one), images(other))
    random = kind.startswith("environment")
    assert np.array_equal(images(one), images(reseeded)) != random
    assert np.array_equal(images(one)[..., 1], images(reseeded)[..., 1])
