"""Coverage of poses by training poses: the distance from a pose to the nearest training pose.

The distance between two poses is the mean distance between their 24 joints, in centimetres, on one
body of average shape with aligned pelvises, after the rotation about the vertical that minimises
it: headings do not matter, but lying and standing are different poses.
"""

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.spatial.transform import Rotation

from tpifu.sources.synthetic.kinematics import joint_positions


def nearest_training_pose(
    poses: Float[np.ndarray, "n 72"], training: Float[np.ndarray, "m 72"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Distance of each pose to the nearest training pose, cm, and that pose's index. The nearest
    pose has the smallest root mean square distance; poses are SMPL axis-angle. Needs 32 bytes of
    memory per pair."""
    up, across = _up_and_across(training)
    own_up, own_across = _up_and_across(poses)
    squares = (up**2).sum(1) + (np.abs(across) ** 2).sum(1)
    # |a - turn b|^2 is minimal if sum(conj(a) turn b) is real and positive.
    turns = own_across.conj() @ across.T
    common = own_up @ up.T + np.abs(turns)
    index = (squares - 2 * common).argmin(axis=1)
    turn = turns[np.arange(len(index)), index].conj()
    turn /= np.maximum(np.abs(turn), 1e-12)
    apart = np.abs(own_across - turn[:, None] * across[index]) ** 2
    distance = np.sqrt(apart + (own_up - up[index]) ** 2).mean(axis=1)
    return 100 * distance, index


def _up_and_across(
    poses: Float[np.ndarray, "n 72"],
) -> tuple[Float[np.ndarray, "n 24"], Complex[np.ndarray, "n 24"]]:
    """Joint heights and horizontal positions x + iz relative to the pelvis, metres."""
    matrices = Rotation.from_rotvec(poses.reshape(-1, 3).astype(np.float64)).as_matrix()
    joints = joint_positions(matrices.reshape(-1, 24, 3, 3))
    return joints[..., 1], joints[..., 0] + 1j * joints[..., 2]
