"""Properties of the broad family of motion, over its families and several subjects."""

import functools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import JOINTS
from tpifu.clips.splits import matches
from tpifu.config import Data
from tpifu.sources.synthetic.beats import MOTIONS, Style
from tpifu.sources.synthetic.broad import make_broad
from tpifu.sources.synthetic.coverage import nearest_training_pose
from tpifu.sources.synthetic.families import HELD_OUT, families
from tpifu.sources.synthetic.joint_limits import clip as clip_angles
from tpifu.sources.synthetic.joint_limits import join, split
from tpifu.sources.synthetic.key_pose import key_row
from tpifu.sources.synthetic.kinematics import joint_positions
from tpifu.sources.synthetic.motion import Motion, make_motion
from tpifu.sources.synthetic.overlap import overlap
from tpifu.sources.synthetic.settle import settle, smpl_pose

NAMES = tuple(families())


@functools.cache
def clip(name: str, subject: int, frames: int = 50) -> Motion:
    rng = np.random.default_rng([subject, NAMES.index(name)])
    return make_broad(name, frames, Style.draw(rng), rng)


def poses(names: tuple[str, ...], subjects: range) -> np.ndarray:
    return np.concatenate([clip(name, subject).pose[::5] for name in names for subject in subjects])


def matrices_of(vectors: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(vectors.reshape(-1, 3).astype(np.float64)).as_matrix()


def matrices(pose: np.ndarray) -> np.ndarray:
    return matrices_of(pose).reshape(-1, 24, 3, 3)


def excess(pose: np.ndarray) -> np.ndarray:
    """Degrees by which each angle of every joint is outside its range."""
    angles = split(pose.reshape(-1, 24, 3)[:, 1:].astype(np.float64))
    return np.degrees(np.abs(angles - clip_angles(angles)))


@pytest.mark.parametrize("name", NAMES)
def test_joints_stay_within_their_limits(name):
    motion = clip(name, 0)
    assert motion.pose.shape == (50, 72)
    assert motion.pose.dtype == motion.lift.dtype == motion.travel.dtype == np.float64
    assert excess(motion.pose).max() < 1e-6  # degrees


@pytest.mark.parametrize("name", NAMES)
def test_no_joint_turns_faster_than_people_do(name):
    # A boxer's elbow reaches about 1,200 degrees per second, a pitcher's shoulder several thousand.
    frames = matrices(clip(name, 0).pose)
    traces = np.einsum("tjab,tjab->tj", frames[:-1], frames[1:])
    speed = 30 * np.degrees(np.arccos(((traces - 1) / 2).clip(-1, 1)))
    assert speed.max() < 1200


def test_bodies_hardly_cut_into_themselves():
    # Key poses may overlap by 3.5 cm; frames between two keys may overlap by more.
    depths = [overlap(joint_positions(matrices(clip(name, 0).pose[::5]))) for name in NAMES]
    assert np.mean(np.array(depths) > 0.05) < 0.04
    assert np.max(depths) < 0.15


def test_two_parts_of_a_body_in_one_place_overlap():
    straight = joint_positions(matrices(np.zeros((1, 72))))
    assert overlap(straight)[0] == 0
    through = np.zeros((1, 24, 3))
    through[0, JOINTS.index("left_shoulder")] = 0, np.pi, 0  # an arm through the chest
    assert overlap(joint_positions(matrices(through)))[0] > 0.04


@pytest.mark.parametrize("name", ["stand", "lunge", "crawl", "kneel", "crab"])
def test_settling_levels_the_points_that_carry_the_body(name):
    key = families()[name].keys[0]
    row = key_row(key.pose) + np.random.default_rng(0).normal(0.0, 5.0, len(key_row()))
    root = Rotation.from_euler("x", key.pitch, degrees=True)

    def unevenness(row, root):
        pose = matrices(smpl_pose(row[None]))
        pose[:, 0] = root.as_matrix() @ pose[:, 0]
        height = dict(zip(JOINTS, joint_positions(pose)[0, :, 1], strict=True))
        radius = {"foot": 0.03, "hand": 0.025, "knee": 0.055}
        return np.ptp([height[name] - radius[name.split("_")[1]] for name in key.contacts])

    settled = unevenness(*settle(row, root, key.contacts, key.balance))
    assert settled < 0.05
    assert settled < 0.5 * unevenness(row, root)


def test_swing_and_twist_of_a_joint_give_its_rotation_back():
    rng = np.random.default_rng(0)
    pose = rng.normal(0.0, 0.6, (5, 23, 3))
    back = join(split(pose))
    np.testing.assert_allclose(matrices_of(back), matrices_of(pose), atol=1e-9)


def test_limits_have_anatomical_signs():
    # One joint away from the T-pose; the nine motions bend a knee about +x, an elbow of the left
    # about -y and of the right about +y.
    def beyond(joint, axis, degrees):
        pose = np.zeros((1, 24, 3))
        pose[0, JOINTS.index(joint), "xyz".index(axis)] = np.radians(degrees)
        return excess(pose.reshape(1, 72))[0, JOINTS.index(joint) - 1].max()

    assert beyond("left_knee", "x", 120) == 0 < beyond("left_knee", "x", -10)
    for side, sign in (("left", 1), ("right", -1)):
        assert beyond(f"{side}_elbow", "y", -sign * 120) == 0
        assert beyond(f"{side}_elbow", "y", sign * 10) == pytest.approx(10)
        assert beyond(f"{side}_hip", "z", sign * 60) == 0 < beyond(f"{side}_hip", "z", -sign * 60)
        assert beyond(f"{side}_hip", "x", -100) == 0 < beyond(f"{side}_hip", "x", 100)
    assert beyond("spine2", "x", 30) == 0 < beyond("spine2", "x", -30)


def test_the_nine_motions_are_within_the_limits():
    for number, name in enumerate(MOTIONS):
        rng = np.random.default_rng([0, number])
        pose = make_motion(name, 30, Style.draw(rng), rng).pose
        assert excess(pose).max() < 20  # degrees: deep squats, arms behind the head


def test_bodies_take_every_orientation():
    root = matrices(poses(NAMES, range(1)))[:, 0]
    up, front, left = root[:, 1, 1], root[:, 1, 2], root[:, 1, 0]
    upright, inverted = (up > 0.8).mean(), (up < -0.5).mean()
    face_down, face_up = (front < -0.6).mean(), (front > 0.6).mean()
    assert 0.25 < upright < 0.75
    for share in (inverted, face_down, face_up, (left > 0.6).mean(), (left < -0.6).mean()):
        assert share > 0.01


def test_families_are_held_out_by_name():
    held = {name for name in NAMES if matches(f"07_broad_{name}_02", Data().unseen)}
    assert held == set(HELD_OUT)


def test_broad_motion_covers_poses_that_the_nine_do_not():
    nine = np.concatenate(
        [
            make_motion(name, 60, Style.draw(rng), rng).pose[::5]
            for name in MOTIONS
            for rng in (np.random.default_rng([seed, 9]) for seed in range(4))
        ]
    )
    seen = tuple(name for name in NAMES if name not in HELD_OUT)
    broad = poses(seen, range(1))  # as many
    new_people = poses(("sit", "crawl", "lie_back", "roll"), range(5, 6))
    held_out = poses(HELD_OUT, range(5, 6))

    def distance(own, training):
        return nearest_training_pose(own, training)[0].mean()

    assert distance(new_people, broad) < distance(new_people, nine) - 3
    both = np.concatenate([nine, broad])
    assert distance(held_out, both) < distance(held_out, nine) - 0.5


def test_a_pose_is_nearest_to_itself_whatever_its_heading():
    training = poses(("crawl", "dance"), range(1))
    turned = training[::3].astype(np.float64)
    spin = Rotation.from_euler("y", 110, degrees=True)
    turned[:, :3] = (spin * Rotation.from_rotvec(turned[:, :3])).as_rotvec()
    distance, index = nearest_training_pose(turned, training)
    np.testing.assert_allclose(distance, 0, atol=1e-3)
    np.testing.assert_array_equal(index, np.arange(len(training))[::3])
    # By hand: forearms at right angles move wrists and hands, 4 of 24 joints, and no heading
    # brings them nearer.
    bent = np.zeros((1, 24, 3))
    bent[0, [JOINTS.index("left_elbow"), JOINTS.index("right_elbow")], 1] = -np.pi / 2, np.pi / 2
    distance, _ = nearest_training_pose(bent.reshape(1, 72), np.zeros((1, 72)))
    joints = joint_positions(matrices(np.zeros((1, 72))))[0]
    reach = joints[[JOINTS.index("left_wrist"), JOINTS.index("left_hand")], 0]
    expected = 2 * np.sqrt(2) * (reach - joints[JOINTS.index("left_elbow"), 0]).sum() / 24
    assert distance[0] == pytest.approx(100 * expected, rel=0.02)
