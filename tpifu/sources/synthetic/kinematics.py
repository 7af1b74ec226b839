"""Joint positions of a body of average shape, without posing its mesh, which takes a hundred times
as long."""

import functools

import numpy as np
import torch
from jaxtyping import Float
from smplx.lbs import batch_rigid_transform

from tpifu.body.body import embedded_body
from tpifu.body.skeleton import PARENTS


def joint_positions(matrices: Float[np.ndarray, "n 24 3 3"]) -> Float[np.ndarray, "n 24 3"]:
    """Joint positions relative to the pelvis, metres. `matrices` are rotations relative to the
    parent; the first is the root's orientation in the world."""
    rest = _rest().expand(len(matrices), -1, -1)
    posed, _ = batch_rigid_transform(
        torch.from_numpy(matrices), rest, torch.tensor(PARENTS), dtype=torch.float64
    )
    return (posed - posed[:, :1]).numpy()


@functools.cache
def _rest() -> Float[torch.Tensor, "24 3"]:
    _, joints = embedded_body("male").rest(np.zeros(10, np.float32))
    return torch.from_numpy(joints)
