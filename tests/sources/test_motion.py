"""Properties of the nine procedural motions for several seeds."""

import functools

import numpy as np
import pytest
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import JOINTS, PARENTS
from tpifu.sources.synthetic.beats import MOTIONS, Style
from tpifu.sources.synthetic.motion import Motion, make_motion

SEEDS = range(4)


@functools.cache
def motion(name: str, seed: int, frames: int = 100) -> Motion:
    rng = np.random.default_rng([seed, MOTIONS.index(name)])
    return make_motion(name, frames, Style.draw(rng), rng)


def rotations(clip: Motion, joint: str) -> Rotation:
    return Rotation.from_rotvec(clip.pose.reshape(-1, 24, 3)[:, JOINTS.index(joint)])


def world_rotations(clip: Motion, joint: str) -> Rotation:
    """Orientation in the world: the product of the rotations from the root to the joint."""
    parent = PARENTS[JOINTS.index(joint)]
    own = rotations(clip, joint)
    return own if parent < 0 else world_rotations(clip, JOINTS[parent]) * own


def heading(clip: Motion) -> Float[np.ndarray, " t"]:
    facing = rotations(clip, "pelvis").apply([0.0, 0.0, 1.0])
    return np.unwrap(np.arctan2(facing[:, 0], facing[:, 2]))


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("frames", [1, 30, 100])
def test_shapes_types_and_start_at_the_origin(name, frames):
    clip = motion(name, 0, frames)
    assert clip.pose.shape == (frames, 72)
    assert clip.lift.shape == (frames,)
    assert clip.travel.shape == (frames, 2)
    for array in (clip.pose, clip.lift, clip.travel):
        assert array.dtype == np.float64
        assert np.isfinite(array).all()
    np.testing.assert_array_equal(clip.travel[0], 0)
    assert (clip.lift >= 0).all()


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("seed", SEEDS)
def test_motions_are_continuous(name, seed):
    clip = motion(name, seed)
    for joint in JOINTS:
        turns = rotations(clip, joint)
        steps = np.degrees((turns[1:] * turns[:-1].inv()).magnitude())
        assert steps.max() < 40, joint
    # No motion is faster than 8 m/s.
    assert np.linalg.norm(np.diff(clip.travel, axis=0), axis=1).max() * 30 < 8


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("seed", SEEDS)
def test_knees_and_elbows_are_hinges_with_the_right_sign(name, seed):
    clip = motion(name, seed)
    for side, outwards in (("left", 1.0), ("right", -1.0)):
        # Forearms, which point outwards at rest, bend only forwards, shins only backwards.
        for joint, bone, towards in (
            ("elbow", [outwards, 0.0, 0.0], [0.0, 0.0, 1.0]),
            ("knee", [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]),
        ):
            moved = rotations(clip, f"{side}_{joint}").apply(bone)
            bend = np.degrees(np.arctan2(moved @ towards, moved @ bone))
            assert bend.min() > -0.01
            assert bend.max() < 150.01
            assert np.ptp(bend) > 1
            axis = np.cross(bone, towards)
            np.testing.assert_allclose(moved @ axis, 0, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cartwheel_turns_upside_down_and_comes_back(seed):
    clip = motion("cartwheel", seed)
    spine = rotations(clip, "pelvis")
    height = spine.apply([0.0, 1.0, 0.0])[:, 1]
    assert height.min() < -0.8
    # Unlike in a somersault, the facing direction stays level.
    assert np.abs(spine.apply([0.0, 0.0, 1.0])[:, 1]).max() < 0.35
    upside_down = int(height.argmin())
    assert max(height[:upside_down].max(initial=-1), height[upside_down:].max()) > 0.9
    # Upside down, arms are straight and legs apart.
    for side, outwards in (("left", 1.0), ("right", -1.0)):
        arm = world_rotations(clip, f"{side}_elbow").apply([outwards, 0.0, 0.0])
        assert arm[upside_down, 1] < -0.5
    thighs = [
        world_rotations(clip, f"{side}_hip").apply([0.0, -1.0, 0.0]) for side in ("left", "right")
    ]
    apart = np.degrees(np.arccos((thighs[0] * thighs[1]).sum(axis=1)[upside_down]))
    assert apart > 35


@pytest.mark.parametrize("name", MOTIONS)
def test_only_some_motions_leave_the_floor(name):
    heights = np.concatenate([motion(name, seed).lift for seed in range(8)])
    if name in ("run", "jump", "dance"):
        assert 0.02 < heights.max() < 0.6
        assert (heights == 0).mean() > 0.3
    else:
        assert (heights == 0).all()


@pytest.mark.parametrize("name", ["walk", "run"])
@pytest.mark.parametrize("seed", SEEDS)
def test_arms_swing_against_the_legs(name, seed):
    rng = np.random.default_rng(seed)
    clip = make_motion(name, 90, Style(restless=0.0), rng)
    trunk = rotations(clip, "pelvis")
    ahead = [
        trunk.inv().apply(world_rotations(clip, joint).apply(bone))[:, 2]
        for joint, bone in (("left_hip", [0.0, -1.0, 0.0]), ("left_shoulder", [1.0, 0.0, 0.0]))
    ]
    assert np.corrcoef(*ahead)[0, 1] < -0.5


@pytest.mark.parametrize("name", ["walk", "run"])
@pytest.mark.parametrize("seed", SEEDS)
def test_travel_follows_the_heading(name, seed):
    clip = motion(name, seed)
    turn = heading(clip)
    ahead = np.stack([np.sin(turn), np.cos(turn)], axis=1)[1:]
    steps = np.diff(clip.travel, axis=0)
    forward = (steps * ahead).sum(axis=1)
    # The pelvis twists with every step, but the mean direction is that of the heading.
    assert forward.sum() > 0.97 * np.linalg.norm(steps, axis=1).sum()
    low, high = (0.6, 2.2) if name == "walk" else (1.8, 5.5)
    assert low < forward.mean() * 30 < high


def test_a_squat_goes_down_with_flat_feet():
    clip = make_motion("squat", 100, Style(restless=0.0), np.random.default_rng(0))
    knee = np.degrees(rotations(clip, "left_knee").magnitude())
    assert knee.max() > 75
    assert knee.min() < 30
    sole = world_rotations(clip, "left_ankle").apply([0.0, 0.0, 1.0])[:, 1]
    assert np.abs(np.degrees(np.arcsin(sole))).max() < 12
