"""The nine motions as sequences of timed key poses (beats)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from tpifu.sources.synthetic.key_pose import (
    IS_ARM,
    IS_LEFT,
    PLACE,
    SLICE,
    Pose,
    Row,
    blend,
    in_place,
    key_row,
    lead,
    only,
    with_arms,
)
from tpifu.sources.synthetic.poses import ARMS, LEGS, MOVES, POSES


def _choose(rng: np.random.Generator, *options: str) -> str:
    return options[rng.integers(len(options))]


def _choose_move(rng: np.random.Generator, motion: str) -> list[Pose]:
    return MOVES[motion][rng.integers(len(MOVES[motion]))]


_CARTWHEEL = (0.35, 0.35, 0.30, 0.16, 0.18, 0.18, 0.20, 0.30)
"""Seconds before each pose of a cartwheel."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """A subject's style of motion in all clips. Angles, in degrees, are added to all poses."""

    tempo: float = 1.0
    amplitude: float = 1.0
    left_lead: float = 0.5
    """Share of actions led by the left side."""
    arms: str = "hang"
    """Preferred arm pose, a key of ARMS."""
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

    def row(self, share: float = 1.0) -> Row:
        """The angles to add to all poses; `share` scales those of posture, but not of nod and
        stance."""
        return only(
            {
                "trunk": (share * self.bend, 0, 0),
                "head": (self.nod, 0, 0),
                "hip": (0, self.stance, share * self.turn_out),
                "shoulder": (0, share * self.arms_out, 0),
                "elbow": (share * self.elbow,),
            }
        )


class _Beat(NamedTuple):
    seconds: float
    """Time since the previous beat."""
    row: Row
    lift: float = 0.0


_Beats: TypeAlias = Iterator[_Beat]


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
    """Endless steps; a cycle of two covers `stride` metres and turns by `turn` degrees."""
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
        place = only({"place": (turn * share, 0, 0, stride * share)})
        row = base + amplitude * only(legs) + only(arms) + place
        beats.append(_Beat(seconds * share, row, flight if index % half == half - 2 else 0.0))
    while True:
        yield from beats


def _walk(style: Style, rng: np.random.Generator) -> _Beats:
    free = rng.random() < 0.6
    arms = "hang" if free else _choose(rng, style.arms, "hips", "crossed", "wave", "behind_back")
    low = max(0.0, rng.normal(-5.0, 12.0))
    legs: Pose = {"hip": (3 + low, 3, 6), "knee": (4 + 1.8 * low,), "ankle": (-0.8 * low, 0, 0)}
    amplitude = style.amplitude * rng.uniform(0.8, 1.15)
    return _gait(
        np.array(LEGS["walk"]),
        lead(key_row(legs, ARMS[arms], {"trunk": (2 + low, 0, 0)}), rng.random() < style.left_lead),
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
        np.array(LEGS["run"]),
        key_row(legs, ARMS["pump"], {"pelvis": (lean / 2, 0, 0), "trunk": (lean, 0, 0)}),
        seconds=rng.uniform(0.65, 0.85),
        amplitude=amplitude,
        stride=2.4 * amplitude,
        turn=rng.normal(0.0, 15.0),
        swing=22 + 20 * style.arm_swing,
        flight=rng.uniform(0.04, 0.1),
    )


def _lunge(style: Style, rng: np.random.Generator) -> _Beats:
    still = key_row(ARMS[_choose(rng, "hang", style.arms, "hips", "clasped")])
    low = key_row(
        ARMS[_choose(rng, style.arms, "hips", "sideways", "overhead", "forward", "archer", "vee")]
    )
    (pose,) = MOVES["lunge"][rng.choice(4, p=[0.5, 0.2, 0.15, 0.15])]
    kind = with_arms(key_row(pose), low)
    step = with_arms(key_row(POSES["lunge_step"]), blend(still, low, 0.5))
    advances = rng.random() < 0.5
    seconds = rng.uniform(0.45, 0.7)
    while True:
        left = rng.random() < style.left_lead
        down = blend(still, kind, style.amplitude * rng.uniform(0.8, 1.05))
        down += only({"trunk": (0, 0, rng.normal(0.0, 12.0))})
        yield _Beat(0.8 * seconds, lead(step, left))
        yield _Beat(seconds, lead(down, left))
        yield _Beat(rng.uniform(0.1, 0.4), lead(in_place(down), left))
        back = still if advances else still + in_place(down) - down
        yield _Beat(seconds, lead(back, left))


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
    if rng.random() < 0.3:  # the arms are raised in front
        half |= {"shoulder": (reach / 2, 15, 0)}
        wide |= {"shoulder": (reach, 20, 0)}
    seconds = rng.uniform(0.2, 0.32)
    while True:
        for pose in (half, wide, half, closed):
            yield _Beat(seconds, blend(key_row(closed), key_row(pose), amplitude))


def _squat(style: Style, rng: np.random.Generator) -> _Beats:
    still = key_row(
        ARMS[_choose(rng, "hang", style.arms, "hips", "clasped", "guard", "behind_head")]
    )
    arms = key_row(
        ARMS[_choose(rng, "forward", style.arms, "overhead", "clasped", "behind_head", "guard")]
    )
    deep = with_arms(key_row(POSES["squat"]), arms) + only({"hip": (0, rng.uniform(-6.0, 22.0), 0)})
    seconds = rng.uniform(0.5, 0.85)
    while True:
        down = blend(still, deep, style.amplitude * rng.uniform(0.65, 1.15))
        down += only({"trunk": (0, 0, rng.normal(0.0, 10.0))})
        yield _Beat(seconds, down)
        yield _Beat(rng.uniform(0.1, 0.4), down)
        yield _Beat(seconds, still)
        yield _Beat(rng.uniform(0.1, 0.3), still)


def _cartwheel(style: Style, rng: np.random.Generator) -> _Beats:
    left = rng.random() < style.left_lead
    spread = rng.uniform(0.6, 1.15)
    bent = max(0.0, rng.normal(0.0, 25.0))
    seconds = rng.uniform(0.95, 1.25)
    (poses,) = MOVES["cartwheel"]
    while True:
        for share, pose in zip(_CARTWHEEL, poses, strict=True):
            row = key_row(pose)
            for side in ("left_hip", "right_hip"):
                row[SLICE[side]] *= (1, spread, 1)
            if "ankle" in pose:  # the feet have left the floor
                row += only({"knee": (bent,)})
            yield _Beat(share * seconds, lead(row, left))
        yield _Beat(rng.uniform(0.15, 0.5), lead(key_row(poses[0]), left))


def _kick(style: Style, rng: np.random.Generator) -> _Beats:
    arms = key_row(ARMS[_choose(rng, "guard", "guard", "hang", style.arms, "pump", "wings")])
    guard = with_arms(key_row({"hip": (12, 12, 15), "knee": (22,)}), arms)
    while True:
        left = rng.random() < style.left_lead
        folded, out = (
            with_arms(key_row(POSES["support"], pose), arms) for pose in _choose_move(rng, "kick")
        )
        out += np.where(IS_ARM, rng.normal(0.0, 14.0, size=len(out)), 0.0)
        out = blend(guard, out, style.amplitude * rng.uniform(0.8, 1.1))
        seconds = rng.uniform(0.85, 1.2)
        turned = guard + only({"place": (rng.normal(0.0, 25.0), 0, 0, 0)})
        yield _Beat(rng.uniform(0.1, 0.4), turned)
        yield _Beat(0.3 * seconds, lead(folded, left))
        yield _Beat(0.24 * seconds, lead(out, left))
        yield _Beat(0.10 * seconds, lead(out, left))
        yield _Beat(0.25 * seconds, lead(blend(guard, folded, 0.8), left))
        yield _Beat(0.3 * seconds, guard)


def _jump(style: Style, rng: np.random.Generator) -> _Beats:
    still = key_row(ARMS[_choose(rng, "hang", "hang", style.arms)])
    reach: Pose = {"shoulder": (rng.uniform(60.0, 130.0), rng.uniform(10.0, 40.0), 0)}
    while True:
        left = rng.random() < style.left_lead
        height = style.amplitude * rng.uniform(0.18, 0.48)
        # Time from the floor to the apex, independent of the tempo.
        seconds = style.tempo * np.sqrt(2 * height / 9.81)
        forward = rng.choice([0.0, 0.0, 0.8, 1.6]) * seconds
        turn = rng.choice([0.0, 0.0, 45.0, 90.0, 150.0]) if height > 0.25 else 0.0
        place = only({"place": (turn, 0, 0, forward)})
        off = key_row(POSES["taking_off"], reach)
        flight = key_row({"ankle": (38, 0, 0)}, reach, *_choose_move(rng, "flight"))
        # A low jump is too short for the complete pose.
        flight = blend(off, flight, min(1.0, height / 0.35))
        landed = blend(still, key_row(POSES["landed"]), rng.uniform(0.6, 1.3))
        crouched = blend(still, key_row(POSES["crouched"]), rng.uniform(0.7, 1.1))
        yield _Beat(0.45, lead(crouched, left))
        yield _Beat(0.28, lead(off, left))
        yield _Beat(seconds, lead(flight + place, left), height)
        yield _Beat(seconds, lead(blend(landed, off, 0.6) + place, left))
        yield _Beat(0.15, landed)
        yield _Beat(rng.uniform(0.35, 0.6), still)


def _dance(style: Style, rng: np.random.Generator) -> _Beats:
    beat = rng.uniform(0.34, 0.5)
    moves = rng.choice(len(MOVES["dance"]), size=8, replace=False)
    arms = key_row()
    while True:
        move = MOVES["dance"][rng.choice(moves)]
        left = rng.random() < style.left_lead
        for pose in move * int(rng.integers(1, 3)):
            if rng.random() < 0.8:
                # The two arms come from two arm poses.
                one, other = (key_row(ARMS[name]) for name in rng.choice(list(ARMS), size=2))
                arms = np.where(IS_LEFT, one, lead(other, rng.random() < 0.5))
            share = style.amplitude * rng.uniform(0.85, 1.15)
            row = with_arms(blend(key_row(), key_row(pose), share), arms)
            # Turns are not scaled.
            row[PLACE] = pose.get("place", 0.0)
            hops = pose == POSES["hop"]
            yield _Beat(beat, lead(row, left), rng.uniform(0.06, 0.2) if hops else 0.0)


MAKERS: dict[str, Callable[[Style, np.random.Generator], _Beats]] = {
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
MOTIONS = tuple(MAKERS)
"""Names of the nine motions."""
