"""Key poses of the broad family of motion, and the joints that support the body.

Poses have the angles of `motion.py`, with hips relative to an upright body. The whole body is then
rolled about its long axis and tilted forward. The left side leads; motions mirror half of the
poses.
"""

from typing import NamedTuple, TypeAlias

from tpifu.sources.synthetic.key_pose import Pose

Points: TypeAlias = tuple[str, ...]
"""Names of joints."""


class Key(NamedTuple):
    """A key pose and the contacts that support it."""

    pose: Pose
    contacts: Points = ("left_foot", "right_foot")
    """Joints that settling brings to the limb's radius above the floor. Empty: in flight."""
    pitch: float = 0.0
    """Forward tilt of the whole body, degrees: 90 lies on the front, -90 on the back."""
    spin: float = 0.0
    """Roll of the whole body to its left about the long axis, degrees."""
    balance: bool = True
    """Whether settling moves the centre of mass above the contacts."""
    lift: float = 0.0
    """Height of the lowest point of the body above the floor, metres."""


# fmt: off
FEET: Points = ("left_foot", "right_foot")
HANDS: Points = ("left_hand", "right_hand")
KNEES: Points = ("left_knee", "right_knee")
RIGHT_FOOT: Points = ("right_foot",)
SEAT: Points = ("pelvis", "left_hip", "right_hip")
SHOULDERS: Points = ("left_shoulder", "right_shoulder")
ON_HANDS: Pose = {"shoulder": (85, 8, 0), "elbow": (8,), "wrist": (-70, 0)}
SOLES_UP: Pose = {"ankle": (45, 0, 0)}
ON_TOES: Pose = {"ankle": (-20, 0, 50)}
