"""Key poses on knees, seat, hands, back and front; see `broad_key.py`."""

from tpifu.sources.synthetic.broad_key import (
    FEET,
    HANDS,
    KNEES,
    ON_HANDS,
    ON_TOES,
    SEAT,
    SHOULDERS,
    SOLES_UP,
    Key,
    Points,
)
from tpifu.sources.synthetic.key_pose import Pose
from tpifu.sources.synthetic.poses import ARMS

# fmt: off
KNEEL = (
    Key({"hip": (0, 8, 0), "knee": (92,)} | SOLES_UP, KNEES),
    Key({"pelvis": (-8, 0, 0), "trunk": (8, 0, 0), "hip": (60, 8, 0), "knee": (148,),
        "ankle": (60, 0, 0), "shoulder": (35, 12, 20), "elbow": (30,)}, (*KNEES, "left_ankle",
        "right_ankle")),
    Key({"pelvis": (30, 0, 0), "trunk": (35, 0, 0), "hip": (75, 14, 0), "knee": (140,),
        "shoulder": (120, 12, 0)} | SOLES_UP, KNEES),
    Key({"pelvis": (-15, 0, 0), "trunk": (-25, 0, 0), "head": (-20, 0, 0), "hip": (-8, 10, 0),
        "knee": (85,)} | ARMS["vee"] | SOLES_UP, KNEES),
    Key({"pelvis": (65, 0, 0), "trunk": (60, 0, 0), "head": (30, 0, 0), "hip": (80, 12, 0),
        "knee": (148,), "shoulder": (160, 15, 0)} | SOLES_UP, KNEES + HANDS, balance=False),
    Key({"pelvis": (5, 10, 10), "trunk": (10, 15, 30), "hip": (15, 12, 0), "knee": (100,),
        "left_shoulder": (60, 20, 0)} | SOLES_UP, KNEES),
    Key({"left_hip": (88, 8, 8), "left_knee": (90,), "right_hip": (-2, 6, 0), "right_knee": (92,),
        "right_ankle": (-15, 0, 50)}, ("left_foot", "right_knee")),
    Key({"pelvis": (25, 0, 0), "trunk": (30, 0, 0), "left_hip": (110, 10, 8), "left_knee": (115,),
        "right_hip": (25, 6, 0), "right_knee": (110,), "right_ankle": (30, 0, 0),
        "shoulder": (60, 12, 30), "elbow": (60,)}, ("left_foot", "right_knee")),
    Key({"pelvis": (5, 0, 0), "left_hip": (75, 40, 30), "left_knee": (85,), "right_hip": (0, 5, 0),
        "right_knee": (95,), "right_ankle": (40, 0, 0)} | ARMS["archer"], ("left_foot",
        "right_knee")),
    Key({"pelvis": (-5, 0, 0), "left_hip": (45, 50, 30), "left_knee": (5,), "right_hip": (0, 6, 0),
        "right_knee": (95,), "right_ankle": (40, 0, 0)}, ("left_foot", "right_knee")),
)
SIT = (
    Key({"pelvis": (-5, 0, 0), "hip": (85, 8, 8), "knee": (8,), "ankle": (20, 0, 0),
        "shoulder": (25, 15, 10)}, (*SEAT, "left_ankle", "right_ankle"), balance=False),
    Key({"pelvis": (-15, 0, 0), "trunk": (30, 0, 0), "hip": (75, 35, 55), "knee": (125,),
        "ankle": (25, 0, 0), "shoulder": (35, 12, 20), "elbow": (45,)}, (*SEAT, "left_ankle",
        "right_ankle"), balance=False),
    Key({"pelvis": (-15, 0, 0), "trunk": (40, 0, 0), "head": (10, 0, 0), "hip": (115, 8, 5),
        "knee": (120,), "ankle": (0, 1, 0), "shoulder": (65, 12, 45), "elbow": (60,)}, SEAT + FEET,
        balance=False),
    Key({"pelvis": (-40, 0, 0), "trunk": (-5, 0, 0), "hip": (50, 8, 8), "knee": (20,),
        "ankle": (15, 0, 0), "shoulder": (-55, 20, 0), "elbow": (8,), "wrist": (-65, 0)}, (*SEAT,
        *HANDS, "left_ankle", "right_ankle"), balance=False),
    Key({"pelvis": (-25, 0, 0), "trunk": (10, 0, 0), "hip": (75, 12, 10), "knee": (85,),
        "ankle": (0, 1, 0), "shoulder": (-40, 15, 0), "wrist": (-65, 0)}, SEAT + HANDS + FEET,
        balance=False),
    Key({"pelvis": (25, 0, 0), "trunk": (50, 0, 0), "head": (15, 0, 0), "hip": (86, 8, 8),
        "knee": (8,), "shoulder": (110, 10, 0)}, (*SEAT, "left_ankle", "right_ankle"),
        balance=False),
    Key({"pelvis": (10, 0, 0), "trunk": (20, 10, 0), "hip": (84, 42, 15), "knee": (8,),
        "shoulder": (60, 30, 0)}, (*SEAT, "left_ankle", "right_ankle"), balance=False),
    Key({"pelvis": (-5, 12, 0), "trunk": (10, -15, 15), "left_hip": (80, 40, 65),
        "left_knee": (115,), "right_hip": (70, 15, -50), "right_knee": (120,), "ankle": (30, 0, 0),
        "left_shoulder": (-5, 55, 0), "left_wrist": (-60, 0)}, (*SEAT, "left_hand"), balance=False),
    Key({"pelvis": (-8, 0, 0), "trunk": (25, 0, 30), "left_hip": (110, 0, -5), "left_knee": (120,),
        "left_ankle": (0, 1, 0), "right_hip": (85, 5, 8), "right_knee": (6,),
        "left_shoulder": (40, 20, 0)}, (*SEAT, "left_foot", "right_ankle"), balance=False),
    Key({"pelvis": (-30, 0, 0), "trunk": (25, 0, 0), "hip": (80, 6, 5), "knee": (15,),
        "ankle": (35, 0, 0), "shoulder": (75, 10, 0)}, SEAT, balance=False),
)
ALL_FOURS: Pose = {"head": (-35, 0, 0), "hip": (90, 5, 0), "knee": (88,)} | ON_HANDS | SOLES_UP


def four(pose: Pose, points: Points = KNEES + HANDS, pitch: int = 85) -> Key:
    return Key(ALL_FOURS | pose, points, pitch=pitch)


CRAWL = (
    four({"place": (0, 0, 0, 0.12), "trunk": (0, 4, 6), "left_shoulder": (112, 8, 0),
        "right_shoulder": (65, 8, 0), "left_hip": (70, 5, 0), "right_hip": (112, 5, 0)}),
    four({"place": (0, 0, 0, 0.12), "left_shoulder": (92, 8, 0), "right_shoulder": (90, 12, 0),
        "right_elbow": (35,), "left_hip": (95, 8, 0), "left_knee": (100,),
        "right_hip": (92, 5, 0)}),
    four({"place": (0, 0, 0, 0.12), "trunk": (0, -4, -6), "left_shoulder": (65, 8, 0),
        "right_shoulder": (112, 8, 0), "left_hip": (112, 5, 0), "right_hip": (70, 5, 0)}),
    four({"place": (0, 0, 0, 0.12), "left_shoulder": (90, 12, 0), "left_elbow": (35,),
        "right_shoulder": (92, 8, 0), "left_hip": (92, 5, 0), "right_hip": (95, 8, 0),
        "right_knee": (100,)}),
)
BEAR = tuple(
    Key(key.pose | {"left_knee": (62 + d,), "right_knee": (62 - d,), "left_hip": (104 + d, 6, 0),
        "right_hip": (104 - d, 6, 0)} | ON_TOES, FEET + HANDS, pitch=82)
    for key, d in zip(CRAWL, (-18, 0, 18, 0), strict=True)
)
COMMANDO = (  # on the elbows, close to the floor
    Key({"head": (-40, 0, 0), "trunk": (-15, 10, 10), "left_hip": (55, 55, 40), "left_knee": (95,),
        "right_hip": (-5, 10, 10), "right_knee": (12,), "ankle": (40, 0, 0),
        "left_shoulder": (95, 35, 10), "left_elbow": (100,), "right_shoulder": (140, 25, 0),
        "right_elbow": (75,)}, ("pelvis", "left_elbow", "right_elbow"), pitch=84),
    Key({"head": (-40, 0, 0), "trunk": (-15, -10, -10), "right_hip": (55, 55, 40),
        "right_knee": (95,), "left_hip": (-5, 10, 10), "left_knee": (12,), "ankle": (40, 0, 0),
        "right_shoulder": (95, 35, 10), "right_elbow": (100,), "left_shoulder": (140, 25, 0),
        "left_elbow": (75,)}, ("pelvis", "left_elbow", "right_elbow"), pitch=84),
)
FOURS = (
    four({}),
    four({"trunk": (45, 0, 0), "head": (30, 0, 0)}),
    four({"trunk": (-35, 0, 0), "head": (-45, 0, 0)}),
    four({"left_hip": (5, 5, 0), "left_knee": (10,)}, ("right_knee", *HANDS)),
    four({"left_shoulder": (165, 10, 0), "right_hip": (0, 5, 0), "right_knee": (15,)}, ("left_knee",
        "right_hand")),
    four({"trunk": (5, 10, 40), "left_shoulder": (20, 110, 0), "head": (0, 0, 40)}, (*KNEES,
        "right_hand")),
    four({"hip": (5, 6, 5), "knee": (5,), "head": (-15, 0, 0)} | ON_TOES, FEET + HANDS, 72),
    four({"hip": (5, 6, 5), "knee": (5,), "shoulder": (60, 45, 0), "elbow": (95,)} | ON_TOES,
        FEET + HANDS, 84),
    four({"left_hip": (100, 8, 5), "left_knee": (110,), "left_ankle": (0, 0, 45),
        "right_hip": (0, 5, 5), "right_knee": (10,), "right_ankle": (-20, 0, 50)}, FEET + HANDS,
        75),
    four({"hip": (115, 8, 0), "knee": (125,), "shoulder": (150, 10, 0)}, KNEES + HANDS, 75),
)
BACK: Points = (*SHOULDERS, "pelvis", "head")
FLAT: Pose = {"hip": (0, 9, 15), "knee": (4,), "ankle": (30, 0, 0), "trunk": (0, 0, 0),
    "shoulder": (0, 20, 0)}


def lie(pose: Pose, points: Points = BACK, pitch: int = -88, spin: int = 0) -> Key:
    return Key(FLAT | pose, points, pitch=pitch, spin=spin, balance=False)


LIE_BACK = (
    lie({}, (*BACK, "left_ankle", "right_ankle")),
    lie({"shoulder": (0, 85, 0), "hip": (2, 22, 20)}, (*BACK, *HANDS)),
    lie({"shoulder": (5, 160, 0), "elbow": (30,)}),
    lie({"hip": (50, 8, 5), "knee": (98,), "ankle": (20, 0, 0)} | ARMS["clasped"], BACK + FEET),
    lie({"left_hip": (52, 8, 8), "left_knee": (95,), "left_ankle": (20, 0, 0)}
        | ARMS["behind head"], (*BACK, "left_foot", "right_ankle")),
    lie({"hip": (92, 8, 5), "knee": (12,)}),
    lie({"trunk": (25, 0, 0), "head": (30, 0, 0), "hip": (120, 15, 8), "knee": (130,),
        "shoulder": (60, 15, 30), "elbow": (70,)}),
    lie({"trunk": (40, 0, 0), "head": (30, 0, 0), "hip": (45, 8, 5), "knee": (90,),
        "ankle": (20, 0, 0), "shoulder": (70, 10, 0)}, ("pelvis", *FEET)),
    lie({"hip": (60, 45, 50), "knee": (100,)}, (*BACK, "left_ankle", "right_ankle")),
    lie({"left_hip": (110, 5, 5), "left_knee": (110,), "left_shoulder": (70, 10, 0),
        "left_elbow": (60,)}, (*BACK, "right_ankle")),
    lie({"trunk": (0, 0, 40), "pelvis": (0, 0, -30), "left_hip": (80, -15, 0), "left_knee": (75,),
        "shoulder": (0, 80, 0)}),
    lie({"hip": (-25, 8, 5), "knee": (85,), "trunk": (-10, 0, 0), "ankle": (0, 0, 0)}, (*SHOULDERS,
        *FEET, "head"), -70),
    lie({"trunk": (60, 0, 0), "head": (40, 0, 0), "hip": (95, 8, 5), "knee": (10,),
        "shoulder": (-20, 20, 0)}, SHOULDERS, -150),
)
FRONT: Points = (*SHOULDERS, "pelvis", "left_knee", "right_knee")
LIE_FRONT = (
    lie({"head": (-10, 0, 55), "shoulder": (10, 40, 0)}, FRONT, 88),
    lie({"head": (-20, 0, 0), "shoulder": (5, 150, 0), "elbow": (85,)}, FRONT, 88),
    lie({"shoulder": (0, 165, 0), "head": (-30, 0, 0), "elbow": (10,)}, FRONT, 88),
    lie({"trunk": (-40, 0, 0), "head": (-35, 0, 0), "shoulder": (85, 15, 10), "elbow": (85,)},
        ("pelvis", "left_elbow", "right_elbow", *KNEES), 80),
    lie({"trunk": (-55, 0, 0), "head": (-35, 0, 0)} | ON_HANDS, ("pelvis", *HANDS, *KNEES), 78),
    lie({"left_hip": (50, 60, 40), "left_knee": (90,), "head": (-10, 0, 60),
        "left_shoulder": (20, 120, 0), "left_elbow": (80,)}, (*SHOULDERS, "pelvis", "right_knee"),
        88),
    lie({"knee": (95,), "trunk": (-25, 0, 0), "head": (-25, 0, 0), "shoulder": (90, 20, 10),
        "elbow": (110,)}, ("pelvis", "left_elbow", "right_elbow", *KNEES), 84),
    lie({"trunk": (-45, 0, 0), "hip": (-22, 10, 8), "head": (-30, 0, 0), "shoulder": (-25, 40, 0)},
        ("pelvis",), 88),
    lie({"left_knee": (60,), "shoulder": (-10, 20, 30), "head": (-5, 0, -60)}, FRONT, 88),
)
ON_LEFT: Points = ("left_shoulder", "left_hip", "left_knee")
LIE_SIDE = (
    lie({"hip": (45, 4, 0), "knee": (70,), "trunk": (20, 0, 0), "shoulder": (60, 15, 10),
        "elbow": (80,)}, ON_LEFT, spin=90),
    lie({"hip": (100, 4, 0), "knee": (120,), "trunk": (50, 0, 0), "head": (30, 0, 0),
        "shoulder": (60, 10, 30), "elbow": (100,)}, ON_LEFT, spin=90),
    lie({"left_shoulder": (20, 165, 0), "hip": (5, 5, 0), "right_hip": (35, 8, 0),
        "right_knee": (60,)}, (*ON_LEFT, "left_elbow"), spin=90),
    lie({"trunk": (0, -25, 0), "head": (0, -20, 0), "left_shoulder": (25, 100, 0),
        "left_elbow": (120,), "hip": (15, 4, 0), "knee": (25,)}, ("left_elbow", "left_hip",
        "left_knee"), spin=90),
    lie({"right_hip": (5, 45, 10), "hip": (3, 4, 0), "left_shoulder": (40, 140, 0),
        "left_elbow": (70,)}, ON_LEFT, spin=90),
    lie({"trunk": (0, 0, 25), "right_hip": (75, -5, 0), "right_knee": (80,),
        "right_shoulder": (75, 10, 0), "left_shoulder": (70, 20, 0), "left_elbow": (60,)}, ON_LEFT,
        spin=75),
    lie({"left_shoulder": (10, 85, 0), "left_wrist": (-40, 0), "hip": (2, 4, 0),
        "right_shoulder": (10, 90, 0)}, ("left_hand", "left_ankle"), spin=90, pitch=-68),
)
TUCK: Pose = {"trunk": (65, 0, 0), "head": (45, 0, 0), "hip": (125, 10, 5), "knee": (130,),
    "ankle": (20, 0, 0), "shoulder": (60, 38, 0), "elbow": (75,)}
LOG: Pose = {"shoulder": (5, 160, 0), "elbow": (25,), "hip": (5, 6, 5), "knee": (12,)}
ROLL_LONG = (  # about the long axis
    lie(LOG | {"trunk": (8, 0, -8)}),
    lie(LOG | {"hip": (25, 5, 0), "knee": (35,), "trunk": (15, 0, -20)}, ON_LEFT, spin=90),
    lie(LOG | {"trunk": (-8, 0, -8), "head": (-20, 0, 20)}, FRONT, spin=180),
    lie(LOG | {"hip": (20, 5, 0), "knee": (30,), "trunk": (5, 0, -20)},
        ("right_shoulder", "right_hip", "right_knee"), spin=270),
)
ROLL_OVER = (  # a forward roll
    Key({"pelvis": (40, 0, 0), "trunk": (50, 0, 0), "head": (35, 0, 0), "hip": (110, 12, 8),
        "knee": (135,), "ankle": (0, 0.5, 35), "shoulder": (100, 15, 0), "elbow": (30,),
        "wrist": (-50, 0)}, FEET + HANDS),
    Key(TUCK | {"hip": (95, 10, 5), "knee": (60,), "shoulder": (130, 20, 0), "elbow": (60,)}, (),
        pitch=115),
    Key(TUCK | {"hip": (115, 10, 5), "knee": (80,)}, SHOULDERS, pitch=200, balance=False),
    Key(TUCK, ("spine2", "pelvis"), pitch=270, balance=False),
    Key(TUCK | {"trunk": (50, 0, 0)}, (*SEAT, *FEET), pitch=325, balance=False),
    Key({"pelvis": (45, 0, 0), "trunk": (40, 0, 0), "hip": (105, 12, 8), "knee": (125,),
        "ankle": (0, 0.5, 30), "shoulder": (80, 15, 0)}, pitch=360),
)
CRAB = (
    Key({"head": (20, 0, 0), "hip": (8, 8, 5), "knee": (88,), "ankle": (5, 0, 0),
        "shoulder": (-75, 14, 0), "elbow": (8,), "wrist": (-70, 0)}, FEET + HANDS, pitch=-85),
    Key({"head": (20, 0, 0), "hip": (35, 10, 8), "knee": (95,), "ankle": (10, 0, 0),
        "shoulder": (-65, 18, 0), "elbow": (15,), "wrist": (-70, 0)}, FEET + HANDS, pitch=-65),
    Key({"left_hip": (75, 8, 5), "left_knee": (15,), "right_hip": (8, 8, 5), "right_knee": (88,),
        "ankle": (10, 0, 0), "shoulder": (-72, 14, 0), "wrist": (-70, 0)}, ("right_foot", *HANDS),
        pitch=-80),
    Key({"trunk": (-55, 0, 0), "head": (-40, 0, 0), "hip": (-22, 12, 10), "knee": (75,),
        "shoulder": (168, 15, 0), "elbow": (8,), "wrist": (-75, 0)}, FEET + HANDS, pitch=-100,
        balance=False),
    Key({"hip": (3, 8, 8), "knee": (5,), "ankle": (40, 0, 0), "shoulder": (-62, 14, 0),
        "elbow": (5,), "wrist": (-70, 0)}, (*HANDS, "left_ankle", "right_ankle"), pitch=-66),
    SIT[3], SIT[4], LIE_BACK[11],
)
INVERTED = (
    Key({"shoulder": (172, 8, 0), "elbow": (5,), "wrist": (-70, 0), "hip": (0, 5, 5), "knee": (5,),
        "ankle": (35, 0, 0), "head": (-25, 0, 0)}, HANDS, pitch=180),
    Key({"shoulder": (172, 8, 0), "elbow": (5,), "wrist": (-70, 0), "left_hip": (50, 8, 5),
        "left_knee": (15,), "right_hip": (-35, 8, 8), "right_knee": (25,), "head": (-20, 0, 0)},
        HANDS, pitch=175),
    Key({"shoulder": (165, 8, 0), "elbow": (5,), "wrist": (-70, 0), "left_hip": (75, 8, 5),
        "left_knee": (35,), "left_ankle": (0, 0, 30), "right_hip": (-25, 8, 5),
        "right_knee": (10,)}, ("left_hand", "right_hand", "left_foot"), pitch=118),
    Key({"shoulder": (0, 165, 0), "wrist": (-60, 0), "hip": (0, 55, 15), "knee": (5,),
        "ankle": (30, 0, 0)}, HANDS, pitch=180),
    Key({"shoulder": (100, 30, 20), "elbow": (110,), "hip": (10, 5, 5), "knee": (15,),
        "head": (-10, 0, 0)}, ("head", "left_elbow", "right_elbow"), pitch=178),
    Key({"trunk": (20, 0, 0), "shoulder": (160, 15, 0), "wrist": (-70, 0), "hip": (100, 8, 5),
        "knee": (120,)}, HANDS, pitch=165),
    Key({"trunk": (-45, 0, 0), "hip": (-25, 12, 8), "knee": (70,), "shoulder": (165, 15, 0),
        "wrist": (-70, 0), "ankle": (10, 0, 0)}, HANDS + FEET, pitch=220, balance=False),
)
