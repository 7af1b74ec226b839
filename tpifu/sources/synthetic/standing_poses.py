"""Standing key poses; see `broad_key.py`."""

from tpifu.sources.synthetic.broad_key import FEET, HANDS, RIGHT_FOOT, Key, Points
from tpifu.sources.synthetic.key_pose import Pose
from tpifu.sources.synthetic.poses import ARMS

# fmt: off
STAND = (
    Key({}),
    Key({"hip": (3, 10, 12)} | ARMS["hips"]),
    Key({"trunk": (-8, 12, 20), "left_hip": (8, 8, 20), "left_knee": (18,),
        "left_shoulder": (10, 150, 0)}),
    Key({"trunk": (5, -14, -25), "left_shoulder": (100, 20, 0), "left_elbow": (15,)}),
    Key({"trunk": (-10, 0, 0), "head": (-25, 0, 0)} | ARMS["overhead"]),
    Key({"trunk": (15, 0, 0), "head": (25, 0, 0), "shoulder": (50, 10, 20), "elbow": (70,)}),
    Key({"trunk": (5, 20, 0), "left_hip": (0, 14, 10), "right_shoulder": (10, 160, 0),
        "head": (0, 10, 30)}),
    Key({"trunk": (4, 0, -30), "head": (0, 0, -40), "left_shoulder": (75, -15, 0),
        "right_shoulder": (-35, 40, 0)}),
)
# Left leg in six phases of two steps, starting at its contact: hip, knee, ankle pointed, toes up.
GAIT = (
    (24, 4, -3, 0), (14, 16, 5, 0), (0, 10, -8, 0),
    (-20, 14, 0, 25), (-4, 55, 14, 10), (24, 42, -3, 0),
)


def gait(stride: float, reach: float, high: float, crouch: int, arms: float) -> tuple[Key, ...]:
    """Two steps, `stride` metres in total. `high` scales the flexion of hips and knees, `reach`
    that of the hips, `arms` the arm swing; `crouch` bends both legs, degrees."""
    keys = []
    for phase in range(6):
        pose: Pose = {
            "place": (0, 0, 0, stride / 6), "pelvis": (3 + crouch / 4, 0, 0),
            "trunk": (3 + crouch / 3, 0, 0),
        }
        legs = {"left": GAIT[phase], "right": GAIT[(phase + 3) % 6]}
        for side, (hip, knee, point, toes) in legs.items():
            pose |= {
                f"{side}_hip": (reach * high * hip + crouch, 3, 6),
                f"{side}_knee": (high * knee + 1.9 * crouch,),
                f"{side}_ankle": (point - crouch, 0, toes),
                f"{side}_shoulder": (-arms * hip, 14, 10),
                f"{side}_elbow": (18 + 25 * (high - 1),),
            }
        support: Points = ("left_foot",) if phase < 3 else ("right_foot",)
        # While walking, the other foot is still on the floor when one lands.
        keys.append(Key(pose, FEET if phase % 3 == 0 and high < 1.5 else support))
    return tuple(keys)


BEND = (
    Key({"pelvis": (55, 0, 0), "trunk": (40, 0, 0), "knee": (12,), "shoulder": (60, 10, 0)}),
    Key({"pelvis": (85, 0, 0), "trunk": (55, 0, 0), "head": (20, 0, 0), "knee": (10,),
        "shoulder": (120, 10, 0)}),
    Key({"pelvis": (70, 0, 0), "trunk": (5, 0, 0), "head": (-30, 0, 0)} | ARMS["wings"]),
    Key({"pelvis": (40, 0, 0), "trunk": (35, 15, 35), "hip": (25, 10, 10), "knee": (45,),
        "left_shoulder": (80, 15, 0)}),
    Key({"pelvis": (45, 0, 0), "trunk": (45, 0, 0), "hip": (55, 14, 12), "knee": (85,),
        "shoulder": (65, 12, 0), "elbow": (25,)}),
    Key({"pelvis": (5, 18, 0), "trunk": (0, 38, 0), "hip": (2, 16, 10),
        "right_shoulder": (5, 165, 0)}),
    Key({"pelvis": (-22, 0, 0), "trunk": (-45, 0, 0), "head": (-35, 0, 0), "hip": (8, 10, 10),
        "knee": (30,)} | ARMS["overhead"]),
    Key({"pelvis": (40, 0, 0), "trunk": (30, 0, 0), "hip": (40, 12, 10), "knee": (60,),
        "shoulder": (20, 15, 40), "elbow": (40,), "head": (-25, 0, 0)}),
)
HANDS_DOWN = (
    Key({"pelvis": (80, 0, 0), "trunk": (45, 0, 0), "knee": (15,), "shoulder": (100, 12, 0),
        "wrist": (-50, 0)}, FEET + HANDS),
    Key({"pelvis": (115, 0, 0), "trunk": (15, 0, 0), "head": (-5, 0, 0), "hip": (-8, 6, 5),
        "knee": (8,), "shoulder": (170, 10, 0), "wrist": (-65, 0)}, FEET + HANDS),
    Key({"pelvis": (70, 0, 0), "trunk": (35, 0, 15), "hip": (70, 25, 20), "knee": (110,),
        "left_shoulder": (95, 10, 0), "right_shoulder": (60, 60, 0)}, (*FEET, "left_hand")),
    Key({"pelvis": (80, 0, 0), "trunk": (30, 0, -35), "hip": (0, 28, 12),
        "left_shoulder": (95, 0, 0), "right_shoulder": (0, 100, 0)}, (*FEET, "left_hand")),
    Key({"pelvis": (60, 0, 0), "trunk": (30, 0, 0), "head": (-30, 0, 0), "left_hip": (95, 6, 5),
        "left_knee": (100,), "right_hip": (-15, 4, 0), "right_knee": (30,),
        "right_ankle": (-10, 0, 45), "shoulder": (95, 15, 0), "elbow": (8,), "wrist": (-60, 0)},
        FEET + HANDS),
    Key({"pelvis": (95, 0, 0), "trunk": (5, 0, 0), "head": (-20, 0, 0), "hip": (45, 8, 5),
        "knee": (60,), "wrist": (-65, 0), "shoulder": (95, 10, 0), "ankle": (-15, 0, 35)},
        FEET + HANDS),
)
SQUATS = (
    Key({"pelvis": (38, 0, 0), "trunk": (14, 0, 0), "head": (-20, 0, 0), "hip": (88, 20, 14),
        "knee": (108,), "shoulder": (75, 15, 0)}),
    Key({"pelvis": (30, 0, 0), "trunk": (45, 0, 0), "hip": (115, 22, 20), "knee": (145,),
        "ankle": (0, 1, 0), "shoulder": (60, 20, 10), "elbow": (40,)}),
    Key({"pelvis": (25, 0, 0), "trunk": (55, 0, 0), "head": (30, 0, 0), "hip": (110, 8, 5),
        "knee": (140,), "ankle": (0, 0.5, 35), "shoulder": (70, 15, 40), "elbow": (70,)}),
    Key({"pelvis": (15, 0, 0), "trunk": (5, 0, 0), "hip": (60, 48, 45), "knee": (85,),
        "shoulder": (20, 25, 20), "elbow": (50,)}),
    Key({"pelvis": (40, 0, 0), "trunk": (10, 0, 0), "left_hip": (95, 25, 25), "left_knee": (125,),
        "right_hip": (20, 50, 20), "right_knee": (8,), "shoulder": (80, 10, 0)}),
    Key({"pelvis": (50, 0, 0), "trunk": (30, 0, 0), "head": (-30, 0, 0), "hip": (60, 12, 10),
        "knee": (95,), "shoulder": (15, 25, 0), "elbow": (60,)}),
    Key({"pelvis": (20, 0, 0), "trunk": (20, 0, 20), "left_hip": (95, 12, 10), "left_knee": (110,),
        "right_hip": (55, 10, 5), "right_knee": (135,), "right_ankle": (0, 0, 50),
        "shoulder": (45, 12, 30), "elbow": (70,)}),
)
CHAIR = (
    Key({"pelvis": (-5, 0, 0), "trunk": (10, 0, 0), "hip": (85, 8, 8), "knee": (88,),
        "shoulder": (30, 12, 20), "elbow": (50,)}, balance=False),
    Key({"pelvis": (25, 0, 0), "trunk": (30, 0, 0), "hip": (85, 18, 15), "knee": (95,),
        "shoulder": (60, 20, 20), "elbow": (70,)}, balance=False),
    Key({"pelvis": (-25, 0, 0), "trunk": (15, 0, 0), "hip": (70, 14, 12), "knee": (60,),
        "shoulder": (10, 25, 20), "elbow": (45,)}, balance=False),
    Key({"pelvis": (-10, 0, 0), "trunk": (15, 0, 0), "left_hip": (98, -12, 0), "left_knee": (80,),
        "left_ankle": (20, 0, 0), "right_hip": (82, 8, 8), "right_knee": (90,),
        "shoulder": (40, 10, 40), "elbow": (75,)}, ("right_foot",), balance=False),
    Key({"pelvis": (40, 0, 0), "trunk": (35, 0, 0), "head": (-20, 0, 0), "hip": (80, 14, 12),
        "knee": (100,), "shoulder": (50, 15, 0), "elbow": (30,)}),
    Key({"pelvis": (-5, 0, 0), "trunk": (5, 12, 30), "head": (0, 0, 35), "hip": (85, 14, 12),
        "knee": (85,), "left_shoulder": (-20, 40, 30), "left_elbow": (60,)}, balance=False),
)
GUARD: Pose = {"pelvis": (6, 0, -20), "trunk": (12, 0, -15), "head": (5, 0, 20),
    "left_hip": (25, 12, 10), "left_knee": (25,), "right_hip": (-8, 14, 35),
    "right_knee": (28,)} | ARMS["guard"]


def hit(pose: Pose) -> Key:
    return Key(GUARD | {"elbow": (125,)} | pose)


PUNCHES = (
    hit({}),
    hit({"left_shoulder": (92, 8, 0), "left_elbow": (6,), "trunk": (12, 0, -35)}),
    hit({"right_shoulder": (95, 5, 0), "right_elbow": (6,), "trunk": (18, 0, 35),
        "pelvis": (8, 0, 15), "right_ankle": (20, 0, 35)}),
    hit({"left_shoulder": (60, 85, 30), "left_elbow": (85,), "trunk": (8, -5, -40)}),
    hit({"right_shoulder": (55, 85, 30), "right_elbow": (85,), "trunk": (10, 5, 40)}),
    hit({"right_shoulder": (95, 10, -20), "right_elbow": (95,), "trunk": (0, 8, 30),
        "left_knee": (40,), "left_hip": (35, 12, 10)}),
    hit({"trunk": (35, 20, 10), "left_hip": (45, 14, 10), "left_knee": (60,),
        "right_hip": (15, 14, 30), "right_knee": (55,)}),
    hit({"trunk": (-12, -15, -10)}),
    hit({"shoulder": (80, 45, -40), "elbow": (130,), "trunk": (15, 0, 0)}),
    hit({"left_shoulder": (-40, 35, 0), "left_elbow": (100,), "right_shoulder": (95, 10, 0),
        "right_elbow": (20,), "trunk": (5, 0, 30)}),
)
SUPPORT: Pose = {"right_hip": (6, 4, 15), "right_knee": (14,), "left_ankle": (25, 0, 0)}
KICK = (
    hit({}),
    Key(SUPPORT | {"left_hip": (85, 10, 0), "left_knee": (118,)} | ARMS["guard"], RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (-15, 0, 0), "left_hip": (92, 4, 0), "left_knee": (8,)}
        | ARMS["guard"], RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (-22, 0, 0), "trunk": (15, 0, 0), "left_hip": (128, 5, 5),
        "left_knee": (8,)}, RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (0, -30, -15), "left_hip": (40, 65, -20), "left_knee": (110,)}
        | ARMS["guard"], RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (0, -42, -20), "trunk": (0, -8, 0), "left_hip": (15, 85, -12),
        "left_knee": (8,)} | ARMS["guard"], RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (0, -30, -45), "trunk": (0, 0, 25), "left_hip": (75, 50, -15),
        "left_knee": (10,)} | ARMS["guard"], RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (58, 0, 0), "trunk": (5, 0, 25), "left_hip": (-80, 10, 0),
        "left_knee": (12,)}, RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (5, 0, 15), "trunk": (5, 0, 20), "left_hip": (-38, 12, 0),
        "left_knee": (90,)}, RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (-8, 0, -12), "trunk": (16, 0, -20), "left_hip": (65, -5, 10),
        "left_knee": (12,)}, RIGHT_FOOT),
    Key(SUPPORT | {"trunk": (20, 0, 10), "left_hip": (115, 4, 0), "left_knee": (130,),
        "shoulder": (40, 20, 20), "elbow": (90,)}, RIGHT_FOOT),
)
YOGA = (
    Key(SUPPORT | {"left_hip": (50, 55, 60), "left_knee": (135,)} | ARMS["overhead"], RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (85, 0, 0), "left_hip": (-80, 4, 5), "left_knee": (4,),
        "head": (-15, 0, 0)} | ARMS["sideways"], RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (80, 0, 0), "left_hip": (-82, 4, 5), "left_knee": (4,)}
        | ARMS["overhead"], RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (40, 0, 0), "trunk": (-20, 0, 15), "left_hip": (-60, 8, 5),
        "left_knee": (95,), "left_shoulder": (-60, 20, 0), "right_shoulder": (120, 10, 0)},
        RIGHT_FOOT),
    Key(SUPPORT | {"pelvis": (0, -75, 0), "left_hip": (0, 80, 10), "left_knee": (4,),
        "right_shoulder": (0, 95, 0), "left_shoulder": (0, 95, 0), "trunk": (0, -5, 0)},
        (*RIGHT_FOOT, "right_hand")),
    Key({"pelvis": (0, -55, 0), "trunk": (0, -15, 10), "hip": (0, 32, 25), "knee": (4,)}
        | ARMS["sideways"], FEET),
    Key({"trunk": (-15, 0, 0), "left_hip": (85, 8, 8), "left_knee": (85,),
        "right_hip": (-28, 4, 30), "right_knee": (8,)} | ARMS["overhead"], FEET),
    Key({"pelvis": (15, 0, 0), "trunk": (5, 0, 0), "hip": (60, 5, 0), "knee": (80,)}
        | ARMS["overhead"], FEET),
)
LUNGE = (
    Key({"left_hip": (75, 6, 8), "left_knee": (78,), "right_hip": (-17, 4, 0), "right_knee": (66,),
        "right_ankle": (0, 0, 50)}),
    Key({"pelvis": (30, 0, 0), "trunk": (15, 0, 10), "left_hip": (85, 8, 8), "left_knee": (88,),
        "right_hip": (-38, 4, 0), "right_knee": (22,), "right_ankle": (-10, 0, 45)}),
    Key({"pelvis": (25, 0, 0), "trunk": (15, 0, 0), "left_hip": (75, 28, 25), "left_knee": (92,),
        "right_hip": (0, 42, 8), "right_knee": (4,)}),
    Key({"pelvis": (5, 0, -25), "left_hip": (60, 20, 10), "left_knee": (68,),
        "right_hip": (-22, 25, 45), "right_knee": (10,)} | ARMS["archer"]),
    Key({"pelvis": (50, 0, 0), "trunk": (30, 0, 0), "left_hip": (100, 10, 8), "left_knee": (95,),
        "right_hip": (-25, 4, 0), "right_knee": (30,), "right_ankle": (-5, 0, 45),
        "shoulder": (80, 15, 0)}),
    Key({"hip": (8, 12, 10), "knee": (20,)}),
    Key({"trunk": (10, 0, 0), "left_hip": (60, 5, 5), "left_knee": (85,), "right_knee": (10,)},
        RIGHT_FOOT),
)
JUMP = (
    Key({"pelvis": (35, 0, 0), "trunk": (15, 0, 0), "head": (-20, 0, 0), "hip": (60, 8, 8),
        "knee": (88,), "shoulder": (-42, 18, 0)}),
    Key({"hip": (-6, 6, 5), "knee": (6,), "ankle": (42, 0, 25), "shoulder": (140, 20, 0)},
        balance=False),
    Key({"hip": (-10, 12, 5), "knee": (40,), "ankle": (38, 0, 0), "shoulder": (150, 40, 0),
        "trunk": (-12, 0, 0)}, (), lift=0.35),
    Key({"pelvis": (10, 0, 0), "hip": (50, 10, 8), "knee": (60,), "shoulder": (80, 40, 0)}, (),
        lift=0.1),
    Key({"pelvis": (28, 0, 0), "trunk": (15, 0, 0), "hip": (60, 12, 8), "knee": (85,),
        "shoulder": (50, 30, 0)}),
    Key({"left_hip": (10, 8, 8), "hip": (8, 8, 8), "knee": (15,)}),
)
LEAP = (
    *JUMP[:2],
    Key({"left_hip": (75, 8, 5), "left_knee": (20,), "right_hip": (-45, 8, 8), "right_knee": (25,),
        "ankle": (35, 0, 0), "shoulder": (60, 80, 0)}, (), lift=0.35),
    Key({"left_hip": (30, 8, 5), "left_knee": (15,), "right_hip": (-20, 8, 5), "right_knee": (70,)},
        (), lift=0.08),
    *JUMP[4:],
)
TUCKED = (
    *JUMP[:2],
    Key({"trunk": (25, 0, 0), "hip": (110, 12, 5), "knee": (120,), "ankle": (30, 0, 0),
        "shoulder": (60, 20, 20), "elbow": (60,)}, (), lift=0.4),
    *JUMP[3:],
)
WIDE = (
    Key({"hip": (5, 35, 20), "knee": (10,)}),
    Key({"pelvis": (5, 0, 0), "hip": (45, 45, 40), "knee": (75,)}),
    Key({"pelvis": (70, 0, 0), "trunk": (40, 0, 0), "hip": (0, 38, 10), "knee": (5,),
        "shoulder": (100, 20, 0)}),
    Key({"pelvis": (5, 15, 0), "trunk": (5, 25, 0), "left_hip": (55, 50, 45), "left_knee": (85,),
        "right_hip": (0, 48, 20), "right_knee": (4,), "left_shoulder": (40, 40, 0)}),
    Key({"trunk": (5, 0, 40), "pelvis": (5, 0, 15), "hip": (12, 32, 20), "knee": (30,)}
        | ARMS["sideways"]),
    Key({"trunk": (0, -30, 0), "hip": (5, 30, 20), "knee": (8,), "left_shoulder": (5, 165, 0),
        "right_shoulder": (0, 30, 0)}),
)
DANCE = (
    Key({"pelvis": (0, 14, -5), "trunk": (0, -18, 8), "right_hip": (16, 8, 10),
        "right_knee": (30,)}),
    Key({"left_hip": (40, 28, 35), "left_knee": (90,), "left_ankle": (35, 0, 0)}, RIGHT_FOOT),
    Key({"pelvis": (5, 0, 28), "trunk": (8, 0, -45), "hip": (22, 10, 0), "knee": (42,)}),
    Key({"pelvis": (48, 0, 0), "trunk": (-8, 0, 0), "left_hip": (-70, 8, 15), "left_knee": (8,),
        "left_ankle": (38, 0, 0)}, RIGHT_FOOT),
    Key({"trunk": (-20, 0, 0), "head": (-20, 0, 0), "hip": (5, 20, 20), "knee": (20,)}),
    Key({"pelvis": (12, 0, 0), "trunk": (10, 0, 0), "hip": (55, 30, 35), "knee": (85,)}),
    Key({"pelvis": (0, -24, 0), "left_hip": (5, 70, 15), "left_knee": (6,),
        "left_ankle": (35, 0, 0)}, RIGHT_FOOT),
    Key({"left_hip": (95, 10, 15), "left_knee": (10,), "left_ankle": (35, 0, 0),
        "trunk": (-5, 0, 0)}, RIGHT_FOOT),
    Key({"place": (90, 0, 0, 0), "left_hip": (15, 20, 30), "left_knee": (30,),
        "left_ankle": (25, 0, 0)}, RIGHT_FOOT),
    Key({"left_hip": (30, -22, 0), "left_knee": (35,), "right_hip": (5, 8, 15),
        "trunk": (0, 12, 15)}),
    Key({"pelvis": (35, 0, 0), "trunk": (25, -15, 20), "hip": (35, 14, 12), "knee": (55,),
        "head": (10, 0, 20)}),
)
THROW = (
    Key({"pelvis": (0, 0, -35), "trunk": (-15, -10, -40), "left_hip": (15, 15, 10),
        "right_hip": (5, 15, 30), "right_knee": (35,), "right_shoulder": (-10, 100, -80),
        "right_elbow": (95,), "left_shoulder": (80, 30, 0)}),
    Key({"pelvis": (15, 0, 25), "trunk": (35, 10, 35), "left_hip": (45, 10, 10), "left_knee": (35,),
        "right_hip": (-25, 10, 10), "right_knee": (30,), "right_ankle": (20, 0, 35),
        "right_shoulder": (95, 20, 20), "right_elbow": (20,), "left_shoulder": (-30, 30, 0)}),
    Key({"pelvis": (30, 0, 0), "trunk": (25, 0, -35), "hip": (25, 18, 12), "knee": (35,),
        "left_shoulder": (60, -20, 20), "right_shoulder": (60, 20, 20), "elbow": (10,)}),
    Key({"pelvis": (10, 0, 40), "trunk": (-5, 10, 45), "hip": (10, 18, 15), "knee": (15,),
        "left_shoulder": (110, 60, 0), "right_shoulder": (130, -25, 20), "elbow": (40,)}),
    Key({"pelvis": (5, 0, -40), "trunk": (5, 0, -45), "hip": (20, 18, 15), "knee": (30,),
        "right_shoulder": (20, 100, 0), "left_shoulder": (90, -25, 0), "elbow": (35,)}),
    Key({"pelvis": (35, 0, 0), "trunk": (20, 0, 10), "left_hip": (65, 10, 8), "left_knee": (60,),
        "right_hip": (-15, 8, 5), "right_knee": (30,), "right_ankle": (0, 0, 45),
        "right_shoulder": (40, 10, 0), "left_shoulder": (-20, 50, 0)}),
)
CLIMB = (
    Key({"left_hip": (100, 20, 15), "left_knee": (110,), "left_shoulder": (160, 20, 0),
        "right_shoulder": (110, 25, 10), "right_elbow": (80,)}, RIGHT_FOOT, balance=False),
    Key({"left_hip": (60, 35, 35), "left_knee": (80,), "right_hip": (10, 15, 20),
        "trunk": (-5, 12, 0), "left_shoulder": (90, 60, 0), "left_elbow": (90,),
        "right_shoulder": (170, 15, 0)}, RIGHT_FOOT, balance=False),
    Key({"pelvis": (15, 0, 0), "trunk": (10, 0, 0), "hip": (85, 40, 35), "knee": (110,),
        "shoulder": (150, 25, 0), "elbow": (20,)}, balance=False),
    Key({"left_hip": (5, 5, 5), "left_knee": (30,), "hip": (10, 8, 8), "shoulder": (175, 15, 0),
        "elbow": (5,), "ankle": (35, 0, 0)}, (), lift=0.1),
    Key({"trunk": (5, 0, 0), "hip": (35, 10, 8), "knee": (60,), "shoulder": (120, 35, 10),
        "elbow": (125,), "ankle": (20, 0, 0)}, (), lift=0.1),
    Key({"pelvis": (40, 0, 0), "trunk": (20, 0, 0), "left_hip": (115, 15, 10), "left_knee": (105,),
        "right_hip": (-5, 8, 8), "shoulder": (50, 25, 0), "elbow": (50,), "wrist": (-50, 0)},
        RIGHT_FOOT, balance=False),
)
