"""Procedural human motion, seeded: SMPL axis-angle from key poses and a spline.

SMPL's frame: y up, the body faces +z, its left is +x. A key pose names body parts and gives each a few angles
in degrees, with the same sign on the left and on the right:

    place     turn left, roll left (degrees), side, forward (metres): increments; all others are absolute
    pelvis    tilt forward, sway left, twist left; moves the trunk and leaves the legs where they are
    trunk     bend forward, lean left, twist left
    head      nod down, tilt left, turn left
    hip       flex forward, out, turn out, against an upright body
    knee      flex
    ankle     point, share (0 to 1) of the way to a sole flat on the floor, toes up
    shoulder  swing forward, raise sideways from hanging, twist inwards
    elbow     bend
    wrist     bend to the palm, roll inwards

`left_` or `right_` before a name makes it one side, without it both; what is left out is as in standing.
A motion is an endless generator of beats: a key pose, the time to get there, the height of the jump.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.interpolate import Akima1DInterpolator, CubicSpline
from scipy.spatial.transform import Rotation

from tpifu.errors import ConfigError

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hand", "right_hand",
)  # fmt: skip
"""SMPL's joints in its order."""

Pose: TypeAlias = Mapping[str, Sequence[float]]
Row: TypeAlias = Float[np.ndarray, " c"]

_STANDING: Pose = {
    "place": (0, 0, 0, 0),
    "pelvis": (0, 0, 0),
    "trunk": (2, 0, 0),
    "head": (0, 0, 0),
    "hip": (3, 4, 7),
    "knee": (6,),
    "ankle": (0, 1, 0),
    "shoulder": (0, 13, 8),
    "elbow": (18,),
    "wrist": (5, 0),
}
ARMS: dict[str, Pose] = {
    "hang": {},
    "hips": {"shoulder": (-25, 48, 45), "elbow": (105,), "wrist": (30, 0)},
    "guard": {"shoulder": (45, 15, 15), "elbow": (125,)},
    "pump": {"shoulder": (-5, 12, 10), "elbow": (85,)},
    "clasped": {"shoulder": (40, 12, 50), "elbow": (105,)},
    "forward": {"shoulder": (88, 8, 0), "elbow": (8,)},
    "sideways": {"shoulder": (0, 88, 0), "elbow": (8,)},
    "wings": {"shoulder": (-35, 40, 0), "elbow": (10,)},
    "overhead": {"shoulder": (5, 165, 0), "elbow": (12,)},
    "vee": {"shoulder": (10, 135, 0), "elbow": (10,)},
    "cactus": {"shoulder": (0, 88, -85), "elbow": (90,)},
    "scarecrow": {"shoulder": (10, 88, 75), "elbow": (85,)},
    "behind head": {"shoulder": (20, 120, -75), "elbow": (135,)},
    "behind back": {"shoulder": (-35, 22, 55), "elbow": (75,)},
    "wave": {"left_shoulder": (10, 95, -80), "left_elbow": (75,), "right_shoulder": (0, 13, 8)},
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
}  # fmt: skip
"""Ways to hold the arms."""

_CENTRAL = ("place", "pelvis", "trunk", "head")
_PARTS = _CENTRAL + tuple(f"{s}_{p}" for s in ("left", "right") for p in _STANDING if p not in _CENTRAL)
_SLICE: dict[str, slice] = {}
for _part in _PARTS:
    _start = max((s.stop for s in _SLICE.values()), default=0)
    _SLICE[_part] = slice(_start, _start + len(_STANDING[_part.split("_")[-1]]))
_CHANNELS = _SLICE[_PARTS[-1]].stop
_PLACE = _SLICE["place"]
_SIDE = (_CHANNELS - 13) // 2
# Mirroring swaps the sides and turns the central angles that are not in the mid-plane (and the sideways step).
_SWAP: Int[np.ndarray, " c"] = np.r_[:13, 13 + _SIDE : 13 + 2 * _SIDE, 13 : 13 + _SIDE]
_SIGN = np.ones(_CHANNELS)
_SIGN[[0, 1, 2, 5, 6, 8, 9, 11, 12]] = -1


@dataclass(frozen=True, kw_only=True)
class Style:
    """A subject's manner, the same in all their clips."""

    tempo: float = 1.0
    amplitude: float = 1.0
    left_lead: float = 0.5
    """Share of what is done with the left side leading."""
    arms: str = "hang"
    """Favourite carriage of the arms, a key of ARMS."""
    arm_swing: float = 1.0
    elbow: float = 0.0
    """Degrees by which the elbows are bent more than usual; likewise below."""
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
            tempo=rng.uniform(0.8, 1.2),
            amplitude=rng.uniform(0.75, 1.1),
            left_lead=rng.choice([0.15, 0.85]),
            arms=rng.choice(["hang", "hips", "pump", "clasped", "forward", "overhead", "sideways"]),
            arm_swing=rng.uniform(0.5, 1.4),
            elbow=rng.uniform(-8, 20),
            arms_out=rng.uniform(-3, 10),
            bend=rng.uniform(-4, 10),
            nod=rng.uniform(-8, 14),
            stance=rng.uniform(-1, 4),
            turn_out=rng.uniform(-6, 10),
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


class Beat(NamedTuple):
    seconds: float
    """Time from the beat before."""
    row: Row
    lift: float = 0.0


Beats: TypeAlias = Iterator[Beat]


def make_motion(
    name: str, frames: int, style: Style, rng: np.random.Generator, fps: float = 30.0
) -> Motion:
    """`frames` frames of the motion `name` from a random moment on; heading near 0 at first."""
    if name not in _MAKERS:
        raise ConfigError(f"unknown motion {name!r}: choose from {', '.join(MOTIONS)}")
    # The spline's ends stay out of sight: it begins earlier and goes on later than the clip.
    start = rng.uniform(1.5, 4.0)
    at = start + np.arange(frames) / fps
    beats = []
    for seconds, row, height in _MAKERS[name](style, rng):
        beats.append(Beat(seconds / style.tempo, row, height))
        if sum(beat.seconds for beat in beats) > at[-1] + 1.5:
            break
    times = np.cumsum([beat.seconds for beat in beats])
    keys = np.stack([beat.row for beat in beats])
    keys[:, _PLACE] = np.cumsum(keys[:, _PLACE], axis=0)
    rows = Akima1DInterpolator(times, keys, method="makima")(at) + _manner(style, at, rng)
    turn, roll, side, forward = rows[:, _PLACE].T
    heading = np.radians(turn - turn[0] + rng.normal(0.0, 12.0))
    return Motion(
        pose=_smpl(rows, heading, np.radians(roll)),
        lift=_ballistic(times, np.array([beat.lift for beat in beats]), at),
        travel=_travel(heading, side, forward),
    )


def _row(*poses: Pose) -> Row:
    """Standing, with each of `poses` laid over it in turn."""
    row = np.zeros(_CHANNELS)
    for pose in (_STANDING, *poses):
        for part, angles in pose.items():
            for name in (part,) if part in _SLICE else (f"left_{part}", f"right_{part}"):
                row[_SLICE[name]] = angles
    return row


def _blend(row: Row, other: Row, share: float) -> Row:
    return row + share * (other - row)


def _mirror(row: Row) -> Row:
    return row[_SWAP] * _SIGN


def _lead(row: Row, left: bool) -> Row:
    return row if left else _mirror(row)


def _with_arms(row: Row, arms: Row) -> Row:
    return np.where(_IS_ARM, arms, row)


def _manner(
    style: Style, at: Float[np.ndarray, " t"], rng: np.random.Generator
) -> Float[np.ndarray, "t c"]:
    """What `style` adds to every pose, with a slow wandering of all joints."""
    offset = _row(
        {part: [0.0] * len(angles) for part, angles in _STANDING.items()}
        | {
            "trunk": (style.bend, 0, 0),
            "head": (style.nod, 0, 0),
            "hip": (0, style.stance, style.turn_out),
            "shoulder": (0, style.arms_out, 0),
            "elbow": (style.elbow,),
        }
    )
    knots = np.arange(at[0] - 1.0, at[-1] + 2.0, 0.8)
    noise = rng.normal(size=(len(knots), _CHANNELS)) * _row(_WANDER) * style.restless
    return offset + CubicSpline(knots, noise)(at)


def _ballistic(
    times: Float[np.ndarray, " k"], heights: Float[np.ndarray, " k"], at: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Heights over time: rising it slows down, falling it speeds up, as under gravity."""
    key = np.searchsorted(times, at, side="right") - 1
    share = (at - times[key]) / (times[key + 1] - times[key])
    low, high = heights[key], heights[key + 1]
    bend = np.where(high > low, 1 - (1 - share) ** 2, share**2)
    return (low + bend * (high - low)).astype(np.float32)


def _travel(
    heading: Float[np.ndarray, " t"],
    side: Float[np.ndarray, " t"],
    forward: Float[np.ndarray, " t"],
) -> Float[np.ndarray, "t 2"]:
    """World displacement x, z of steps taken sideways and forward in the body's own directions."""
    step = np.stack([np.diff(side, prepend=side[0]), np.diff(forward, prepend=forward[0])])
    sin, cos = np.sin(heading), np.cos(heading)
    x = cos * step[0] + sin * step[1]
    z = cos * step[1] - sin * step[0]
    return np.cumsum(np.stack([x, z], axis=1), axis=0).astype(np.float32)


def _smpl(
    rows: Float[np.ndarray, "t c"], heading: Float[np.ndarray, " t"], roll: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t 72"]:
    """Key-pose angles -> SMPL's axis-angle."""

    def angles(part: str) -> Float[np.ndarray, "t n"]:
        return np.radians(rows[:, _SLICE[part]])

    def rotation(order: str, *columns: Float[np.ndarray, " t"]) -> Rotation:
        return Rotation.from_euler(order, np.stack(columns, axis=1))

    joints = {joint: Rotation.identity(len(rows)) for joint in JOINTS}
    body = rotation("YZ", heading, -roll)
    tilt, sway, twist = angles("pelvis").T
    pelvis = rotation("YZX", twist, -sway, tilt)
    joints["pelvis"] = body * pelvis
    bend, lean, twist = angles("trunk").T / 3
    for joint in ("spine1", "spine2", "spine3"):
        joints[joint] = rotation("YZX", twist, -lean, bend)
    nod, lean, twist = angles("head").T / 2
    joints["neck"] = joints["head"] = rotation("YZX", twist, -lean, nod)
    for side in ("left", "right"):
        # Made for the left; the mirror image in x = 0 of a rotation vector (x, y, z) is (x, -y, -z).
        mirror = np.array([1, 1, 1]) if side == "left" else np.array([1, -1, -1])

        def mirrored(rotation: Rotation, mirror: Int[np.ndarray, "3"] = mirror) -> Rotation:
            return Rotation.from_rotvec(rotation.as_rotvec() * mirror)

        flex, out, turn = angles(f"{side}_hip").T
        thigh = mirrored(rotation("XZY", -flex, out, turn))
        joints[f"{side}_hip"] = pelvis.inv() * thigh
        joints[f"{side}_knee"] = rotation("X", np.clip(angles(f"{side}_knee")[:, 0], 0, _HINGE))
        point, ground, toes = angles(f"{side}_ankle").T
        flat = _flat_sole(thigh * joints[f"{side}_knee"], np.degrees(ground))
        joints[f"{side}_ankle"] = flat * rotation("X", point)
        joints[f"{side}_foot"] = rotation("X", -toes)
        swing, up, twist = angles(f"{side}_shoulder").T
        arm = rotation("XZX", -swing, up - np.pi / 2, twist)
        # The shoulder blade takes part as the arm goes up: 25 degrees of 180.
        share = np.radians(12.5) * (1 + arm.apply([1.0, 0.0, 0.0])[:, 1])
        collar = rotation("Z", share)
        joints[f"{side}_collar"] = mirrored(collar)
        joints[f"{side}_shoulder"] = mirrored(collar.inv() * arm)
        bend = np.clip(angles(f"{side}_elbow")[:, 0], 0, _HINGE)
        joints[f"{side}_elbow"] = mirrored(rotation("Y", -bend))
        bend, twist = angles(f"{side}_wrist").T
        joints[f"{side}_wrist"] = mirrored(rotation("XZ", twist, -bend))
    vectors = [joints[joint].as_rotvec() for joint in JOINTS]
    return np.concatenate(vectors, axis=1).astype(np.float32)


def _flat_sole(shin: Rotation, share: Float[np.ndarray, " t"]) -> Rotation:
    """Ankle rotation that takes the foot `share` of the way to a level one under `shin`; at most 45 degrees."""
    toes = shin.apply([0.0, 0.0, 1.0])
    level = Rotation.from_euler("y", np.arctan2(toes[:, 0], toes[:, 2])[:, None])
    vector = (shin.inv() * level).as_rotvec() * np.clip(share, 0, 1)[:, None]
    size = np.linalg.norm(vector, axis=1, keepdims=True)
    return Rotation.from_rotvec(vector * np.minimum(1, np.radians(45) / np.maximum(size, 1e-9)))


# phase of the cycle of the left leg: hip, knee, ankle pointed, toes up
_WALK_LEG = (
    (0.12, 19, 16, 4, 0),
    (0.25, 6, 10, -4, 0),
    (0.38, -8, 9, -9, 5),
    (0.50, -19, 16, -2, 25),
    (0.62, -8, 46, 16, 20),
    (0.75, 17, 62, 4, 0),
    (0.88, 28, 28, -3, 0),
    (1.00, 25, 4, -3, 0),
)
# Half a stride each: contact (last), support, toe-off, flight.
_RUN_LEG = (
    (0.15, 10, 40, -14, 0),
    (0.33, -24, 16, 22, 20),
    (0.42, -28, 45, 28, 5),
    (0.50, -18, 85, 24, 0),
    (0.65, 20, 115, 10, 0),
    (0.83, 52, 85, 0, 0),
    (0.92, 46, 45, -4, 0),
    (1.00, 28, 18, -3, 0),
)


def _gait(
    leg: Sequence[Sequence[float]],
    base: Row,
    *,
    seconds: float,
    stride: float,
    amplitude: float,
    swing: float,
    turn: float,
    flight: float = 0.0,
) -> Beats:
    """Cycles of two steps; `turn` in degrees and `stride` in metres a cycle, `swing` of the arms in degrees."""
    table = np.array(leg)
    half = len(table) // 2
    row_at_beat = []
    for index, phase in enumerate(table[:, 0]):
        row = base.copy()
        share = phase - (table[index - 1, 0] if index else 0.0)
        row[_PLACE] += np.array([turn, 0.0, 0.0, stride]) * share
        for side, (hip, knee, point, toes) in (
            ("left", table[index, 1:]),
            ("right", table[(index + half) % len(table), 1:]),
        ):
            sign = 1 if side == "left" else -1
            row[_SLICE[f"{side}_hip"].start] += amplitude * hip
            row[_SLICE[f"{side}_knee"].start] += amplitude * knee
            row[_SLICE[f"{side}_ankle"]] = (amplitude * point, 0.0, amplitude * toes)
            forward = -sign * np.cos(2 * np.pi * phase)
            row[_SLICE[f"{side}_shoulder"].start] += swing * forward
            row[_SLICE[f"{side}_elbow"].start] += 0.35 * swing * forward
        row[_SLICE["pelvis"]] += amplitude * np.array(
            [0.0, 3 * np.sin(2 * np.pi * phase), -6 * np.cos(2 * np.pi * phase)]
        )
        row[_SLICE["trunk"].stop - 1] += (4 + 0.25 * swing) * np.cos(2 * np.pi * phase)
        row_at_beat.append(Beat(seconds * share, row, flight if flight and index % half == 2 else 0))
    while True:
        yield from row_at_beat


def _walk(style: Style, rng: np.random.Generator) -> Beats:
    free = rng.random() < 0.6
    arms = ARMS["hang" if free else _choose(rng, style.arms, "hips", "clasped", "wave", "behind back")]
    crouch = max(0.0, rng.normal(-5.0, 12.0))
    low: Pose = {"hip": (3 + crouch, 3, 6), "knee": (4 + 1.8 * crouch,), "trunk": (2 + crouch, 0, 0)}
    amplitude = style.amplitude * rng.uniform(0.8, 1.15)
    return _gait(
        _WALK_LEG,
        _lead(_row(low, arms), rng.random() < 0.5),
        seconds=rng.uniform(0.95, 1.3),
        stride=1.4 * amplitude,
        amplitude=amplitude,
        swing=style.arm_swing * amplitude * (26 if free else 6),
        turn=rng.normal(0.0, 25.0),
    )


def _run(style: Style, rng: np.random.Generator) -> Beats:
    amplitude = style.amplitude * rng.uniform(0.75, 1.1)
    lean = rng.uniform(4, 16)
    base = _row(ARMS["pump"], {"pelvis": (lean / 2, 0, 0), "trunk": (lean, 0, 0), "hip": (3, 1, 3)})
    return _gait(
        _RUN_LEG,
        base,
        seconds=rng.uniform(0.65, 0.85),
        stride=2.4 * amplitude,
        amplitude=amplitude,
        swing=style.arm_swing * 20 + 22,
        turn=rng.normal(0.0, 15.0),
        flight=rng.uniform(0.04, 0.1),
    )


_LUNGES: tuple[Pose, ...] = (
    {  # forward
        "place": (0, 0, 0, 0.75),
        "left_hip": (75, 6, 8), "left_knee": (78,),
        "right_hip": (-17, 4, 0), "right_knee": (66,), "right_ankle": (0, 0, 50),
    },
    {  # sideways
        "place": (0, 0, 0.45, 0),
        "pelvis": (25, 0, 0), "trunk": (15, 0, 0),
        "left_hip": (75, 28, 25), "left_knee": (92,),
        "right_hip": (0, 42, 8), "right_knee": (4,),
    },
    {  # long and low, the hand towards the floor
        "place": (0, 0, 0, 0.95),
        "pelvis": (35, 0, 0), "trunk": (20, 0, 15),
        "left_hip": (85, 8, 8), "left_knee": (88,),
        "right_hip": (-38, 4, 0), "right_knee": (22,), "right_ankle": (-10, 0, 45),
    },
    {  # fencer's
        "place": (0, 0, 0.3, 0.4),
        "pelvis": (5, 0, -25),
        "left_hip": (60, 20, 10), "left_knee": (68,),
        "right_hip": (-22, 25, 45), "right_knee": (10,),
    },
)  # fmt: skip
_PASSING: Pose = {"left_hip": (62, 4, 5), "left_knee": (85,), "left_ankle": (5, 0, 0), "right_knee": (10,)}


def _lunge(style: Style, rng: np.random.Generator) -> Beats:
    kind = _row(_LUNGES[rng.choice(len(_LUNGES), p=[0.5, 0.2, 0.15, 0.15])])
    still = _row(ARMS[_choose(rng, "hang", style.arms, "hips", "clasped")])
    low = _row(ARMS[_choose(rng, style.arms, "hips", "sideways", "overhead", "forward", "archer", "vee")])
    walking = rng.random() < 0.5
    seconds = rng.uniform(0.5, 0.8)
    while True:
        left = rng.random() < style.left_lead
        down = _blend(still, _with_arms(kind, low), style.amplitude * rng.uniform(0.8, 1.05))
        down[_SLICE["trunk"].stop - 1] += rng.normal(0.0, 12.0)
        yield Beat(seconds, _lead(_with_arms(_row(_PASSING), _blend(still, low, 0.5)), left))
        yield Beat(seconds, _lead(down, left))
        yield Beat(rng.uniform(0.15, 0.5), _lead(_still(down), left))
        back = still.copy()
        back[_PLACE] = 0.0 if walking else -down[_PLACE]
        yield Beat(seconds, _lead(back, left))


def _jumping_jack(style: Style, rng: np.random.Generator) -> Beats:
    reach = rng.uniform(115, 172)
    closed = _row({"hip": (3, 2, 7)})
    half = _row({"hip": (22, 16, 10), "knee": (32,), "shoulder": (8, reach / 2 + 8, 0), "elbow": (25,)})
    wide = _row({"hip": (8, 30, 12), "knee": (14,), "shoulder": (6, reach, 0), "elbow": (22,)})
    if rng.random() < 0.3:  # arms to the front
        for row in (half, wide):
            row[_IS_ARM] = _row({"shoulder": (rng.uniform(80, 150), 10, 0)})[_IS_ARM]
    amplitude = style.amplitude * rng.uniform(0.85, 1.1)
    seconds = rng.uniform(0.2, 0.32)
    while True:
        for row in (half, wide, half, closed):
            yield Beat(seconds, _blend(closed, row, amplitude))


_SQUAT: Pose = {
    "pelvis": (38, 0, 0), "trunk": (14, 0, 0), "head": (-22, 0, 0),
    "hip": (88, 20, 14), "knee": (108,),
}  # fmt: skip


def _squat(style: Style, rng: np.random.Generator) -> Beats:
    still = _row(ARMS[_choose(rng, "hang", style.arms, "hips", "clasped", "guard", "behind head")])
    arms = _row(ARMS[_choose(rng, "forward", style.arms, "overhead", "clasped", "behind head", "guard")])
    deep = _row(_SQUAT)
    deep[_SLICE["left_hip"].start + 1] += (wide := rng.uniform(-6, 22))
    deep[_SLICE["right_hip"].start + 1] += wide
    seconds = rng.uniform(0.6, 1.0)
    while True:
        down = _blend(still, _with_arms(deep, arms), style.amplitude * rng.uniform(0.65, 1.15))
        down[_SLICE["trunk"].stop - 1] += rng.normal(0.0, 10.0)
        yield Beat(seconds, down)
        yield Beat(rng.uniform(0.2, 0.5), down)
        yield Beat(seconds, still)
        yield Beat(rng.uniform(0.1, 0.5), still)


_STRADDLED: Pose = {
    "hip": (0, 55, 12), "knee": (4,), "ankle": (35, 0, 0),
    "shoulder": (8, 158, 0), "elbow": (6,), "wrist": (-50, 0),
}  # fmt: skip
_CARTWHEEL: tuple[tuple[float, Pose], ...] = (
    (0.45, ARMS["vee"] | {"hip": (3, 14, 12)}),
    (0.35, ARMS["vee"] | {
        "place": (0, -8, 0.1, 0), "left_hip": (30, 38, 20), "left_knee": (30,), "left_ankle": (20, 0, 0),
        "trunk": (0, -4, 0),
    }),
    (0.30, _STRADDLED | {
        "place": (0, 48, 0.45, 0), "left_hip": (25, 30, 30), "left_knee": (40,), "left_ankle": (0, 0, 0),
        "right_hip": (0, 40, 8), "trunk": (8, 26, 0),
    }),
    (0.16, _STRADDLED | {"place": (0, 62, 0.35, 0), "left_hip": (5, 38, 15), "trunk": (6, 22, 0)}),
    (0.18, _STRADDLED | {"place": (0, 78, 0.4, 0)}),
    (0.18, _STRADDLED | {"place": (0, 78, 0.4, 0), "right_hip": (10, 38, 12), "trunk": (6, -22, 0)}),
    (0.20, _STRADDLED | {
        "place": (0, 62, 0.35, 0), "right_hip": (25, 30, 20), "right_knee": (40,),
        "left_hip": (0, 42, 8), "trunk": (8, -20, 0),
    }),
    (0.35, ARMS["vee"] | {"place": (0, 40, 0.2, 0), "hip": (6, 20, 12), "right_knee": (18,)}),
)  # fmt: skip


def _cartwheel(style: Style, rng: np.random.Generator) -> Beats:
    left = rng.random() < style.left_lead
    spread = rng.uniform(0.6, 1.15)
    bend = max(0.0, rng.normal(0.0, 25.0))
    pause = rng.uniform(0.2, 1.0)
    seconds = rng.uniform(0.9, 1.25)
    while True:
        for share, pose in _CARTWHEEL:
            row = _row(pose)
            for side in ("left", "right"):
                row[_SLICE[f"{side}_hip"].start + 1] *= spread
                row[_SLICE[f"{side}_knee"].start] += bend if pose.get("ankle") else 0.0
            yield Beat(share * seconds, _lead(row, left))
        yield Beat(pause, _lead(_row(pose | {"place": (rng.normal(0, 20), 0, 0, 0)}), left))


_SUPPORT: Pose = {"right_hip": (6, 4, 15), "right_knee": (14,), "left_ankle": (25, 0, 0)}
_FOLDED: Pose = {"left_hip": (75, 10, 0), "left_knee": (118,), "pelvis": (-5, 0, 0)}
_KICKS: tuple[tuple[Pose, Pose], ...] = (  # chambered, out
    (_FOLDED, {"left_hip": (88, 2, 0), "left_knee": (8,), "pelvis": (-18, 0, 0), "trunk": (10, 0, 0)}),
    (_FOLDED, {"left_hip": (125, 5, 5), "left_knee": (6,), "pelvis": (-22, 0, 0), "trunk": (10, 0, 0)}),
    (
        _FOLDED | {"pelvis": (0, -12, 0)},
        {"left_hip": (10, 82, -10), "left_knee": (5,), "pelvis": (0, -38, 0), "trunk": (0, -8, 0)},
    ),
    (
        {"left_hip": (35, 62, -25), "left_knee": (118,), "pelvis": (0, -22, -20)},
        {"left_hip": (70, 48, -15), "left_knee": (8,), "pelvis": (0, -25, -45), "trunk": (0, 0, 20)},
    ),
    (
        {"left_hip": (45, 5, 0), "left_knee": (110,), "pelvis": (25, 0, 0), "trunk": (15, 0, 0)},
        {"left_hip": (-75, 8, 0), "left_knee": (8,), "pelvis": (55, 0, 0), "trunk": (5, 0, 20)},
    ),
    (_FOLDED, {"left_hip": (108, 0, 0), "left_knee": (125,), "pelvis": (-12, 0, 0), "trunk": (18, 0, 0)}),
    (  # a ball, swung from behind
        {"left_hip": (-35, 12, 0), "left_knee": (85,), "trunk": (5, 0, 20), "pelvis": (0, 0, 15)},
        {"left_hip": (62, -4, 10), "left_knee": (12,), "trunk": (14, 0, -18), "pelvis": (-8, 0, -10)},
    ),
)


def _kick(style: Style, rng: np.random.Generator) -> Beats:
    arms = _row(ARMS[_choose(rng, "guard", "guard", "hang", style.arms, "pump", "wings")])
    guard = _with_arms(_row({"hip": (12, 12, 15), "knee": (22,)}), arms)
    while True:
        left = rng.random() < style.left_lead
        folded, out = (
            _with_arms(_row(_SUPPORT, pose), arms) for pose in _KICKS[rng.integers(len(_KICKS))]
        )
        out[_IS_ARM] += rng.normal(0.0, 14.0, size=_IS_ARM.sum())
        out = _blend(guard, out, style.amplitude * rng.uniform(0.8, 1.1))
        turn = rng.normal(0.0, 20.0)
        seconds = rng.uniform(0.8, 1.2)
        guard[0] = 0.3 * turn
        yield Beat(rng.uniform(0.2, 0.6), _lead(guard, left))
        yield Beat(0.35 * seconds, _lead(folded, left))
        yield Beat(0.22 * seconds, _lead(out, left))
        yield Beat(0.10 * seconds, _lead(out, left))
        yield Beat(0.25 * seconds, _lead(_blend(guard, folded, 0.8), left))
        yield Beat(0.4 * seconds, _lead(guard, left))


_CROUCHED: Pose = {
    "pelvis": (35, 0, 0), "trunk": (15, 0, 0), "head": (-20, 0, 0),
    "hip": (58, 8, 8), "knee": (85,), "shoulder": (-48, 18, 0), "elbow": (12,),
}  # fmt: skip
_OFF: Pose = {"hip": (-6, 4, 5), "knee": (4,), "ankle": (42, 0, 25), "elbow": (15,)}
_FLIGHTS: tuple[Pose, ...] = (
    {"knee": (20,), "hip": (8, 8, 8)},
    {"hip": (105, 10, 5), "knee": (118,), "pelvis": (10, 0, 0), "trunk": (20, 0, 0)} | ARMS["guard"],
    {"hip": (5, 42, 15), "knee": (6,)} | ARMS["vee"],
    {"hip": (-12, 6, 0), "knee": (105,)},
    {"hip": (75, 30, 10), "knee": (12,), "trunk": (25, 0, 0)} | ARMS["forward"],
    {"left_hip": (62, 6, 5), "left_knee": (8,), "right_hip": (-45, 6, 5), "right_knee": (10,)} | ARMS["archer"],
    {"left_hip": (70, 6, 5), "left_knee": (95,), "right_hip": (-12, 6, 5), "right_knee": (20,)},
)
_LANDED: Pose = {
    "pelvis": (25, 0, 0), "trunk": (12, 0, 0), "hip": (42, 8, 8), "knee": (62,),
    "shoulder": (50, 25, 0), "elbow": (30,),
}  # fmt: skip


def _jump(style: Style, rng: np.random.Generator) -> Beats:
    still = _row(ARMS[_choose(rng, "hang", "hang", style.arms)])
    reach: Pose = {"shoulder": (rng.uniform(70, 165), rng.uniform(10, 40), 0)}
    while True:
        left = rng.random() < style.left_lead
        height = style.amplitude * rng.uniform(0.15, 0.45)
        # Time from the ground to the top: sqrt(2 h / g).
        seconds = style.tempo * np.sqrt(2 * height / 9.81)
        flight = _row({"shoulder": reach["shoulder"]}, {"ankle": (38, 0, 0)}, _FLIGHTS[rng.integers(len(_FLIGHTS))])
        off, landed = _row(_OFF, reach), _row(_LANDED)
        forward = rng.choice([0.0, 0.0, 0.3, 0.6]) * seconds
        turn = rng.choice([0.0, 0.0, 90.0, 180.0, 360.0]) / 2 if height > 0.25 else 0.0
        for row in (flight, landed):
            row[_PLACE] = (turn, 0.0, 0.0, forward)
        crouched = _blend(still, _row(_CROUCHED), rng.uniform(0.7, 1.1))
        landed = _blend(still, landed, rng.uniform(0.6, 1.3))
        landed[_PLACE] = flight[_PLACE]
        yield Beat(0.5, _lead(crouched, left))
        yield Beat(0.2, _lead(off, left))
        yield Beat(seconds, _lead(flight, left), height)
        yield Beat(seconds, _lead(_blend(_still(landed), off, 0.6) + _placed(landed), left))
        yield Beat(0.15, _lead(_still(landed), left))
        yield Beat(rng.uniform(0.4, 0.6), still)
        if rng.random() < 0.5:
            yield Beat(rng.uniform(0.1, 0.6), still)
