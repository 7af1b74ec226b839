"""Key poses: angles by body part and axis; mirroring and blending."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float

Pose: TypeAlias = dict[str, tuple[int | float, ...]]
Row: TypeAlias = Float[np.ndarray, " c"]
"""A key pose as a vector of the angles of all parts; SLICE has the indices of each part."""

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

_CENTRAL = ("place", "pelvis", "trunk", "head")
_LEFT = tuple(f"left_{part}" for part in _STANDING if part not in _CENTRAL)
_RIGHT = tuple(f"right_{part}" for part in _STANDING if part not in _CENTRAL)
_PARTS = _CENTRAL + _LEFT + _RIGHT
_SIZES = [len(_STANDING[part.split("_")[-1]]) for part in _PARTS]
SLICE = {
    part: slice(int(end) - size, int(end))
    for part, size, end in zip(_PARTS, _SIZES, np.cumsum(_SIZES), strict=True)
}
PLACE = SLICE["place"]


def _set(row: Row, pose: Pose) -> None:
    for part, angles in pose.items():
        for name in (part,) if part in SLICE else (f"left_{part}", f"right_{part}"):
            row[SLICE[name]] = angles


def only(pose: Pose) -> Row:
    """`pose` as a row to add to another; missing parts are 0."""
    row = np.zeros(sum(_SIZES))
    _set(row, pose)
    return row


def key_row(*poses: Pose) -> Row:
    """The standing pose, overwritten by `poses` in order."""
    row = only(_STANDING)
    for pose in poses:
        _set(row, pose)
    return row


IS_ARM = only({"shoulder": (1, 1, 1), "elbow": (1,), "wrist": (1, 1)}) == 1
IS_LEFT = np.isin(np.repeat(_PARTS, _SIZES), _LEFT)
_SWAP = np.r_[tuple(SLICE[part] for part in _CENTRAL + _RIGHT + _LEFT)]
_SIGN = 1 - 2 * only(
    {"place": (1, 1, 1, 0), "pelvis": (0, 1, 1), "trunk": (0, 1, 1), "head": (0, 1, 1)}
)


def lead(row: Row, left: bool) -> Row:
    """A pose led by the left side, or its mirror image."""
    return row if left else row[_SWAP] * _SIGN


def blend(row: Row, other: Row, share: float) -> Row:
    return row + share * (other - row)


def with_arms(row: Row, arms: Row) -> Row:
    return np.where(IS_ARM, arms, row)


def in_place(row: Row) -> Row:
    """The same pose without its translation."""
    row = row.copy()
    row[PLACE] = 0.0
    return row
