"""Key poses of the nine motions, in degrees; see `motion.py` for the angles."""

import numpy as np

from tpifu.sources.synthetic.key_pose import Pose

# fmt: off
ARMS: dict[str, Pose] = {
    "hang": {},
    "hips": {"shoulder": (-25, 48, 45), "elbow": (105,), "wrist": (30, 0)},
    "guard": {"shoulder": (45, 15, 15), "elbow": (125,)},
    "pump": {"shoulder": (-5, 12, 10), "elbow": (85,)},
    "clasped": {"shoulder": (40, 12, 50), "elbow": (105,)},
    "crossed": {"shoulder": (45, -10, 55), "elbow": (95,), "wrist": (10, 0)},
    "forward": {"shoulder": (88, 8, 0), "elbow": (8,)},
    "sideways": {"shoulder": (0, 88, 0), "elbow": (8,)},
    "wings": {"shoulder": (-35, 40, 0), "elbow": (10,)},
    "overhead": {"shoulder": (5, 165, 0), "elbow": (12,)},
    "vee": {"shoulder": (10, 135, 0), "elbow": (10,)},
    "cactus": {"shoulder": (0, 88, -85), "elbow": (90,)},
    "scarecrow": {"shoulder": (10, 88, 75), "elbow": (85,)},
    "behind_head": {"shoulder": (20, 120, -75), "elbow": (135,)},
    "behind_back": {"shoulder": (-35, 22, 55), "elbow": (75,)},
    "wave": {"left_shoulder": (10, 95, -80), "left_elbow": (75,)},
    "archer": {"left_shoulder": (10, 88, 0), "left_elbow": (5,), "right_shoulder": (75, 35, 30),
        "right_elbow": (130,)},
    "punch": {"left_shoulder": (90, 5, 0), "left_elbow": (5,), "right_shoulder": (-30, 20, 10),
        "right_elbow": (115,)},
    "disco": {"left_shoulder": (15, 145, 0), "left_elbow": (8,), "right_shoulder": (-25, 48, 45),
        "right_elbow": (105,)},
    "hug": {"left_shoulder": (60, 10, 45), "left_elbow": (80,), "right_shoulder": (-20, 35, 30),
        "right_elbow": (60,)},
}
"""Arm poses by name."""

# Left leg: phase of the cycle, hip, knee, ankle pointed, toes up. The right leg is half a cycle
# later.
WALK_LEG = np.array(
    [
        (0.12, 19, 16, 4, 0),
        (0.25, 6, 10, -4, 0),
        (0.38, -8, 9, -9, 5),
        (0.50, -19, 16, -2, 25),
        (0.62, -8, 46, 16, 20),
        (0.75, 17, 62, 4, 0),
        (0.88, 28, 28, -3, 0),
        (1.00, 25, 4, -3, 0),
    ]
)
# Each half: support, toe-off, mid-flight, contact of the other foot.
RUN_LEG = np.array(
    [
        (0.15, 10, 40, -14, 0),
        (0.33, -24, 16, 22, 20),
        (0.42, -28, 45, 28, 5),
        (0.50, -18, 85, 24, 0),
        (0.65, 20, 115, 10, 0),
        (0.83, 52, 85, 0, 0),
        (0.92, 46, 45, -4, 0),
        (1.00, 28, 18, -3, 0),
    ]
)
LUNGE_STEP: Pose = {"left_hip": (62, 4, 5), "left_knee": (85,), "left_ankle": (5, 0, 0),
    "right_knee": (10,)}
LUNGES: tuple[Pose, ...] = (
    {  # forward
        "place": (0, 0, 0, 0.75),
        "left_hip": (75, 6, 8),
        "left_knee": (78,),
        "right_hip": (-17, 4, 0),
        "right_knee": (66,),
        "right_ankle": (0, 0, 50),
    },
    {  # sideways
        "place": (0, 0, 0.45, 0),
        "pelvis": (25, 0, 0),
        "trunk": (15, 0, 0),
        "left_hip": (75, 28, 25),
        "left_knee": (92,),
        "right_hip": (0, 42, 8),
        "right_knee": (4,),
    },
    {  # long and low
        "place": (0, 0, 0, 0.95),
        "pelvis": (35, 0, 0),
        "trunk": (20, 0, 15),
        "left_hip": (85, 8, 8),
        "left_knee": (88,),
        "right_hip": (-38, 4, 0),
        "right_knee": (22,),
        "right_ankle": (-10, 0, 45),
    },
    {  # a fencer's
        "place": (0, 0, 0.3, 0.4),
        "pelvis": (5, 0, -25),
        "left_hip": (60, 20, 10),
        "left_knee": (68,),
        "right_hip": (-22, 25, 45),
        "right_knee": (10,),
    },
)
SQUAT: Pose = {"pelvis": (38, 0, 0), "trunk": (14, 0, 0), "head": (-22, 0, 0), "hip": (88, 20, 14),
    "knee": (108,)}
_STRADDLED: Pose = {"hip": (0, 55, 12), "knee": (4,), "ankle": (35, 0, 0), "shoulder": (8, 158, 0),
    "elbow": (6,), "wrist": (-50, 0)}
CARTWHEEL: tuple[tuple[float, Pose], ...] = (  # seconds, pose; the rolls sum to 360 degrees
    (0.35, ARMS["vee"] | {"hip": (3, 14, 12)}),
    (
        0.35,
        ARMS["vee"]
        | {"place": (0, -8, 0.1, 0), "trunk": (0, -4, 0), "left_hip": (30, 38, 20),
            "left_knee": (30,), "left_ankle": (20, 0, 0)},
    ),
    (
        0.30,
        _STRADDLED
        | {"place": (0, 48, 0.45, 0), "trunk": (8, 26, 0), "left_hip": (25, 30, 30),
            "left_knee": (40,), "left_ankle": (0, 0, 0), "right_hip": (0, 40, 8)},
    ),
    (0.16, _STRADDLED | {"place": (0, 62, 0.35, 0), "trunk": (6, 22, 0), "left_hip": (5, 38, 15)}),
    (0.18, _STRADDLED | {"place": (0, 78, 0.4, 0)}),
    (
        0.18,
        _STRADDLED | {"place": (0, 78, 0.4, 0), "trunk": (6, -22, 0), "right_hip": (10, 38, 12)},
    ),
    (
        0.20,
        _STRADDLED
        | {"place": (0, 62, 0.35, 0), "trunk": (8, -20, 0), "right_hip": (25, 30, 20),
            "right_knee": (40,), "left_hip": (0, 42, 8)},
    ),
    (0.30, ARMS["vee"] | {"place": (0, 40, 0.2, 0), "hip": (6, 20, 12), "right_knee": (18,)}),
)
SUPPORT: Pose = {"right_hip": (6, 4, 15), "right_knee": (14,), "left_ankle": (25, 0, 0)}
_FOLDED: Pose = {"left_hip": (75, 10, 0), "left_knee": (118,), "pelvis": (-5, 0, 0)}
KICKS: tuple[tuple[Pose, Pose], ...] = (  # folded leg, extended leg
    (
        _FOLDED,
        {"pelvis": (-18, 0, 0), "trunk": (10, 0, 0), "left_hip": (88, 2, 0), "left_knee": (8,)},
    ),
    (
        _FOLDED,
        {"pelvis": (-22, 0, 0), "trunk": (10, 0, 0), "left_hip": (125, 5, 5), "left_knee": (6,)},
    ),
    (
        _FOLDED,
        {"pelvis": (-12, 0, 0), "trunk": (18, 0, 0), "left_hip": (108, 0, 0), "left_knee": (125,)},
    ),
    (  # sideways
        _FOLDED | {"pelvis": (0, -12, 0)},
        {"pelvis": (0, -38, 0), "trunk": (0, -8, 0), "left_hip": (10, 82, -10), "left_knee": (5,)},
    ),
    (  # round
        {"pelvis": (0, -22, -20), "left_hip": (35, 62, -25), "left_knee": (118,)},
        {"pelvis": (0, -25, -45), "trunk": (0, 0, 20), "left_hip": (70, 48, -15),
            "left_knee": (8,)},
    ),
    (  # backwards
        {"pelvis": (25, 0, 0), "trunk": (15, 0, 0), "left_hip": (45, 5, 0), "left_knee": (110,)},
        {"pelvis": (55, 0, 0), "trunk": (5, 0, 20), "left_hip": (-75, 8, 0), "left_knee": (8,)},
    ),
    (  # a ball
        {"pelvis": (0, 0, 15), "trunk": (5, 0, 20), "left_hip": (-35, 12, 0), "left_knee": (85,)},
        {"pelvis": (-8, 0, -10), "trunk": (14, 0, -18), "left_hip": (62, -4, 10),
            "left_knee": (12,)},
    ),
)
CROUCHED: Pose = {"pelvis": (35, 0, 0), "trunk": (15, 0, 0), "head": (-20, 0, 0), "hip": (58, 8, 8),
    "knee": (85,), "shoulder": (-42, 18, 0), "elbow": (12,)}
TAKING_OFF: Pose = {"hip": (-6, 4, 5), "knee": (4,), "ankle": (42, 0, 25), "elbow": (15,)}
FLIGHTS: tuple[Pose, ...] = (
    {"hip": (8, 8, 8), "knee": (20,)},
    ARMS["guard"]
    | {"pelvis": (10, 0, 0), "trunk": (20, 0, 0), "hip": (105, 10, 5), "knee": (118,)},
    ARMS["vee"] | {"hip": (5, 42, 15), "knee": (6,)},
    {"hip": (-12, 6, 0), "knee": (105,)},
    ARMS["forward"] | {"trunk": (25, 0, 0), "hip": (75, 30, 10), "knee": (12,)},
    ARMS["archer"]
    | {"left_hip": (62, 6, 5), "left_knee": (8,), "right_hip": (-45, 6, 5), "right_knee": (10,)},
    {"left_hip": (70, 6, 5), "left_knee": (95,), "right_hip": (-12, 6, 5), "right_knee": (20,)},
)
LANDED: Pose = {"pelvis": (25, 0, 0), "trunk": (12, 0, 0), "hip": (42, 8, 8), "knee": (62,),
    "shoulder": (50, 25, 0), "elbow": (30,)}
HOP: Pose = {"left_hip": (70, 10, 10), "left_knee": (85,), "right_hip": (0, 4, 8),
    "ankle": (32, 0, 0)}
# Moves of one to three poses; the arm poses are drawn separately.
DANCE: tuple[tuple[Pose, ...], ...] = (
    (  # sway
        {"pelvis": (0, 14, -5), "trunk": (0, -16, 5), "right_hip": (14, 6, 8), "right_knee": (28,)},
        {"pelvis": (0, -14, 5), "trunk": (0, 16, -5), "left_hip": (14, 6, 8), "left_knee": (28,)},
    ),
    (  # side step
        {"place": (0, 0, 0.4, 0), "trunk": (5, 8, 10), "hip": (8, 22, 15), "left_knee": (25,)},
        {"trunk": (4, -6, 0), "hip": (14, 3, 8), "knee": (26,)},
    ),
    (  # pirouette
        {"place": (150, 0, 0, 0), "left_hip": (35, 25, 35), "left_knee": (85,),
            "left_ankle": (30, 0, 0)},
        {"place": (210, 0, 0, 0), "trunk": (2, 0, 10), "hip": (4, 8, 8)},
    ),
    (  # half turn
        {"place": (90, 0, 0, 0), "left_hip": (15, 20, 30), "left_knee": (30,)},
        {"place": (90, 0, 0, 0), "hip": (5, 12, 10), "knee": (15,)},
    ),
    (  # hop
        {"trunk": (12, 0, 0), "hip": (28, 8, 8), "knee": (48,)},
        HOP,
        {"trunk": (8, 0, 0), "hip": (25, 8, 8), "knee": (42,)},
    ),
    (  # dip
        {"pelvis": (12, 0, 0), "trunk": (8, 0, 0), "hip": (55, 28, 35), "knee": (82,)},
        {"trunk": (-10, 0, 0), "head": (-15, 0, 0), "hip": (8, 22, 20), "knee": (14,)},
    ),
    (  # twist
        {"pelvis": (5, 0, 28), "trunk": (8, 0, -45), "hip": (22, 8, 0), "knee": (40,)},
        {"pelvis": (5, 0, -28), "trunk": (8, 0, 45), "hip": (22, 8, 0), "knee": (40,)},
    ),
    (  # step kick
        {"trunk": (-4, 0, -10), "left_hip": (70, 6, 10), "left_knee": (25,),
            "left_ankle": (35, 0, 0)},
        {"place": (0, 0, 0, 0.2), "left_hip": (12, 8, 8), "right_hip": (-8, 8, 8), "knee": (18,)},
    ),
    (  # arabesque
        {"pelvis": (48, 0, 0), "trunk": (-6, 0, 0), "head": (-25, 0, 0), "left_hip": (-70, 8, 15),
            "left_knee": (8,), "left_ankle": (38, 0, 0)},
        {"hip": (3, 6, 10)},
    ),
    (  # wave through the body
        {"pelvis": (-16, 0, 0), "trunk": (34, 0, 0), "head": (18, 0, 0), "hip": (18, 8, 8),
            "knee": (40,)},
        {"pelvis": (14, 0, 0), "trunk": (-26, 0, 0), "head": (-16, 0, 0), "knee": (15,)},
    ),
    (  # leg to the side
        {"pelvis": (0, -22, 0), "left_hip": (5, 62, 10), "left_knee": (6,),
            "left_ankle": (35, 0, 0)},
        {"hip": (6, 8, 12), "knee": (16,)},
    ),
    (  # cross step
        {"place": (0, 0, -0.3, 0), "pelvis": (0, 0, -15), "left_hip": (20, -22, 0), "knee": (18,)},
        {"trunk": (0, 10, 0), "hip": (6, 16, 12), "knee": (14,)},
    ),
    ({"pelvis": (50, 0, 0), "trunk": (40, 0, 0), "knee": (12,)},),  # bow
    (
        {"pelvis": (0, 12, -15), "trunk": (-8, -14, -15), "left_hip": (12, 24, 30),
            "left_knee": (12,)},
    ),
)
