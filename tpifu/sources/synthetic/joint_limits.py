"""The range of each SMPL joint, in degrees, with anatomical signs.

A joint's rotation is split into a swing and a twist about the limb's axis, R = swing * twist. The
axis is x for the arms and y for the other joints; the swing is a rotation vector with two
components. Angles are relative to the T-pose, those of a shoulder to an arm that points sideways
and forward (R = centre * swing * twist), which moves the singularity, half a turn away, out of
reach; Euler angles have theirs within the human range. Each angle has an anatomical name and
direction, the same on both sides.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import JOINTS


class Range(NamedTuple):
    """Limits of one angle of a left or central joint; right joints mirror them."""

    name: str
    axis: str
    """x, y or z with the sign of the anatomical direction on the left side."""
    low: float
    high: float


def _spine(bend: int, extend: int, lean: int, twist: int) -> tuple[Range, ...]:
    return (
        Range("bend forward", "+x", -extend, bend),
        Range("lean left", "-z", -lean, lean),
        Range("twist left", "+y", -twist, twist),
    )


# fmt: off
# Three joints share the range of the spine, two that of the neck. Hips and shoulders have the range
# of a flexible adult, because motion capture includes dancers and gymnasts.
_RANGES: dict[str, tuple[Range, ...]] = {
    "spine1": _spine(35, 20, 18, 18),
    "spine2": _spine(35, 20, 18, 18),
    "spine3": _spine(35, 20, 18, 18),
    "neck": _spine(35, 35, 25, 45),
    "head": _spine(35, 35, 25, 45),
    "hip": (Range("flex", "-x", -45, 145), Range("out", "+z", -35, 95),
        Range("turn out", "+y", -60, 85)),
    "knee": (Range("flex", "+x", 0, 155), Range("out", "+z", 0, 0), Range("turn out", "+y", 0, 0)),
    "ankle": (Range("point", "+x", -40, 65), Range("sole in", "-z", -35, 35),
        Range("toes out", "+y", -35, 35)),
    "foot": (Range("toes up", "-x", -30, 65), Range("tilt", "+z", 0, 0), Range("turn", "+y", 0, 0)),
    "collar": (Range("raise", "+z", -10, 35), Range("forward", "-y", -20, 25),
        Range("twist", "+x", -15, 15)),
    "shoulder": (Range("raise", "+z", -95, 85), Range("across the chest", "-y", -90, 80),
        Range("turn in", "+x", -120, 55)),
    "elbow": (Range("bend", "-y", 0, 152), Range("carry", "+z", 0, 0),
        Range("turn in", "+x", 0, 0)),
    "wrist": (Range("bend to the palm", "-z", -85, 85), Range("to the thumb", "-y", -35, 25),
        Range("roll inwards", "+x", -85, 85)),
    "hand": (Range("bend to the palm", "-z", 0, 0), Range("to the thumb", "-y", 0, 0),
        Range("roll inwards", "+x", 0, 0)),
}
# fmt: on
_ARM = ("shoulder", "elbow", "wrist", "hand")


def ranges(joint: str) -> tuple[Range, ...]:
    """The three ranges of a joint in JOINTS other than the pelvis."""
    return _RANGES[joint.removeprefix("left_").removeprefix("right_")]


SHOULDER = Rotation.from_euler("YZ", [-50, -15], degrees=True)
"""The centre of the left shoulder's range."""


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest x, y, z components in radians, twist axis, and centre of the range as a
    rotation vector; each (23, 3)."""
    low, high, centre = np.zeros((3, 23, 3))
    twist = np.tile([0.0, 1.0, 0.0], (23, 1))
    for row, joint in enumerate(JOINTS[1:]):
        if joint.endswith(_ARM):
            twist[row] = 1, 0, 0
        if joint.endswith("shoulder"):
            side = (1, -1, -1) if joint.startswith("right_") else (1, 1, 1)
            centre[row] = SHOULDER.as_rotvec() * side
        for limit in ranges(joint):
            axis = "xyz".index(limit.axis[1])
            # Mirroring x turns the rotation vector (x, y, z) into (x, -y, -z).
            mirrored = joint.startswith("right_") and axis != 0
            ends = (limit.low, limit.high)
            if (limit.axis[0] == "-") != mirrored:
                ends = (-limit.high, -limit.low)
            low[row, axis], high[row, axis] = np.radians(ends)
    return low, high, twist, centre


_LOW, _HIGH, _TWIST, _CENTRE = _tables()


def split(pose: Float[np.ndarray, "t 23 3"]) -> Float[np.ndarray, "t 23 3"]:
    """Rotation vectors of all joints except the root -> x, y, z components of swing and twist,
    radians."""
    frames = len(pose)
    centre = Rotation.from_rotvec(np.tile(_CENTRE, (frames, 1)))
    rotation = centre.inv() * Rotation.from_rotvec(pose.reshape(-1, 3))
    quaternion = rotation.as_quat().reshape(-1, 23, 4)
    twist = np.zeros_like(quaternion)
    twist[..., :3] = _TWIST * (_TWIST * quaternion[..., :3]).sum(-1, keepdims=True)
    twist[..., 3] = quaternion[..., 3] + 1e-12  # the twist is undefined at half a turn of swing
    turn = Rotation.from_quat(twist.reshape(-1, 4))
    swing = rotation * turn.inv()
    return (swing.as_rotvec() + turn.as_rotvec()).reshape(-1, 23, 3)


def join(angles: Float[np.ndarray, "t 23 3"]) -> Float[np.ndarray, "t 23 3"]:
    """The inverse of `split`."""
    twist = (angles * _TWIST).reshape(-1, 3)
    swing = angles.reshape(-1, 3) - twist
    centre = Rotation.from_rotvec(np.tile(_CENTRE, (len(angles), 1)))
    rotation = centre * Rotation.from_rotvec(swing) * Rotation.from_rotvec(twist)
    return rotation.as_rotvec().reshape(-1, 23, 3)


def excess(pose: Float[np.ndarray, "t 72"]) -> Float[np.ndarray, "t 23 3"]:
    """Degrees by which each angle of an axis-angle pose is outside its range; 0 inside."""
    angles = split(pose.reshape(-1, 24, 3)[:, 1:].astype(np.float64))
    return np.degrees(np.maximum(0, np.maximum(_LOW - angles, angles - _HIGH)))


def clip(angles: Float[np.ndarray, "t 23 3"]) -> Float[np.ndarray, "t 23 3"]:
    """Clip angles of `split` to their ranges."""
    return angles.clip(_LOW, _HIGH)
