"""Settle a key pose on the floor: contacts level, centre of mass above them."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import JOINTS
from tpifu.clips.rounding import rounded
from tpifu.sources.synthetic.key_pose import Pose, Row, only
from tpifu.sources.synthetic.kinematics import joint_positions
from tpifu.sources.synthetic.motion import smpl

# fmt: off
# Typical change of each angle during settling, degrees; 0: fixed.
_GIVE: Pose = {
    "pelvis": (8, 6, 0), "trunk": (8, 6, 0), "hip": (14, 6, 0), "knee": (16,), "ankle": (8, 0, 0),
    "shoulder": (14, 8, 0), "elbow": (16,),
}
# Metres from a joint to the skin.
_RADII = dict(
    pelvis=0.12, hip=0.10, spine1=0.11, knee=0.055, spine2=0.12, ankle=0.085, spine3=0.12,
    foot=0.03, neck=0.07, collar=0.09, head=0.10, shoulder=0.07, elbow=0.045, wrist=0.035,
    hand=0.025,
)
# Share of the body's mass assigned to each joint (de Leva 1996, rounded).
_MASSES = dict(
    pelvis=0.14, hip=0.09, spine1=0.08, knee=0.07, spine2=0.09, ankle=0.03, spine3=0.15,
    foot=0.01, neck=0.02, collar=0.02, head=0.06, shoulder=0.03, elbow=0.02, wrist=0.01, hand=0.005,
)
# fmt: on
_BONES = [joint.split("_")[-1] for joint in JOINTS]
_RADIUS = np.array([_RADII[bone] for bone in _BONES])
_MASS = np.array([_MASSES[bone] for bone in _BONES])
_MASS /= _MASS.sum()
_ROOT_GIVE = 12.0
"""Typical tilt of the whole body during settling, degrees."""
_LEVEL, _BALANCE = 0.01, 0.07
"""Tolerances for the height of a contact and for the centre of mass, metres."""
_STEP = 1e-3
"""Finite-difference step, radians."""
_ROUNDING = 2.0**-12
"""Rounding step for the result, radians, about .014 degrees. The solution of the linear system
differs by up to 1e-9 between CPUs."""


def smpl_pose(rows: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n 72"]:
    zero = np.zeros(len(rows))
    return smpl(rows, zero, zero)


_COLUMNS = np.flatnonzero(only(_GIVE))
_GIVES = np.radians(np.r_[only(_GIVE)[_COLUMNS], _ROOT_GIVE, _ROOT_GIVE])


def settle(
    row: Row, root: Rotation, contacts: tuple[str, ...], balance: bool
) -> tuple[Row, Rotation]:
    """The nearest pose in contact with the floor.

    Four damped Gauss-Newton steps over the joint angles and the tilt of the body; the residuals are
    distances from the floor and, if `balance`, of the centre of mass from the contacts.
    """
    supports = np.array([JOINTS.index(joint) for joint in contacts])
    moved = np.zeros(len(_GIVES))
    # One row of `moves` per derivative; the last row is the current pose.
    moves = np.vstack([np.eye(len(_GIVES)) * _STEP, np.zeros(len(_GIVES))])
    for _ in range(4):
        residuals = _residuals(row, root, moved + moves, supports, balance)
        now = residuals[-1]
        slopes = (residuals[:-1] - now).T / _STEP
        normal = slopes.T @ slopes + np.diag(_GIVES**-2.0)
        moved = moved + np.linalg.solve(normal, -slopes.T @ now - moved / _GIVES**2)
        moved = moved.clip(-3 * _GIVES, 3 * _GIVES)
    rows, roots = _moved(row, root, rounded(moved[None], _ROUNDING))
    return rows[0], roots[0]


def _moved(
    row: Row, root: Rotation, moves: Float[np.ndarray, "n m"]
) -> tuple[Float[np.ndarray, "n c"], Rotation]:
    rows = np.repeat(row[None], len(moves), axis=0)
    rows[:, _COLUMNS] += np.degrees(moves[:, :-2])
    tilts = np.stack([moves[:, -2], np.zeros(len(moves)), moves[:, -1]], axis=1)
    return rows, Rotation.from_rotvec(tilts) * root


def _residuals(
    row: Row,
    root: Rotation,
    moves: Float[np.ndarray, "n m"],
    supports: Int[np.ndarray, " k"],
    balance: bool,
) -> Float[np.ndarray, "n r"]:
    rows, roots = _moved(row, root, moves)
    matrices = Rotation.from_rotvec(smpl_pose(rows).reshape(-1, 3)).as_matrix()
    matrices = matrices.reshape(-1, 24, 3, 3)
    matrices[:, 0] = roots.as_matrix() @ matrices[:, 0]
    joints = joint_positions(matrices)
    skin = joints[..., 1] - _RADIUS
    floor = skin[:, supports].mean(axis=1, keepdims=True)
    uneven = (skin[:, supports] - floor) / _LEVEL
    sunk = np.minimum(0, skin - floor) / _LEVEL
    off = (np.einsum("j,njc->nc", _MASS, joints) - joints[:, supports].mean(axis=1))[:, [0, 2]]
    return np.hstack([uneven, sunk, off / _BALANCE * balance])
