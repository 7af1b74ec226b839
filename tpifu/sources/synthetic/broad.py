"""The broad family of procedural motion: random key poses within human range, joined by splines.

A clip belongs to one family of `families.yaml`. Each of its key poses is one of the family's keys
plus correlated random differences; arms and legs may come from other keys. `settle` then adjusts
the body and its joints slightly, so that the contacts are on the floor and the centre of mass is
above them. A key pose is redrawn if the body intersects itself in this pose or on the way to it.
Joints follow splines at the family's speed, within `joint_limits`.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import Akima1DInterpolator
from scipy.spatial.transform import Rotation

from tpifu.sources.synthetic.beats import Style
from tpifu.sources.synthetic.families import Family, Key, families
from tpifu.sources.synthetic.joint_limits import SHOULDER, clip, join, split
from tpifu.sources.synthetic.key_pose import (
    IS_ARM,
    IS_LEFT,
    PLACE,
    SLICE,
    Pose,
    Row,
    key_row,
    lead,
    only,
)
from tpifu.sources.synthetic.kinematics import joint_positions
from tpifu.sources.synthetic.motion import FPS, Motion, ballistic, travel
from tpifu.sources.synthetic.overlap import overlap
from tpifu.sources.synthetic.poses import ARMS
from tpifu.sources.synthetic.settle import settle, smpl_pose

# fmt: off
# Standard deviations of the random differences from a key pose, degrees.
_SPREAD: Pose = {
    "pelvis": (6, 5, 7), "trunk": (9, 7, 9), "head": (12, 7, 18), "hip": (10, 6, 8), "knee": (11,),
    "ankle": (6, 0, 5), "shoulder": (15, 11, 16), "elbow": (16,), "wrist": (14, 12),
}
# fmt: on
_DEEPEST = 0.035
"""Acceptable overlap of two body parts, metres: soft tissue deforms."""
_TRIES, _ARMS_OUT = 6, 7.0
"""Attempts per key pose, and degrees by which each attempt raises the arms further."""


class _Drawn(NamedTuple):
    """A key pose ready for the spline."""

    root: Rotation
    """Orientation of the pelvis without the heading."""
    angles: Float[np.ndarray, "23 3"]
    """Angles of the other joints, see `joint_limits.split`."""
    row: Row
    lift: float
    overlap: float


def make_broad(name: str, frames: int, style: Style, rng: np.random.Generator) -> Motion:
    """`frames` frames of a motion of family `name`, with an initial heading near 0."""
    family = families()[name]
    left = rng.random() < 0.5
    place = int(rng.integers(len(family.keys)))
    speed = rng.uniform(*family.speed) * style.tempo
    # The spline starts before the clip and ends after it, because its ends are less smooth.
    at = rng.uniform(0.5, 1.5) + np.arange(frames) / FPS
    end = at[-1] + 0.5
    times = [0.0]
    keys = [_draw(family, place, left, style, None, rng)]
    places = [np.zeros(4)]
    while times[-1] < end:
        if family.order == "cycle":
            place = (place + 1) % len(family.keys)
        else:
            place, left = int(rng.integers(len(family.keys))), rng.random() < 0.5
        before = keys[-1]
        key = _draw(family, place, left, style, before, rng)
        step = key.row[PLACE] + [rng.normal(0.0, family.turn), 0, 0, 0]
        angle = max(
            np.degrees(np.linalg.norm(key.angles - before.angles, axis=1).max()),
            np.degrees((before.root.inv() * key.root).magnitude()) + abs(step[0]) / 2,
        )
        flight = np.sqrt(2 * abs(before.lift - key.lift) / 9.81)
        seconds = max(angle / speed, flight, 0.1)
        times.append(times[-1] + seconds)
        keys.append(key)
        places.append(step)
        if (rest := rng.uniform(0.0, family.pause)) > 0.08 and key.lift == 0:
            times.append(times[-1] + rest)
            keys.append(key)
            places.append(np.zeros(4))
    return _spline(np.array(times), keys, np.cumsum(places, axis=0), at, rng)


def _spline(
    times: Float[np.ndarray, " k"],
    keys: list[_Drawn],
    places: Float[np.ndarray, "k 4"],
    at: Float[np.ndarray, " t"],
    rng: np.random.Generator,
) -> Motion:
    """Fit splines to the keys at `times` and evaluate them at `at`."""

    # Makima splines are smooth and hardly overshoot at held poses.
    def spline(values: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, "t ..."]:
        return Akima1DInterpolator(times, values, method="makima")(at)

    # Interpolated swings and twists stay within the limits; interpolated rotations may not.
    joints = join(clip(spline(np.stack([key.angles for key in keys]))))
    root = np.stack([key.root.as_quat() for key in keys])
    for before, after in itertools.pairwise(root):
        if before @ after < 0:  # q and -q are the same rotation: take the nearer
            after *= -1
    turn, _, side, forward = spline(places).T
    heading = np.radians(turn - turn[0] + rng.normal(0.0, 12.0))
    root = Rotation.from_euler("y", heading[:, None]) * Rotation.from_quat(spline(root))
    pose = np.concatenate([root.as_rotvec()[:, None], joints], axis=1)
    return Motion(
        pose=pose.reshape(-1, 72),
        lift=ballistic(times, np.array([key.lift for key in keys]), at),
        travel=travel(heading, side, forward),
    )


def _draw(
    family: Family,
    place: int,
    left: bool,
    style: Style,
    before: _Drawn | None,
    rng: np.random.Generator,
) -> _Drawn:
    """A key pose near `family.keys[place]`: the first attempt with an acceptable overlap, or the
    attempt with the least overlap. Each attempt holds the arms farther from the body."""
    best = None
    for attempt in range(_TRIES):
        drawn = _try(family, family.keys[place], left, style, attempt * _ARMS_OUT, rng)
        if before is not None:
            # Also check halfway, because an arm must not pass through the trunk.
            turn = (before.root.inv() * drawn.root).as_rotvec() / 2
            root = before.root * Rotation.from_rotvec(turn)
            way = _overlap_of(root, (before.angles + drawn.angles) / 2) - 0.02
            drawn = drawn._replace(overlap=max(drawn.overlap, way))
        if best is None or drawn.overlap < best.overlap:
            best = drawn
        if best.overlap <= _DEEPEST:
            break
    assert best is not None
    return best


def _try(
    family: Family,
    key: Key,
    left: bool,
    style: Style,
    arms_out: float,
    rng: np.random.Generator,
) -> _Drawn:
    row = key_row(key.pose)
    if rng.random() < family.legs:
        other = key_row(family.keys[rng.integers(len(family.keys))].pose)
        row = np.where(_ONE_LEG[rng.integers(2)], other, row)
    if rng.random() < family.arms:
        row = np.where(IS_ARM, _arms(rng), row)
    row = row + family.spread * _differences(rng) + style.row(0.5)
    row += only({"shoulder": (0, arms_out, 0)})
    contacts: tuple[str, ...] = key.contacts
    turn = Rotation.from_rotvec(np.radians(rng.normal(0.0, family.tumble, 3)))
    if not left:
        row = lead(row, False)
        contacts = tuple(_mirrored(joint) for joint in contacts)
    spin = key.spin if left else -key.spin
    root = turn * Rotation.from_euler("XY", [key.pitch, spin], degrees=True)
    if contacts and family.tumble == 0:
        row, root = settle(row, root, contacts, key.balance)
    pose = smpl_pose(row[None]).reshape(24, 3)
    root = root * Rotation.from_rotvec(pose[0])
    angles = clip(split(pose[None, 1:]))[0]
    return _Drawn(root, angles, row, key.lift, _overlap_of(root, angles))


_IS_LEG = only({"hip": (1, 1, 1), "knee": (1,), "ankle": (1, 1, 1)}) == 1
_ONE_LEG = (_IS_LEG & IS_LEFT, _IS_LEG & ~IS_LEFT)


def _arms(rng: np.random.Generator) -> Row:
    """An arm pose of ARMS, or a random one, on each side."""
    one, other = (key_row(ARMS[name]) for name in rng.choice(list(ARMS), size=2))
    if rng.random() < 0.5:
        one, other = _free_arm(rng), _free_arm(rng)
    if rng.random() < 0.35:
        return one
    return np.where(IS_LEFT, one, lead(other, False))


def _free_arm(rng: np.random.Generator) -> Row:
    raised = rng.uniform(-90, 75)
    behind = rng.uniform(0, 45) if raised < -30 else 0.0
    swing = Rotation.from_rotvec(np.radians([0, rng.uniform(-65, 40) + behind, raised]))
    twist = Rotation.from_rotvec(np.radians([rng.normal(-40, 28), 0, 0]))
    # The angles of `motion.py`: swing forward, raise, turn in.
    forward, up, inwards = (SHOULDER * swing * twist).as_euler("XZX", degrees=True)
    return key_row(
        {
            "shoulder": (-forward, up + 90, inwards),
            "elbow": (140 * rng.beta(1.0, 1.6),),
            "wrist": (rng.normal(0, 20), rng.normal(0, 30)),
        }
    )


def _differences(rng: np.random.Generator) -> Row:
    """Random differences of the joints. The two sides are correlated, as are knee and hip; the head
    rises as the trunk bends."""
    normal = rng.normal(size=len(_SD))
    normal = 0.95 * normal + 0.31 * lead(normal, False)
    for side in ("left", "right"):
        normal[SLICE[f"{side}_knee"]] += 0.8 * normal[SLICE[f"{side}_hip"]][0]
    normal[SLICE["head"].start] -= 0.4 * normal[SLICE["trunk"].start]
    return normal * _SD


_SD = only(_SPREAD)


def _overlap_of(root: Rotation, angles: Float[np.ndarray, "23 3"]) -> float:
    joints = Rotation.from_rotvec(join(angles[None])[0]).as_matrix()
    matrices = np.concatenate([root.as_matrix()[None], joints])[None]
    return float(overlap(joint_positions(matrices))[0])


def _mirrored(joint: str) -> str:
    swapped = {"left": "right", "right": "left"}
    side, _, bone = joint.partition("_")
    return f"{swapped[side]}_{bone}" if side in swapped else joint
