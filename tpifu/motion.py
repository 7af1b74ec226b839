"""Procedural human motion, seeded: SMPL axis-angle from key poses and a spline.

SMPL's frame: y up, the body faces +z, its left is +x. A key pose gives parts of the body a few
angles in degrees, positive in the direction named here, on the left as on the right:

    place     turn left, roll left (degrees), side, forward (metres) since the pose before
    pelvis    tilt forward, sway left, twist left; the trunk goes along, the legs stay
    trunk     bend forward, lean left, twist left
    head      nod down, tilt left, turn left
    hip       flex forward, out, turn out, from an upright body
    knee      flex
    ankle     point, share (0 to 1) of the way to a level sole, toes up
    shoulder  swing forward, raise sideways from hanging, twist inwards
    elbow     bend
    wrist     bend to the palm, roll inwards

"left_" or "right_" before a name makes it one side, without it both; the rest is as in standing.
A motion is an endless generator of beats: time to get there, key pose, height above the floor.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.interpolate import Akima1DInterpolator, CubicSpline
from scipy.spatial.transform import Rotation

from tpifu.errors import ConfigError

# fmt: off
JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_hand", "right_hand",
)
"""SMPL's joints in its order."""

Pose: TypeAlias = dict[str, tuple[int | float, ...]]
Row: TypeAlias = Float[np.ndarray, " c"]
"""A whole key pose as one vector: the angles of all parts, `_SLICE` says where."""

_STANDING: Pose = {
    "place": (0, 0, 0, 0), "pelvis": (0, 0, 0), "trunk": (2, 0, 0), "head": (0, 0, 0),
    "hip": (3, 4, 7), "knee": (6,), "ankle": (0, 1, 0),
    "shoulder": (0, 13, 8), "elbow": (18,), "wrist": (5, 0),
}
# Standard deviation of the slow noise of a body, degrees.
_WANDER: Pose = {
    "pelvis": (1.5, 1.5, 1.5), "trunk": (3, 3, 4), "head": (7, 4, 16), "hip": (1.5, 1.5, 3),
    "knee": (2,), "shoulder": (4, 3, 4), "elbow": (5,), "wrist": (8, 5),
}
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
    "behind head": {"shoulder": (20, 120, -75), "elbow": (135,)},
    "behind back": {"shoulder": (-35, 22, 55), "elbow": (75,)},
    "wave": {"left_shoulder": (10, 95, -80), "left_elbow": (75,)},
    "archer": {
        "left_shoulder": (10, 88, 0), "left_elbow": (5,),
        "right_shoulder": (75, 35, 30), "right_elbow": (130,),
    },
    "punch": {
        "left_shoulder": (90, 5, 0), "left_elbow": (5,),
        "right_shoulder": (-30, 20, 10), "right_elbow": (115,),
    },
    "disco": {
        "left_shoulder": (15, 145, 0), "left_elbow": (8,),
        "right_shoulder": (-25, 48, 45), "right_elbow": (105,),
    },
    "hug": {
        "left_shoulder": (60, 10, 45), "left_elbow": (80,),
        "right_shoulder": (-20, 35, 30), "right_elbow": (60,),
    },
}
"""Ways to hold the arms."""

# Left leg: phase of the cycle, hip, knee, ankle pointed, toes up; the right is half a cycle off.
_WALK_LEG = np.array([
    (0.12, 19, 16, 4, 0), (0.25, 6, 10, -4, 0), (0.38, -8, 9, -9, 5), (0.50, -19, 16, -2, 25),
    (0.62, -8, 46, 16, 20), (0.75, 17, 62, 4, 0), (0.88, 28, 28, -3, 0), (1.00, 25, 4, -3, 0),
])
# Each half: support, toe-off, the middle of the flight, contact of the other foot.
_RUN_LEG = np.array([
    (0.15, 10, 40, -14, 0), (0.33, -24, 16, 22, 20), (0.42, -28, 45, 28, 5), (0.50, -18, 85, 24, 0),
    (0.65, 20, 115, 10, 0), (0.83, 52, 85, 0, 0), (0.92, 46, 45, -4, 0), (1.00, 28, 18, -3, 0),
])
_LUNGE_STEP: Pose = {
    "left_hip": (62, 4, 5), "left_knee": (85,), "left_ankle": (5, 0, 0), "right_knee": (10,),
}
_LUNGES: tuple[Pose, ...] = (
    {  # forward
        "place": (0, 0, 0, 0.75), "left_hip": (75, 6, 8), "left_knee": (78,),
        "right_hip": (-17, 4, 0), "right_knee": (66,), "right_ankle": (0, 0, 50),
    },
    {  # sideways
        "place": (0, 0, 0.45, 0), "pelvis": (25, 0, 0), "trunk": (15, 0, 0),
        "left_hip": (75, 28, 25), "left_knee": (92,), "right_hip": (0, 42, 8), "right_knee": (4,),
    },
    {  # long and low
        "place": (0, 0, 0, 0.95), "pelvis": (35, 0, 0), "trunk": (20, 0, 15),
        "left_hip": (85, 8, 8),
        "left_knee": (88,), "right_hip": (-38, 4, 0), "right_knee": (22,),
        "right_ankle": (-10, 0, 45),
    },
    {  # a fencer's
        "place": (0, 0, 0.3, 0.4), "pelvis": (5, 0, -25), "left_hip": (60, 20, 10),
        "left_knee": (68,), "right_hip": (-22, 25, 45), "right_knee": (10,),
    },
)
_SQUAT: Pose = {
    "pelvis": (38, 0, 0), "trunk": (14, 0, 0), "head": (-22, 0, 0), "hip": (88, 20, 14),
    "knee": (108,),
}
_STRADDLED: Pose = {
    "hip": (0, 55, 12), "knee": (4,), "ankle": (35, 0, 0),
    "shoulder": (8, 158, 0), "elbow": (6,), "wrist": (-50, 0),
}
_CARTWHEEL: tuple[tuple[float, Pose], ...] = (  # seconds, pose; the rolls make a whole turn
    (0.35, ARMS["vee"] | {"hip": (3, 14, 12)}),
    (0.35, ARMS["vee"] | {
        "place": (0, -8, 0.1, 0), "trunk": (0, -4, 0),
        "left_hip": (30, 38, 20), "left_knee": (30,), "left_ankle": (20, 0, 0),
    }),
    (0.30, _STRADDLED | {
        "place": (0, 48, 0.45, 0), "trunk": (8, 26, 0), "left_hip": (25, 30, 30),
        "left_knee": (40,), "left_ankle": (0, 0, 0), "right_hip": (0, 40, 8),
    }),
    (0.16, _STRADDLED | {"place": (0, 62, 0.35, 0), "trunk": (6, 22, 0), "left_hip": (5, 38, 15)}),
    (0.18, _STRADDLED | {"place": (0, 78, 0.4, 0)}),
    (0.18, _STRADDLED | {
        "place": (0, 78, 0.4, 0), "trunk": (6, -22, 0), "right_hip": (10, 38, 12),
    }),
    (0.20, _STRADDLED | {
        "place": (0, 62, 0.35, 0), "trunk": (8, -20, 0), "right_hip": (25, 30, 20),
        "right_knee": (40,), "left_hip": (0, 42, 8),
    }),
    (0.30, ARMS["vee"] | {"place": (0, 40, 0.2, 0), "hip": (6, 20, 12), "right_knee": (18,)}),
)
_SUPPORT: Pose = {"right_hip": (6, 4, 15), "right_knee": (14,), "left_ankle": (25, 0, 0)}
_FOLDED: Pose = {"left_hip": (75, 10, 0), "left_knee": (118,), "pelvis": (-5, 0, 0)}
_KICKS: tuple[tuple[Pose, Pose], ...] = (  # folded, stretched
    (_FOLDED, {
        "pelvis": (-18, 0, 0), "trunk": (10, 0, 0), "left_hip": (88, 2, 0), "left_knee": (8,),
    }),
    (_FOLDED, {
        "pelvis": (-22, 0, 0), "trunk": (10, 0, 0), "left_hip": (125, 5, 5), "left_knee": (6,),
    }),
    (_FOLDED, {
        "pelvis": (-12, 0, 0), "trunk": (18, 0, 0), "left_hip": (108, 0, 0), "left_knee": (125,),
    }),
    (  # sideways
        _FOLDED | {"pelvis": (0, -12, 0)},
        {"pelvis": (0, -38, 0), "trunk": (0, -8, 0), "left_hip": (10, 82, -10), "left_knee": (5,)},
    ),
    (  # round
        {"pelvis": (0, -22, -20), "left_hip": (35, 62, -25), "left_knee": (118,)},
        {
            "pelvis": (0, -25, -45), "trunk": (0, 0, 20), "left_hip": (70, 48, -15),
            "left_knee": (8,),
        },
    ),
    (  # backwards
        {"pelvis": (25, 0, 0), "trunk": (15, 0, 0), "left_hip": (45, 5, 0), "left_knee": (110,)},
        {"pelvis": (55, 0, 0), "trunk": (5, 0, 20), "left_hip": (-75, 8, 0), "left_knee": (8,)},
    ),
    (  # a ball
        {"pelvis": (0, 0, 15), "trunk": (5, 0, 20), "left_hip": (-35, 12, 0), "left_knee": (85,)},
        {
            "pelvis": (-8, 0, -10), "trunk": (14, 0, -18), "left_hip": (62, -4, 10),
            "left_knee": (12,),
        },
    ),
)
_CROUCHED: Pose = {
    "pelvis": (35, 0, 0), "trunk": (15, 0, 0), "head": (-20, 0, 0),
    "hip": (58, 8, 8), "knee": (85,), "shoulder": (-42, 18, 0), "elbow": (12,),
}
_TAKING_OFF: Pose = {"hip": (-6, 4, 5), "knee": (4,), "ankle": (42, 0, 25), "elbow": (15,)}
_FLIGHTS: tuple[Pose, ...] = (
    {"hip": (8, 8, 8), "knee": (20,)},
    ARMS["guard"] | {
        "pelvis": (10, 0, 0), "trunk": (20, 0, 0), "hip": (105, 10, 5), "knee": (118,),
    },
    ARMS["vee"] | {"hip": (5, 42, 15), "knee": (6,)},
    {"hip": (-12, 6, 0), "knee": (105,)},
    ARMS["forward"] | {"trunk": (25, 0, 0), "hip": (75, 30, 10), "knee": (12,)},
    ARMS["archer"] | {
        "left_hip": (62, 6, 5), "left_knee": (8,), "right_hip": (-45, 6, 5), "right_knee": (10,),
    },
    {"left_hip": (70, 6, 5), "left_knee": (95,), "right_hip": (-12, 6, 5), "right_knee": (20,)},
)
_LANDED: Pose = {
    "pelvis": (25, 0, 0), "trunk": (12, 0, 0), "hip": (42, 8, 8), "knee": (62,),
    "shoulder": (50, 25, 0), "elbow": (30,),
}
_HOP: Pose = {
    "left_hip": (70, 10, 10), "left_knee": (85,), "right_hip": (0, 4, 8), "ankle": (32, 0, 0),
}
# Moves of one to three poses; the arms are the dancer's own.
_DANCE: tuple[tuple[Pose, ...], ...] = (
    (  # sway
        {"pelvis": (0, 14, -5), "trunk": (0, -16, 5), "right_hip": (14, 6, 8), "right_knee": (28,)},
        {"pelvis": (0, -14, 5), "trunk": (0, 16, -5), "left_hip": (14, 6, 8), "left_knee": (28,)},
    ),
    (  # side step
        {"place": (0, 0, 0.4, 0), "trunk": (5, 8, 10), "hip": (8, 22, 15), "left_knee": (25,)},
        {"trunk": (4, -6, 0), "hip": (14, 3, 8), "knee": (26,)},
    ),
    (  # pirouette
        {
            "place": (150, 0, 0, 0), "left_hip": (35, 25, 35), "left_knee": (85,),
            "left_ankle": (30, 0, 0),
        },
        {"place": (210, 0, 0, 0), "trunk": (2, 0, 10), "hip": (4, 8, 8)},
    ),
    (  # half turn
        {"place": (90, 0, 0, 0), "left_hip": (15, 20, 30), "left_knee": (30,)},
        {"place": (90, 0, 0, 0), "hip": (5, 12, 10), "knee": (15,)},
    ),
    (  # hop
        {"trunk": (12, 0, 0), "hip": (28, 8, 8), "knee": (48,)},
        _HOP,
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
        {
            "trunk": (-4, 0, -10), "left_hip": (70, 6, 10), "left_knee": (25,),
            "left_ankle": (35, 0, 0),
        },
        {"place": (0, 0, 0, 0.2), "left_hip": (12, 8, 8), "right_hip": (-8, 8, 8), "knee": (18,)},
    ),
    (  # arabesque
        {
            "pelvis": (48, 0, 0), "trunk": (-6, 0, 0), "head": (-25, 0, 0),
            "left_hip": (-70, 8, 15), "left_knee": (8,), "left_ankle": (38, 0, 0),
        },
        {"hip": (3, 6, 10)},
    ),
    (  # wave through the body
        {
            "pelvis": (-16, 0, 0), "trunk": (34, 0, 0), "head": (18, 0, 0), "hip": (18, 8, 8),
            "knee": (40,),
        },
        {"pelvis": (14, 0, 0), "trunk": (-26, 0, 0), "head": (-16, 0, 0), "knee": (15,)},
    ),
    (  # leg to the side
        {
            "pelvis": (0, -22, 0), "left_hip": (5, 62, 10), "left_knee": (6,),
            "left_ankle": (35, 0, 0),
        },
        {"hip": (6, 8, 12), "knee": (16,)},
    ),
    (  # cross step
        {"place": (0, 0, -0.3, 0), "pelvis": (0, 0, -15), "left_hip": (20, -22, 0), "knee": (18,)},
        {"trunk": (0, 10, 0), "hip": (6, 16, 12), "knee": (14,)},
    ),
    ({"pelvis": (50, 0, 0), "trunk": (40, 0, 0), "knee": (12,)},),  # bow
    ({
        "pelvis": (0, 12, -15), "trunk": (-8, -14, -15), "left_hip": (12, 24, 30),
        "left_knee": (12,),
    },),
)
# fmt: on

_CENTRAL = ("place", "pelvis", "trunk", "head")
_LEFT = tuple(f"left_{part}" for part in _STANDING if part not in _CENTRAL)
_RIGHT = tuple(f"right_{part}" for part in _STANDING if part not in _CENTRAL)
_PARTS = _CENTRAL + _LEFT + _RIGHT
_SIZES = [len(_STANDING[part.split("_")[-1]]) for part in _PARTS]
_SLICE = {
    part: slice(int(end) - size, int(end))
    for part, size, end in zip(_PARTS, _SIZES, np.cumsum(_SIZES), strict=True)
}
_PLACE = _SLICE["place"]
_HINGE = np.radians(150.0)


def _lay(row: Row, pose: Pose) -> None:
    for part, angles in pose.items():
        for name in (part,) if part in _SLICE else (f"left_{part}", f"right_{part}"):
            row[_SLICE[name]] = angles


def _only(pose: Pose) -> Row:
    """`pose`, and 0 for what it leaves out: to add to a row."""
    row = np.zeros(sum(_SIZES))
    _lay(row, pose)
    return row


def _row(*poses: Pose) -> Row:
    """Standing, with `poses` laid over it in turn."""
    row = _only(_STANDING)
    for pose in poses:
        _lay(row, pose)
    return row


_IS_ARM = _only({"shoulder": (1, 1, 1), "elbow": (1,), "wrist": (1, 1)}) == 1
_IS_LEFT = np.isin(np.repeat(_PARTS, _SIZES), _LEFT)
_SWAP = np.r_[tuple(_SLICE[part] for part in _CENTRAL + _RIGHT + _LEFT)]
_SIGN = 1 - 2 * _only(
    {"place": (1, 1, 1, 0), "pelvis": (0, 1, 1), "trunk": (0, 1, 1), "head": (0, 1, 1)}
)


def _lead(row: Row, left: bool) -> Row:
    """The pose itself, made for the left, or its mirror image."""
    return row if left else row[_SWAP] * _SIGN


def _blend(row: Row, other: Row, share: float) -> Row:
    return row + share * (other - row)


def _with_arms(row: Row, arms: Row) -> Row:
    return np.where(_IS_ARM, arms, row)


def _staying(row: Row) -> Row:
    """The same pose, not moved on."""
    row = row.copy()
    row[_PLACE] = 0.0
    return row


def _choose(rng: np.random.Generator, *options: str) -> str:
    return options[rng.integers(len(options))]


@dataclass(frozen=True, kw_only=True)
class Style:
    """A subject's manner, the same in all their clips. Angles in degrees, added to every pose."""

    tempo: float = 1.0
    amplitude: float = 1.0
    left_lead: float = 0.5
    """Share of what is done with the left side leading."""
    arms: str = "hang"
    """Favourite carriage of the arms, a key of ARMS."""
    arm_swing: float = 1.0
    elbow: float = 0.0
    arms_out: float = 0.0
    bend: float = 0.0
    nod: float = 0.0
    stance: float = 0.0
    turn_out: float = 0.0
    restless: float = 1.0
    """Scale of the slow noise in all joints."""

    @staticmethod
    def draw(rng: np.random.Generator) -> "Style":
        return Style(
            tempo=rng.uniform(0.85, 1.25),
            amplitude=rng.uniform(0.8, 1.12),
            left_lead=0.15 if rng.random() < 0.5 else 0.85,
            arms=_choose(rng, "hang", "hips", "pump", "clasped", "forward", "overhead", "sideways"),
            arm_swing=rng.uniform(0.5, 1.4),
            elbow=rng.uniform(-8.0, 20.0),
            arms_out=rng.uniform(-3.0, 10.0),
            bend=rng.uniform(-4.0, 10.0),
            nod=rng.uniform(-8.0, 14.0),
            stance=rng.uniform(-1.0, 4.0),
            turn_out=rng.uniform(-6.0, 10.0),
            restless=rng.uniform(0.5, 1.5),
        )


@dataclass(frozen=True)
class Motion:
    pose: Float[np.ndarray, "t 72"]
    """SMPL axis-angle, joints as in JOINTS, root orientation included."""
    lift: Float[np.ndarray, " t"]
    """Metres from the floor to the lowest point of the body: 0 in contact."""
    travel: Float[np.ndarray, "t 2"]
    """Metres the root went in x and z, from 0, 0."""


class _Beat(NamedTuple):
    seconds: float
    """Time since the beat before."""
    row: Row
    lift: float = 0.0


_Beats: TypeAlias = Iterator[_Beat]


def make_motion(
    name: str, frames: int, style: Style, rng: np.random.Generator, fps: float = 30.0
) -> Motion:
    """`frames` frames of motion `name` from a random moment on, the heading near 0 at first."""
    if name not in _MAKERS:
        raise ConfigError(f"unknown motion {name!r}: choose from {', '.join(MOTIONS)}")
    # The spline begins before the clip and ends after it, so that its ends stay out of sight.
    at = rng.uniform(1.5, 4.0) + np.arange(frames) / fps
    times: list[float] = []
    rows, lifts = [], []
    end = 0.0
    for beat in _MAKERS[name](style, rng):
        end += beat.seconds / style.tempo if times else 0.0
        times.append(end)
        rows.append(beat.row)
        lifts.append(beat.lift)
        if end > at[-1] + 1.5:
            break
    keys = np.stack(rows)
    keys[:, _PLACE] = np.cumsum(keys[:, _PLACE], axis=0)
    # Makima: smooth, and hardly overshoots where a pose is held.
    angles = Akima1DInterpolator(times, keys, method="makima")(at) + _manner(style, at, rng)
    turn, roll, side, forward = angles[:, _PLACE].T
    heading = np.radians(turn - turn[0] + rng.normal(0.0, 12.0))
    return Motion(
        pose=_smpl(angles, heading, np.radians(roll)),
        lift=_ballistic(np.array(times), np.array(lifts), at),
        travel=_travel(heading, side, forward),
    )


def _manner(
    style: Style, at: Float[np.ndarray, " t"], rng: np.random.Generator
) -> Float[np.ndarray, "t c"]:
    """What `style` adds to every pose, and a slow wandering of all joints."""
    offset = _only(
        {
            "trunk": (style.bend, 0, 0),
            "head": (style.nod, 0, 0),
            "hip": (0, style.stance, style.turn_out),
            "shoulder": (0, style.arms_out, 0),
            "elbow": (style.elbow,),
        }
    )
    knots = np.arange(at[0] - 1.0, at[-1] + 2.0, 0.8)
    noise = rng.normal(size=(len(knots), len(offset))) * _only(_WANDER) * style.restless
    return offset + CubicSpline(knots, noise)(at)


def _ballistic(
    times: Float[np.ndarray, " k"], heights: Float[np.ndarray, " k"], at: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Heights between beats as under gravity: ever slower upwards, ever faster downwards."""
    beat = np.searchsorted(times, at, side="right") - 1
    share = (at - times[beat]) / (times[beat + 1] - times[beat])
    start, end = heights[beat], heights[beat + 1]
    share = np.where(end > start, 1 - (1 - share) ** 2, share**2)
    return (start + share * (end - start)).astype(np.float32)


def _travel(
    heading: Float[np.ndarray, " t"],
    side: Float[np.ndarray, " t"],
    forward: Float[np.ndarray, " t"],
) -> Float[np.ndarray, "t 2"]:
    """World x, z of steps taken sideways and forward as the body is turned."""
    left = np.diff(side, prepend=side[0])
    ahead = np.diff(forward, prepend=forward[0])
    sin, cos = np.sin(heading), np.cos(heading)
    steps = np.stack([cos * left + sin * ahead, cos * ahead - sin * left], axis=1)
    return np.cumsum(steps, axis=0).astype(np.float32)


def _smpl(
    rows: Float[np.ndarray, "t c"], heading: Float[np.ndarray, " t"], roll: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t 72"]:
    """Angles of key poses -> SMPL's axis-angle; heading and roll in radians."""

    def angles(part: str) -> Float[np.ndarray, "n t"]:
        return np.radians(rows[:, _SLICE[part]].T)

    def rotation(axes: str, *columns: Float[np.ndarray, " t"]) -> Rotation:
        return Rotation.from_euler(axes, np.stack(columns, axis=1))

    joints = {joint: Rotation.identity(len(rows)) for joint in JOINTS}
    tilt, sway, twist = angles("pelvis")
    pelvis = rotation("YZX", twist, -sway, tilt)
    joints["pelvis"] = rotation("YZ", heading, -roll) * pelvis
    bend, lean, twist = angles("trunk") / 3
    joints["spine1"] = joints["spine2"] = joints["spine3"] = rotation("YZX", twist, -lean, bend)
    nod, lean, twist = angles("head") / 2
    joints["neck"] = joints["head"] = rotation("YZX", twist, -lean, nod)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        # The mirror image in x of a turn about (x, y, z) is one about (x, -y, -z).
        flex, out, turn = angles(f"{side}_hip")
        thigh = rotation("XZY", -flex, sign * out, sign * turn)
        joints[f"{side}_hip"] = pelvis.inv() * thigh
        knee = rotation("X", angles(f"{side}_knee")[0].clip(0, _HINGE))
        joints[f"{side}_knee"] = knee
        point, level, toes = angles(f"{side}_ankle")
        joints[f"{side}_ankle"] = _level_sole(thigh * knee, np.degrees(level)) * rotation(
            "X", point
        )
        joints[f"{side}_foot"] = rotation("X", -toes)
        swing, up, twist = angles(f"{side}_shoulder")
        arm = rotation("XZX", -swing, sign * (up - np.pi / 2), twist)
        # The collarbone takes up to 25 degrees of an arm that goes up.
        height = arm.apply([sign, 0.0, 0.0])[:, 1]
        collar = rotation("Z", sign * np.radians(12.5) * (1 + height))
        joints[f"{side}_collar"] = collar
        joints[f"{side}_shoulder"] = collar.inv() * arm
        bend = angles(f"{side}_elbow")[0].clip(0, _HINGE)
        joints[f"{side}_elbow"] = rotation("Y", -sign * bend)
        bend, twist = angles(f"{side}_wrist")
        joints[f"{side}_wrist"] = rotation("XZ", twist, -sign * bend)
    return np.hstack([joints[joint].as_rotvec() for joint in JOINTS]).astype(np.float32)


def _level_sole(shin: Rotation, share: Float[np.ndarray, " t"]) -> Rotation:
    """The ankle's turn that goes `share` of the way to a level foot, at most 45 degrees."""
    toes = shin.apply([0.0, 0.0, 1.0])
    level = Rotation.from_euler("y", np.arctan2(toes[:, 0], toes[:, 2])[:, None])
    vector = (shin.inv() * level).as_rotvec() * share.clip(0, 1)[:, None]
    size = np.linalg.norm(vector, axis=1, keepdims=True)
    return Rotation.from_rotvec(vector * np.minimum(1, np.radians(45) / np.maximum(size, 1e-9)))


def _gait(
    lefts: Float[np.ndarray, "k 5"],
    base: Row,
    *,
    seconds: float,
    amplitude: float,
    stride: float,
    turn: float,
    swing: float,
    flight: float = 0.0,
) -> _Beats:
    """Endless steps; a cycle of two goes `stride` metres and turns `turn` degrees."""
    half = len(lefts) // 2
    beats = []
    before = 0.0
    for index, (left, right) in enumerate(zip(lefts, np.roll(lefts, half, axis=0), strict=True)):
        phase = left[0]
        share, before = phase - before, phase
        sin, cos = np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)
        legs: Pose = {"pelvis": (0, 3 * sin, -6 * cos), "trunk": (0, 0, 6 * cos)}
        arms: Pose = {"trunk": (0, 0, 0.25 * swing * cos)}
        for side, (hip, knee, *ankle), back in (
            ("left", left[1:], cos),
            ("right", right[1:], -cos),
        ):
            legs |= {f"{side}_hip": (hip, 0, 0), f"{side}_knee": (knee,)}
            legs |= {f"{side}_ankle": (ankle[0], 0, ankle[1])}
            arms |= {
                f"{side}_shoulder": (-swing * back, 0, 0),
                f"{side}_elbow": (-0.35 * swing * back,),
            }
        place = _only({"place": (turn * share, 0, 0, stride * share)})
        row = base + amplitude * _only(legs) + _only(arms) + place
        beats.append(_Beat(seconds * share, row, flight if index % half == half - 2 else 0.0))
    while True:
        yield from beats


def _walk(style: Style, rng: np.random.Generator) -> _Beats:
    free = rng.random() < 0.6
    arms = "hang" if free else _choose(rng, style.arms, "hips", "crossed", "wave", "behind back")
    low = max(0.0, rng.normal(-5.0, 12.0))
    legs: Pose = {"hip": (3 + low, 3, 6), "knee": (4 + 1.8 * low,), "ankle": (-0.8 * low, 0, 0)}
    amplitude = style.amplitude * rng.uniform(0.8, 1.15)
    return _gait(
        _WALK_LEG,
        _lead(_row(legs, ARMS[arms], {"trunk": (2 + low, 0, 0)}), rng.random() < style.left_lead),
        seconds=rng.uniform(0.95, 1.3),
        amplitude=amplitude,
        stride=1.4 * amplitude,
        turn=rng.normal(0.0, 25.0),
        swing=style.arm_swing * amplitude * (26 if free else 6),
    )


def _run(style: Style, rng: np.random.Generator) -> _Beats:
    amplitude = style.amplitude * rng.uniform(0.75, 1.1)
    lean = rng.uniform(4.0, 16.0)
    legs: Pose = {"hip": (3, 1, 3), "ankle": (0, 0, 0)}
    return _gait(
        _RUN_LEG,
        _row(legs, ARMS["pump"], {"pelvis": (lean / 2, 0, 0), "trunk": (lean, 0, 0)}),
        seconds=rng.uniform(0.65, 0.85),
        amplitude=amplitude,
        stride=2.4 * amplitude,
        turn=rng.normal(0.0, 15.0),
        swing=22 + 20 * style.arm_swing,
        flight=rng.uniform(0.04, 0.1),
    )


def _lunge(style: Style, rng: np.random.Generator) -> _Beats:
    still = _row(ARMS[_choose(rng, "hang", style.arms, "hips", "clasped")])
    low = _row(
        ARMS[_choose(rng, style.arms, "hips", "sideways", "overhead", "forward", "archer", "vee")]
    )
    kind = _with_arms(_row(_LUNGES[rng.choice(len(_LUNGES), p=[0.5, 0.2, 0.15, 0.15])]), low)
    step = _with_arms(_row(_LUNGE_STEP), _blend(still, low, 0.5))
    walks_on = rng.random() < 0.5
    seconds = rng.uniform(0.45, 0.7)
    while True:
        left = rng.random() < style.left_lead
        down = _blend(still, kind, style.amplitude * rng.uniform(0.8, 1.05))
        down += _only({"trunk": (0, 0, rng.normal(0.0, 12.0))})
        yield _Beat(0.8 * seconds, _lead(step, left))
        yield _Beat(seconds, _lead(down, left))
        yield _Beat(rng.uniform(0.1, 0.4), _lead(_staying(down), left))
        back = still if walks_on else still + _staying(down) - down
        yield _Beat(seconds, _lead(back, left))


def _jumping_jack(style: Style, rng: np.random.Generator) -> _Beats:
    reach = rng.uniform(115.0, 172.0)
    amplitude = style.amplitude * rng.uniform(0.85, 1.1)
    closed: Pose = {"hip": (3, 2, 7)}
    half: Pose = {
        "hip": (22, 16, 10),
        "knee": (32,),
        "shoulder": (8, reach / 2 + 8, 0),
        "elbow": (25,),
    }
    wide: Pose = {"hip": (8, 30, 12), "knee": (14,), "shoulder": (6, reach, 0), "elbow": (22,)}
    if rng.random() < 0.3:  # the arms go to the front
        half |= {"shoulder": (reach / 2, 15, 0)}
        wide |= {"shoulder": (reach, 20, 0)}
    seconds = rng.uniform(0.2, 0.32)
    while True:
        for pose in (half, wide, half, closed):
            yield _Beat(seconds, _blend(_row(closed), _row(pose), amplitude))


def _squat(style: Style, rng: np.random.Generator) -> _Beats:
    still = _row(ARMS[_choose(rng, "hang", style.arms, "hips", "clasped", "guard", "behind head")])
    arms = _row(
        ARMS[_choose(rng, "forward", style.arms, "overhead", "clasped", "behind head", "guard")]
    )
    deep = _with_arms(_row(_SQUAT), arms) + _only({"hip": (0, rng.uniform(-6.0, 22.0), 0)})
    seconds = rng.uniform(0.5, 0.85)
    while True:
        down = _blend(still, deep, style.amplitude * rng.uniform(0.65, 1.15))
        down += _only({"trunk": (0, 0, rng.normal(0.0, 10.0))})
        yield _Beat(seconds, down)
        yield _Beat(rng.uniform(0.1, 0.4), down)
        yield _Beat(seconds, still)
        yield _Beat(rng.uniform(0.1, 0.3), still)


def _cartwheel(style: Style, rng: np.random.Generator) -> _Beats:
    left = rng.random() < style.left_lead
    spread = rng.uniform(0.6, 1.15)
    bent = max(0.0, rng.normal(0.0, 25.0))
    seconds = rng.uniform(0.95, 1.25)
    while True:
        for share, pose in _CARTWHEEL:
            row = _row(pose)
            for side in ("left_hip", "right_hip"):
                row[_SLICE[side]] *= (1, spread, 1)
            if "ankle" in pose:  # the feet are off the floor
                row += _only({"knee": (bent,)})
            yield _Beat(share * seconds, _lead(row, left))
        yield _Beat(rng.uniform(0.15, 0.5), _lead(_row(_CARTWHEEL[0][1]), left))


def _kick(style: Style, rng: np.random.Generator) -> _Beats:
    arms = _row(ARMS[_choose(rng, "guard", "guard", "hang", style.arms, "pump", "wings")])
    guard = _with_arms(_row({"hip": (12, 12, 15), "knee": (22,)}), arms)
    while True:
        left = rng.random() < style.left_lead
        folded, out = (
            _with_arms(_row(_SUPPORT, pose), arms) for pose in _KICKS[rng.integers(len(_KICKS))]
        )
        out += np.where(_IS_ARM, rng.normal(0.0, 14.0, size=len(out)), 0.0)
        out = _blend(guard, out, style.amplitude * rng.uniform(0.8, 1.1))
        seconds = rng.uniform(0.85, 1.2)
        turned = guard + _only({"place": (rng.normal(0.0, 25.0), 0, 0, 0)})
        yield _Beat(rng.uniform(0.1, 0.4), turned)
        yield _Beat(0.3 * seconds, _lead(folded, left))
        yield _Beat(0.24 * seconds, _lead(out, left))
        yield _Beat(0.10 * seconds, _lead(out, left))
        yield _Beat(0.25 * seconds, _lead(_blend(guard, folded, 0.8), left))
        yield _Beat(0.3 * seconds, guard)


def _jump(style: Style, rng: np.random.Generator) -> _Beats:
    still = _row(ARMS[_choose(rng, "hang", "hang", style.arms)])
    reach: Pose = {"shoulder": (rng.uniform(60.0, 130.0), rng.uniform(10.0, 40.0), 0)}
    while True:
        left = rng.random() < style.left_lead
        height = style.amplitude * rng.uniform(0.18, 0.48)
        # From the floor to the top, whatever the tempo.
        seconds = style.tempo * np.sqrt(2 * height / 9.81)
        forward = rng.choice([0.0, 0.0, 0.8, 1.6]) * seconds
        turn = rng.choice([0.0, 0.0, 45.0, 90.0, 150.0]) if height > 0.25 else 0.0
        place = _only({"place": (turn, 0, 0, forward)})
        off = _row(_TAKING_OFF, reach)
        flight = _row({"ankle": (38, 0, 0)}, reach, _FLIGHTS[rng.integers(len(_FLIGHTS))])
        # A low jump leaves no time for the whole figure.
        flight = _blend(off, flight, min(1.0, height / 0.35))
        landed = _blend(still, _row(_LANDED), rng.uniform(0.6, 1.3))
        yield _Beat(0.45, _lead(_blend(still, _row(_CROUCHED), rng.uniform(0.7, 1.1)), left))
        yield _Beat(0.28, _lead(off, left))
        yield _Beat(seconds, _lead(flight + place, left), height)
        yield _Beat(seconds, _lead(_blend(landed, off, 0.6) + place, left))
        yield _Beat(0.15, landed)
        yield _Beat(rng.uniform(0.35, 0.6), still)


def _dance(style: Style, rng: np.random.Generator) -> _Beats:
    beat = rng.uniform(0.34, 0.5)
    moves = rng.choice(len(_DANCE), size=8, replace=False)
    arms = _row()
    while True:
        move = _DANCE[rng.choice(moves)]
        left = rng.random() < style.left_lead
        for pose in move * int(rng.integers(1, 3)):
            if rng.random() < 0.8:
                # One arm of one carriage, the other of another.
                one, other = (_row(ARMS[name]) for name in rng.choice(list(ARMS), size=2))
                arms = np.where(_IS_LEFT, one, _lead(other, rng.random() < 0.5))
            share = style.amplitude * rng.uniform(0.85, 1.15)
            row = _with_arms(_blend(_row(), _row(pose), share), arms)
            # Turns stay whole.
            row[_PLACE] = pose.get("place", 0.0)
            yield _Beat(beat, _lead(row, left), rng.uniform(0.06, 0.2) if pose is _HOP else 0.0)


_MAKERS: dict[str, Callable[[Style, np.random.Generator], _Beats]] = {
    "walk": _walk,
    "run": _run,
    "lunge": _lunge,
    "jumping_jack": _jumping_jack,
    "squat": _squat,
    "cartwheel": _cartwheel,
    "kick": _kick,
    "jump": _jump,
    "dance": _dance,
}
MOTIONS = tuple(_MAKERS)
"""Names of the motions."""
