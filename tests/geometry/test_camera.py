import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tpifu.geometry.camera import (
    calibration,
    depth_feature,
    ndc_to_pixel,
    pixel_centres,
    project,
)

YAWS = st.floats(-360, 360)
WINDOWS = st.floats(0.5, 5.12)
POINTS = arrays(np.float64, (7, 3), elements=st.floats(-3, 3))


@given(yaw=YAWS, window=WINDOWS, points=POINTS)
def test_a_view_rotates_the_body_and_scales_it_by_half_the_window(yaw, window, points):
    ndc = project(calibration(yaw, window), points)
    np.testing.assert_allclose(
        np.linalg.norm(ndc, axis=1), np.linalg.norm(points, axis=1) / (window / 2), atol=1e-5
    )
    np.testing.assert_allclose(ndc[:, 1], points[:, 1] / (window / 2), atol=1e-5)
    assert np.linalg.det(calibration(yaw, window)[:, :3]) > 0  # not a mirror image


def test_the_axes_of_the_front_and_side_views():
    right, up, towards = np.eye(3)
    front, side = calibration(0.0, 2.0), calibration(90.0, 2.0)
    np.testing.assert_allclose(project(front, np.stack([right, up, towards])), np.eye(3))
    # A body that faces the camera (+z) and turns by 90 degrees about +y faces right (+x).
    (facing,) = project(side, towards[None])
    np.testing.assert_allclose(facing, right, atol=1e-6)


def test_batches_and_tensors_project_like_single_arrays():
    rng = np.random.default_rng(0)
    calibs = np.stack([calibration(yaw, 2.56) for yaw in (0.0, 30.0, 200.0)])
    points = rng.normal(size=(3, 5, 3)).astype(np.float32)
    together = project(calibs, points)
    tensors = project(torch.from_numpy(calibs), torch.from_numpy(points))
    for number in range(3):
        alone = project(calibs[number], points[number])
        np.testing.assert_allclose(together[number], alone, atol=1e-6)
        np.testing.assert_allclose(tensors[number].numpy(), alone, atol=1e-6)


def test_pixels_start_at_the_top_left_and_have_centres_at_half_integers():
    corners = np.array([[-1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(ndc_to_pixel(corners, 40, 20), [[0, 0], [40, 20], [20, 10]])
    centres = pixel_centres(3, 2)
    pixels = ndc_to_pixel(np.concatenate([centres, np.zeros((6, 1))], axis=1), 3, 2)
    expected = [[u + 0.5, v + 0.5] for v in range(2) for u in range(3)]
    np.testing.assert_allclose(pixels, expected)


@pytest.mark.parametrize(
    ("metres", "z_normalization", "feature"), [(1.0, 2.0, 0.5), (-0.3, 0.3, -1)]
)
def test_the_depth_feature_is_metres_over_z_normalization(metres, z_normalization, feature):
    window = 2.56
    z = project(calibration(0.0, window), np.array([[0.0, 0.0, metres]]))[:, 2]
    np.testing.assert_allclose(depth_feature(z, window, z_normalization), [feature], rtol=1e-6)
