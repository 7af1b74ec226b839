"""Joint positions of a body of average shape, from joint rotations alone: posing a whole mesh costs
a hundred times as much."""

import functools

import numpy as np
import torch
from jaxtyping import Float
from smplx.lbs import batch_rigid_transform

from tpifu.body.body import embedded_body

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each of SMPL's joints; -1: the root."""


def joint_positions(matrices: Float[np.ndarray, "n 24 3 3"]) -> Float[np.ndarray, "n 24 3"]:
    """Joints of rotated bones, metres, the pelvis at the origin. `matrices` are relative to the
    parent; the first is the root's orientation in the world."""
    rest = _rest().expand(len(matrices), -1, -1)
    posed, _ = batch_rigid_transform(
        torch.from_numpy(matrices), rest, torch.tensor(PARENTS), dtype=torch.float64
    )
    return (posed - posed[:, :1]).numpy()


@functools.cache
def _rest() -> Float[torch.Tensor, "24 3"]:
    _, joints = embedded_body("male").rest(np.zeros(10, np.float32))
    return torch.from_numpy(joints).double()
