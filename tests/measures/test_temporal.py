import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tpifu.geometry.mesh import Mesh
from tpifu.geometry.nearest import Surface
from tpifu.geometry.sampling import follow, stratified_samples
from tpifu.measures.motion import flicker, motion_errors, volume_jitter


def moved(mesh: Mesh, offset) -> Mesh:
    return Mesh((mesh.vertices + np.asarray(offset)).astype(np.float32), mesh.faces)


def slow_flicker(predicted, truth):
    """The definition, cell by cell."""
    shares = []
    for frame in range(1, len(truth)):
        cells = list(np.ndindex(truth.shape[1:]))
        wrong = sum(
            predicted[frame][cell] != predicted[frame - 1][cell]
            and truth[frame][cell] == truth[frame - 1][cell]
            for cell in cells
        )
        inside = [sum(truth[at][cell] for cell in cells) for at in (frame - 1, frame)]
        shares.append(wrong / (sum(inside) / 2))
    return shares


cells = arrays(bool, st.tuples(st.integers(1, 4), *[st.just(2)] * 3))


@given(cells, st.integers(0, 2**31))
def test_flicker_matches_its_definition_and_is_0_for_the_truth(truth, seed):
    truth[:, 0, 0, 0] = True  # a body is never empty
    predicted = np.random.default_rng(seed).random(truth.shape) < 0.5
    assert list(flicker(predicted, truth)) == pytest.approx(slow_flicker(predicted, truth))
    assert not flicker(truth, truth).any()


def test_flicker_ignores_constant_errors_and_true_motion():
    truth = np.zeros((3, 8, 8, 8), dtype=bool)
    for frame in range(3):
        truth[frame, 2 + frame : 5 + frame, 2:5, 2:5] = True
    constant = truth.copy()
    constant[:, :, 7] = True
    assert not flicker(constant, truth).any()
    blinking = truth.copy()
    blinking[1, 0, 0, :3] = True  # 3 of 27 cells change and change back
    np.testing.assert_allclose(flicker(blinking, truth), [3 / 27, 3 / 27])


def test_flicker_is_undefined_without_a_body():
    truth = np.zeros((3, 2, 2, 2), dtype=bool)
    truth[2, 0, 0, 0] = True
    predicted = truth.copy()
    predicted[:, 1, 1, 1] = [True, False, True]
    np.testing.assert_array_equal(flicker(predicted, truth), [np.nan, 2.0])


def test_volume_jitter_is_the_change_of_the_ratio():
    truth = np.array([1.0, 2, 1, 1])
    np.testing.assert_allclose(
        volume_jitter(np.array([1.1, 2.2, 0.9, np.nan]), truth), [0, 0.2, np.nan], atol=1e-12
    )
    assert not volume_jitter(truth, truth).any()
    assert len(volume_jitter(truth[:1], truth[:1])) == 0


@pytest.fixture
def clip(walking) -> list[Mesh]:
    """A body that accelerates upwards and becomes wider."""
    return [
        moved(
            Mesh(walking.vertices * np.float32([1 + 0.02 * t, 1, 1]), walking.faces),
            (0, t * t / 100, 0),
        )
        for t in range(4)
    ]


def errors(predicted, truth, count=300):
    marks = stratified_samples(truth[0], count, np.random.default_rng(0))
    true = np.stack([follow(marks, mesh).points for mesh in truth])
    found = [
        np.full((count, 3), np.nan) if mesh is None else Surface(mesh).nearest(points).points
        for mesh, points in zip(predicted, true, strict=True)
    ]
    return motion_errors(np.stack(found), true)


def test_a_perfect_prediction_has_no_motion_errors(clip):
    speed, acceleration = errors(clip, clip)
    np.testing.assert_allclose(speed, [0, 0, 0], atol=1e-10)
    np.testing.assert_allclose(acceleration, [0, 0], atol=1e-10)


def test_motion_errors_of_static_swinging_and_shifted_predictions():
    # The true wall advances by 1, 3 and 5 cm along its normal; the predicted one is static.
    wall = Mesh(
        np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32),
        np.array([[0, 1, 2], [0, 2, 3]]),
    )
    truth = [moved(wall, (0, 0, t * t / 100)) for t in range(4)]
    speed, acceleration = errors([wall] * 4, truth)
    np.testing.assert_allclose(speed, [1, 3, 5], rtol=1e-5)
    np.testing.assert_allclose(acceleration, [2, 2], rtol=1e-5)
    # A prediction that alternates between 1 cm in front of and 1 cm behind the truth.
    swinging = [moved(mesh, (0, 0, (-1) ** t / 100)) for t, mesh in enumerate(truth)]
    speed, acceleration = errors(swinging, truth)
    np.testing.assert_allclose(speed, [2, 2, 2], rtol=1e-5)
    np.testing.assert_allclose(acceleration, [4, 4], rtol=1e-5)
    # A prediction that stays 1 cm in front of the truth.
    steady = [moved(mesh, (0, 0, 0.01)) for mesh in truth]
    np.testing.assert_allclose(np.concatenate(errors(steady, truth)), 0, atol=1e-5)


def test_a_missing_prediction_gives_nan_in_its_steps(clip):
    speed, acceleration = errors([clip[0], clip[1], clip[2], None], clip)
    np.testing.assert_array_equal(np.isnan(speed), [False, False, True])
    np.testing.assert_array_equal(np.isnan(acceleration), [False, True])


@pytest.mark.parametrize("length", [1, 2])
def test_short_clips_have_fewer_steps(clip, length):
    speed, acceleration = errors(clip[:length], clip[:length])
    assert (len(speed), len(acceleration)) == (length - 1, 0)
