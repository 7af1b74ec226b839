"""Self-intersection of a body whose parts are modelled as rows of balls between joints."""

import itertools

import numpy as np
from jaxtyping import Float

from tpifu.body.skeleton import JOINTS


def overlap(joints: Float[np.ndarray, "n 24 3"]) -> Float[np.ndarray, " n"]:
    """Largest overlap of two parts of each body, metres; 0 if no parts overlap."""
    ends = joints[:, _ENDS]
    balls = np.concatenate(
        [(1 - share) * ends[:, :, 0] + share * ends[:, :, 1] for share in _SHARES], axis=1
    )
    apart = np.linalg.norm(balls[:, _PAIRS[0]] - balls[:, _PAIRS[1]], axis=-1)
    return np.maximum(0, _BALL[_PAIRS[0]] + _BALL[_PAIRS[1]] - apart).max(axis=1)


# First joint, last joint, radius of the balls in metres, body part.
_PARTS = (
    ("pelvis", "spine2", 0.105, "trunk"),
    ("spine2", "spine3", 0.105, "trunk"),
    ("left_hip", "right_hip", 0.085, "trunk"),
    ("spine3", "left_collar", 0.09, "trunk"),
    ("spine3", "right_collar", 0.09, "trunk"),
    ("head", "head", 0.09, "head"),
    *(
        (f"{side}_{one}", f"{side}_{other}", radius, f"{side} {part}")
        for side in ("left", "right")
        for one, other, radius, part in (
            ("hip", "knee", 0.065, "thigh"),
            ("knee", "ankle", 0.05, "shin"),
            ("ankle", "foot", 0.035, "foot"),
            ("shoulder", "elbow", 0.045, "upper arm"),
            ("elbow", "wrist", 0.035, "forearm"),
            ("wrist", "hand", 0.03, "hand"),
        )
    ),
)
_SHARES = np.linspace(0.0, 1.0, 6)
_ENDS = np.array([[JOINTS.index(one), JOINTS.index(other)] for one, other, _, _ in _PARTS])
_BALL = np.tile([radius for _, _, radius, _ in _PARTS], len(_SHARES))
# Neighbouring parts always touch, as do the two halves of a folded leg or a bent arm.
_TOUCHING = {("trunk", "thigh"), ("trunk", "upper arm"), ("head", "trunk"), ("head", "upper arm")}
_TOUCHING |= {("thigh", "shin"), ("shin", "foot"), ("thigh", "foot")}
_TOUCHING |= {("upper arm", "forearm"), ("forearm", "hand"), ("upper arm", "hand")}


def _counts(one: str, other: str) -> bool:
    sides = {one.partition(" ")[0], other.partition(" ")[0]} & {"left", "right"}
    names = tuple(part.removeprefix("left ").removeprefix("right ") for part in (one, other))
    touching = names in _TOUCHING or names[::-1] in _TOUCHING
    return one != other and not (touching and len(sides) < 2)


_BELONGS = [part for *_, part in _PARTS] * len(_SHARES)
_PAIRS = np.array(
    [
        pair
        for pair in itertools.combinations(range(len(_BELONGS)), 2)
        if _counts(*(_BELONGS[ball] for ball in pair))
    ]
).T
