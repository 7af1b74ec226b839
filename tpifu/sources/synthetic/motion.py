"""Procedural human motion from seeded key poses and splines, as SMPL axis-angle.

SMPL's frame: y up, the body faces +z, its left is +x. A key pose lists angles of body parts in
degrees. The name of an angle gives its positive direction, on both sides of the body:

    place     turn left, roll left (degrees), side, forward (metres) since the previous pose
    pelvis    tilt forward, sway left, twist left; the trunk follows, the legs do not
    trunk     bend forward, lean left, twist left
    head      nod down, tilt left, turn left
    hip       flex forward, out, turn out, relative to an upright body
    knee      flex
    ankle     point, share (0 to 1) of the rotation to a level sole, toes up
    shoulder  swing forward, raise sideways from hanging, twist inwards
    elbow     bend
    wrist     bend to the palm, roll inwards

The prefix "left_" or "right_" selects one side; without it both sides are set. Missing parts keep
their standing angles. A motion is an endless generator of beats: time since the previous beat, key
pose, height above the floor.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import Akima1DInterpolator, CubicSpline
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import JOINTS
from tpifu.sources.synthetic.beats import MAKERS, Style
from tpifu.sources.synthetic.key_pose import PLACE, SLICE, Pose, only

# Standard deviation of the slow noise of all joints, degrees.
_NOISE: Pose = {
    "pelvis": (1.5, 1.5, 1.5),
    "trunk": (3, 3, 4),
    "head": (7, 4, 16),
    "hip": (1.5, 1.5, 3),
    "knee": (2,),
    "shoulder": (4, 3, 4),
    "elbow": (5,),
    "wrist": (8, 5),
}

_HINGE = np.radians(150.0)
FPS = 30.0
"""Frames per second, as in SURREAL."""


@dataclass(frozen=True)
class Motion:
    pose: Float[np.ndarray, "t 72"]
    """SMPL axis-angle in the order of JOINTS, including the root orientation."""
    lift: Float[np.ndarray, " t"]
    """Height of the lowest point of the body above the floor, metres; 0 in contact."""
    travel: Float[np.ndarray, "t 2"]
    """Position of the root in x and z, metres, starting at 0, 0."""


def make_motion(name: str, frames: int, style: Style, rng: np.random.Generator) -> Motion:
    """`frames` frames of a motion in MOTIONS, starting at a random time with a heading near 0."""
    # The spline starts before the clip and ends after it, because its ends are less smooth.
    at = rng.uniform(1.5, 4.0) + np.arange(frames) / FPS
    times: list[float] = []
    rows, lifts = [], []
    end = 0.0
    for beat in MAKERS[name](style, rng):
        end += beat.seconds / style.tempo if times else 0.0
        times.append(end)
        rows.append(beat.row)
        lifts.append(beat.lift)
        if end > at[-1] + 1.5:
            break
    keys = np.stack(rows)
    keys[:, PLACE] = np.cumsum(keys[:, PLACE], axis=0)
    # Makima splines are smooth and hardly overshoot at held poses.
    angles = Akima1DInterpolator(times, keys, method="makima")(at)
    angles += style.row() + _noise(style, at, rng)
    turn, roll, side, forward = angles[:, PLACE].T
    heading = np.radians(turn - turn[0] + rng.normal(0.0, 12.0))
    return Motion(
        pose=smpl(angles, heading, np.radians(roll)),
        lift=ballistic(np.array(times), np.array(lifts), at),
        travel=travel(heading, side, forward),
    )


def _noise(
    style: Style, at: Float[np.ndarray, " t"], rng: np.random.Generator
) -> Float[np.ndarray, "t c"]:
    """Slow noise in all joints, degrees."""
    knots = np.arange(at[0] - 1.0, at[-1] + 2.0, 0.8)
    scale = only(_NOISE)
    noise = rng.normal(size=(len(knots), len(scale))) * scale * style.restless
    return CubicSpline(knots, noise)(at)


def ballistic(
    times: Float[np.ndarray, " k"], heights: Float[np.ndarray, " k"], at: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Heights between beats under gravity: decelerating upwards, accelerating downwards."""
    beat = np.searchsorted(times, at, side="right") - 1
    share = (at - times[beat]) / (times[beat + 1] - times[beat])
    start, end = heights[beat], heights[beat + 1]
    share = np.where(end > start, 1 - (1 - share) ** 2, share**2)
    return start + share * (end - start)


def travel(
    heading: Float[np.ndarray, " t"],
    side: Float[np.ndarray, " t"],
    forward: Float[np.ndarray, " t"],
) -> Float[np.ndarray, "t 2"]:
    """World x, z of sideways and forward steps in the direction of the heading."""
    left = np.diff(side, prepend=side[0])
    ahead = np.diff(forward, prepend=forward[0])
    sin, cos = np.sin(heading), np.cos(heading)
    steps = np.stack([cos * left + sin * ahead, cos * ahead - sin * left], axis=1)
    return np.cumsum(steps, axis=0)


def smpl(
    rows: Float[np.ndarray, "t c"], heading: Float[np.ndarray, " t"], roll: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t 72"]:
    """Key pose angles -> SMPL axis-angle; heading and roll in radians."""

    def angles(part: str) -> Float[np.ndarray, "n t"]:
        return np.radians(rows[:, SLICE[part]].T)

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
        # Mirroring x turns a rotation about (x, y, z) into one about (x, -y, -z).
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
        # The collarbone contributes up to 25 degrees to a raised arm.
        height = arm.apply([sign, 0.0, 0.0])[:, 1]
        collar = rotation("Z", sign * np.radians(12.5) * (1 + height))
        joints[f"{side}_collar"] = collar
        joints[f"{side}_shoulder"] = collar.inv() * arm
        bend = angles(f"{side}_elbow")[0].clip(0, _HINGE)
        joints[f"{side}_elbow"] = rotation("Y", -sign * bend)
        bend, twist = angles(f"{side}_wrist")
        joints[f"{side}_wrist"] = rotation("XZ", twist, -sign * bend)
    return np.hstack([joints[joint].as_rotvec() for joint in JOINTS])


def _level_sole(shin: Rotation, share: Float[np.ndarray, " t"]) -> Rotation:
    """The ankle rotation that is `share` of the rotation to a level foot, at most 45 degrees."""
    toes = shin.apply([0.0, 0.0, 1.0])
    level = Rotation.from_euler("y", np.arctan2(toes[:, 0], toes[:, 2])[:, None])
    vector = (shin.inv() * level).as_rotvec() * share.clip(0, 1)[:, None]
    size = np.linalg.norm(vector, axis=1, keepdims=True)
    return Rotation.from_rotvec(vector * np.minimum(1, np.radians(45) / np.maximum(size, 1e-9)))
