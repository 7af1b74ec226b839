"""The range of each SMPL joint.

A joint's rotation is split into a swing and a twist about the limb's axis, R = swing * twist. The
axis is x for the arms and y for the other joints; the swing is a rotation vector with two
components. Angles are relative to the T-pose, except that a shoulder's are relative to an arm that
points sideways and forward (R = centre * swing * twist). The singularity, half a turn away, is then
out of reach. Euler angles have singularities within the human range.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import JOINTS

# fmt: off
# Minimum and maximum x, y and z of a left or central joint, degrees. The comments give the
# direction of positive angles. Hips and shoulders have the range of a flexible adult, because
# motion capture includes dancers and gymnasts.
_RANGES: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "spine1": ((-20, 35), (-18, 18), (-18, 18)),  # forward, to the left, to lean right
    "spine2": ((-20, 35), (-18, 18), (-18, 18)),
    "spine3": ((-20, 35), (-18, 18), (-18, 18)),
    "neck": ((-35, 35), (-45, 45), (-25, 25)),
    "head": ((-35, 35), (-45, 45), (-25, 25)),
    "hip": ((-145, 45), (-60, 85), (-35, 95)),  # to extend, outwards, to the side
    "knee": ((0, 155), (0, 0), (0, 0)),  # to flex
    "ankle": ((-40, 65), (-35, 35), (-35, 35)),  # to point, toes out, sole out
    "foot": ((-65, 30), (0, 0), (0, 0)),  # toes down
    "collar": ((-15, 15), (-25, 20), (-10, 35)),  # inwards, back, up
    "shoulder": ((-120, 55), (-80, 90), (-95, 85)),  # inwards, back, up
    "elbow": ((0, 0), (-152, 0), (0, 0)),  # y: to extend
    "wrist": ((-85, 85), (-25, 35), (-85, 85)),  # inwards, from the thumb, to the back of the hand
    "hand": ((0, 0), (0, 0), (0, 0)),
}
# fmt: on
_ARM = ("shoulder", "elbow", "wrist", "hand")

SHOULDER = Rotation.from_euler("YZ", [-50, -15], degrees=True)
"""The centre of the left shoulder's range."""


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Minimum and maximum x, y, z components in radians, twist axis, and centre of the range as a
    rotation vector; each (23, 3)."""
    low, high, centre = np.zeros((3, 23, 3))
    twist = np.tile([0.0, 1.0, 0.0], (23, 1))
    for row, joint in enumerate(JOINTS[1:]):
        if joint.endswith(_ARM):
            twist[row] = 1, 0, 0
        if joint.endswith("shoulder"):
            centre[row] = SHOULDER.as_rotvec()
        low[row], high[row] = np.radians(_RANGES[joint.split("_")[-1]]).T
        if joint.startswith("right_"):
            # Mirroring x turns the rotation vector (x, y, z) into (x, -y, -z).
            centre[row, 1:] *= -1
            low[row, 1:], high[row, 1:] = 0 - high[row, 1:], 0 - low[row, 1:]
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


def clip(angles: Float[np.ndarray, "t 23 3"]) -> Float[np.ndarray, "t 23 3"]:
    """Clip angles of `split` to their ranges."""
    return angles.clip(_LOW, _HIGH)
