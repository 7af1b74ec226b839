from functools import partial

import numpy as np
import pytest
import torch
from helpers.geometry import unproject
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

from tpifu.config import Train
from tpifu.dataset.augment import augmented, margin_of, mirrored, scaled, shifted
from tpifu.geometry.camera import calibration, ndc_to_pixel, pixel_centres, project
from tpifu.model.pifu import network_input

SIZE, PAD = 24, 48
CALIB = calibration(30.0, 2.56)
FACTORS = st.floats(0.6, 1.6)


@st.composite
def pictures(draw, least_margin=0):
    """Two images with a body of random colours and soft edges somewhere in an empty background."""
    channels = draw(st.sampled_from([2, 4]))
    images = np.zeros((2, SIZE, SIZE, channels), np.uint8)
    for image in images:
        left, top = (draw(st.integers(least_margin, SIZE - 2 - least_margin)) for _ in "xy")
        right, bottom = (draw(st.integers(low + 1, SIZE - least_margin)) for low in (left, top))
        shape = (bottom - top, right - left, channels)
        image[top:bottom, left:right] = draw(arrays(np.uint8, shape, fill=st.just(200)))
        image[top:bottom, left:right, -1] |= 1
    return images


def pixels_at(points, calib, images):
    """The pixels that `points` project to; 0 outside the images."""
    pixels = ndc_to_pixel(project(calib.astype(float), points), SIZE, SIZE)
    u, v = np.floor(pixels).astype(int).T
    within = (u >= 0) & (u < SIZE) & (v >= 0) & (v < SIZE)
    seen = np.zeros((len(images), len(points), images.shape[-1]), images.dtype)
    seen[:, within] = images[:, v[within], u[within]]
    return seen


def world_of_pixels(z=0.3):
    """A world point at the centre of each pixel."""
    ndc = np.concatenate([pixel_centres(SIZE, SIZE), np.full((SIZE * SIZE, 1), z)], axis=1)
    return unproject(CALIB.astype(float), ndc)


@given(pictures())
def test_a_mirrored_camera_projects_each_point_onto_its_pixel(images):
    points = world_of_pixels()
    other, calib = mirrored(images, CALIB)
    np.testing.assert_array_equal(pixels_at(points, calib, other), pixels_at(points, CALIB, images))
    np.testing.assert_array_equal(project(calib, points)[:, 1:], project(CALIB, points)[:, 1:])
    assert not np.array_equal(calib, CALIB)
    back, again = mirrored(other, calib)
    np.testing.assert_array_equal(back, images)
    np.testing.assert_array_equal(again, CALIB)


@given(pictures(least_margin=3), st.integers(-3, 3), st.integers(-3, 3))
def test_a_shifted_camera_projects_each_point_onto_its_pixel(images, right, up):
    points = world_of_pixels()
    other, calib = shifted(images, CALIB, right, up)
    np.testing.assert_array_equal(pixels_at(points, calib, other), pixels_at(points, CALIB, images))
    moved = project(calib, points) - project(CALIB, points)
    # 24 pixels are 2 ndc wide.
    np.testing.assert_allclose(
        moved, np.broadcast_to([right / 12, up / 12, 0], moved.shape), atol=1e-6
    )
    change = margin_of(other) - margin_of(images)
    assert change.tolist() == [right, -right, -up, up]


def test_pixels_shifted_in_from_outside_are_empty():
    images = np.full((1, SIZE, SIZE, 2), 9, np.uint8)
    moved, _ = shifted(images, CALIB, 5, -2)
    assert margin_of(images).tolist() == [0, 0, 0, 0]
    assert margin_of(moved).tolist() == [5, 0, 2, 0]


@settings(deadline=None)  # torch's first call takes long
@given(pictures(), FACTORS)
def test_scaling_interpolates_the_networks_input(images, factor):
    """Equals torch's interpolation, without a halo at the outline."""
    other, calib = scaled(images, CALIB, factor)
    np.testing.assert_allclose(calib, CALIB * factor, rtol=1e-6)  # depth too
    theta = torch.tensor([[1 / factor, 0.0, 0.0], [0.0, 1 / factor, 0.0]]).expand(2, 2, 3)
    grid = F.affine_grid(theta, [2, 3, SIZE, SIZE], align_corners=False)
    # Within a pixel of the image's edge, Pillow repeats the edge. The body never reaches the edge.
    expected = F.grid_sample(
        network_input(torch.from_numpy(images)), grid, align_corners=False, padding_mode="border"
    )
    expected *= ((grid.abs() <= 1).all(dim=-1))[:, None]
    found = network_input(torch.from_numpy(other))
    # Grey and mask are rounded down to 8 bits four times.
    torch.testing.assert_close(found, expected, atol=6 / 255, rtol=0)


@given(st.tuples(FACTORS, st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)))
def test_a_scaled_camera_projects_a_spot_within_a_pixel(drawn):
    factor, x, y = drawn
    ndc = np.array([[x, y, 0.2]])
    images = np.zeros((1, SIZE, SIZE, 2), np.uint8)
    u, v = np.floor(ndc_to_pixel(ndc, SIZE, SIZE)[0]).astype(int)
    images[0, v, u] = 255
    other, calib = scaled(images, CALIB, factor)
    weight = other[0, :, :, 1].astype(float)
    centre = (weight.ravel() @ pixel_centres(SIZE, SIZE)) / weight.sum()
    point = unproject(CALIB.astype(float), ndc)
    away = (project(calib, point)[0, :2] - centre) * SIZE / 2
    assert np.abs(away).max() < 1


def split_canvas(images, calib):
    """The images on a large canvas, transformed by `calib`: the parts outside and inside the
    image."""
    canvas = np.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))
    factor = float(np.linalg.norm(calib[1, :3]) / np.linalg.norm(CALIB[1, :3]))
    if calib[0, 0] < 0:
        canvas, _ = mirrored(canvas, CALIB)
    if abs(factor - 1) > 1e-6:
        canvas, _ = scaled(canvas, CALIB, factor)
    right, up = (round(float(t) * SIZE / 2) for t in calib[:2, 3])
    canvas, _ = shifted(canvas, CALIB, right, up)
    within = canvas[:, PAD:-PAD, PAD:-PAD].copy()
    canvas[:, PAD:-PAD, PAD:-PAD] = 0
    return canvas, within


@given(
    pictures(),
    st.builds(Train, flip=st.just(0.5), scale=st.floats(0, 0.9), shift=st.floats(0, 1)),
    st.integers(0, 99),
)
def test_the_body_stays_in_the_image(images, how, seed):
    margin = margin_of(images)
    other, calib = augmented(images, CALIB, lambda: margin, how, np.random.default_rng(seed))
    beyond, within = split_canvas(images, calib)
    assert beyond[..., -1].max() <= 1  # the factor is known to single precision
    if margin.min() == 0:
        # The image may crop the body.
        assert np.array_equal(np.abs(calib), np.abs(CALIB))
    if not how.scale:
        np.testing.assert_array_equal(other, within)


def test_a_scaled_body_reaches_every_edge_and_never_crosses_it():
    images = np.zeros((1, SIZE, SIZE, 2), np.uint8)
    images[0, 6:20, 8:18] = 255
    how = Train(flip=0.5, scale=0.5, shift=1.0)
    reached = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        other, calib = augmented(images, CALIB, partial(margin_of, images), how, rng)
        beyond, _ = split_canvas(images, calib)
        assert beyond[..., -1].max() <= 1
        reached |= set(np.flatnonzero(margin_of(other) == 0).tolist())
    assert reached == {0, 1, 2, 3}  # left, right, upper and lower edge


def test_changes_have_the_configured_frequency_and_range():
    images = np.zeros((1, SIZE, SIZE, 2), np.uint8)
    images[0, 8:20, 10:18] = 255
    margin = margin_of(images)
    assert margin.tolist() == [10, 6, 8, 4]
    found = {}
    for name, how in {
        "flip": Train(flip=0.3),
        "scale": Train(scale=0.2),
        "shift": Train(shift=0.5),
    }.items():
        found[name] = np.stack(
            [
                augmented(images, CALIB, lambda: margin, how, np.random.default_rng(seed))[1]
                for seed in range(600)
            ]
        )
    share = (found["flip"][:, 0, 0] < 0).mean()
    assert share == pytest.approx(0.3, abs=0.06)  # three standard errors
    factor = found["scale"][:, 1, 1] / CALIB[1, 1]
    assert (factor.min(), factor.max()) == pytest.approx((0.8, 1.2), abs=0.01)
    right, up = found["shift"][:, :2, 3].T * SIZE / 2
    assert (right.min(), right.max()) == pytest.approx((-5, 3))
    assert (up.min(), up.max()) == pytest.approx((-2, 4))
    assert np.allclose(right, np.rint(right), atol=1e-5)


def test_settings_are_independent():
    images = np.zeros((1, SIZE, SIZE, 2), np.uint8)
    images[0, 8:16, 8:16] = 255
    margin = partial(margin_of, images)
    for seed in range(9):
        _, alone = augmented(images, CALIB, margin, Train(shift=1.0), np.random.default_rng(seed))
        _, both = augmented(
            images,
            CALIB,
            margin,
            Train(flip=1.0, shift=1.0),
            np.random.default_rng(seed),
        )
        np.testing.assert_array_equal(both[:, 3], alone[:, 3])


def test_an_image_without_a_body_has_no_margin():
    assert margin_of(np.zeros((1, SIZE, SIZE, 2), np.uint8)).tolist() == [0, 0, 0, 0]


def test_mirroring_needs_no_margin():
    def margin():
        raise AssertionError

    images = np.arange(SIZE * SIZE * 2, dtype=np.uint8).reshape(1, SIZE, SIZE, 2)
    other, calib = augmented(images, CALIB, margin, Train(flip=1.0), np.random.default_rng(0))
    for found, expected in zip((other, calib), mirrored(images, CALIB), strict=True):
        np.testing.assert_array_equal(found, expected)
