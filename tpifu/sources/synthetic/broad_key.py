"""Key poses of the broad family of motion, and the points of the body that carry it.

A pose is written in the words of `tpifu.motion`: hips are relative to an upright body. The whole
body is then rolled about its long axis and tilted forward. Poses with a side are made for the left;
motions mirror half of them.
"""

from typing import NamedTuple, TypeAlias

from tpifu.sources.synthetic.key_pose import Pose

Points: TypeAlias = tuple[str, ...]
"""Names of joints."""


class Key(NamedTuple):
    """A key pose, and what carries the body in it."""

    pose: Pose
    contacts: Points = ("left_foot", "right_foot")
    """Joints above the floor by the limb's radius, as far as the joints' ranges allow. Empty: in
    flight."""
    pitch: float = 0.0
    """Degrees the whole body is tilted forward: 90 lies face down, -90 on the back."""
    spin: float = 0.0
    """Degrees the whole body is rolled to its left about its long axis."""
    balance: bool = True
    """Whether the centre of mass is above the contacts."""
    lift: float = 0.0
    """Metres from the floor to the lowest point of the body."""


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
