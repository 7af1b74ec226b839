"""SMPL-format bodies: an .npz with SMPL's arrays -> posed vertices and joints, with smplx.

SMPL's frame: metres, y up, facing +z, left is +x. Two bodies are embedded in the package (NOTICE
names their sources). They have SMPL's format, joints and vertex count, but not its topology.
"""

import contextlib
import functools
import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import smplx
import torch
from jaxtyping import Float, Int, Int8
from smplx.utils import Struct

from tpifu.body.arrays import ARRAYS, body_arrays, one_line
from tpifu.body.skeleton import BETAS, GENDERS, JOINT_COUNT
from tpifu.errors import DataError

_ASSETS = Path(__file__).parent / "assets"
VERTICES = 6890
"""Vertices of every SMPL body; smplx needs them."""
_CHUNK = 16
"""Frames posed at once, which bounds the memory for long clips."""


class Body:
    """One body model. Shape and pose are arguments; no state is kept between calls."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        """`arrays`: v_template, shapedirs, weights, J_regressor, kintree_table, f and, optionally,
        posedirs."""
        self.faces: Int[np.ndarray, "f 3"] = arrays["f"].astype(np.int32)
        vertices = len(arrays["v_template"])
        weights = arrays["weights"].astype(np.float32)
        data = {
            "v_template": arrays["v_template"].astype(np.float32),
            "shapedirs": arrays["shapedirs"][:, :, :BETAS].astype(np.float32),
            "posedirs": arrays.get(
                "posedirs", np.zeros((vertices, 3, 9 * (JOINT_COUNT - 1)), np.float32)
            ),
            # Rows of 16-bit weights sum to .9997, which would shrink the body.
            "weights": weights / weights.sum(axis=1, keepdims=True),
            "J_regressor": arrays["J_regressor"].astype(np.float32),
            "kintree_table": arrays["kintree_table"].astype(np.int64),
            "f": self.faces.astype(np.int64),
        }
        self.joints_of_vertices: Int8[np.ndarray, " v"] = weights.argmax(axis=1).astype(np.int8)
        """For each vertex, the joint with the largest skinning weight."""
        # smplx prints a warning about ten shape coefficients, which is the number SURREAL stores.
        with contextlib.redirect_stdout(io.StringIO()):
            struct = Struct(**data)
            self._smpl = smplx.SMPL("", data_struct=struct, num_betas=BETAS, dtype=torch.float64)

    def rest(
        self, betas: Float[np.ndarray, " b"]
    ) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "24 3"]]:
        """Vertices and joints of the T-pose, not centred."""
        vertices, joints = self.pose(np.zeros((1, 3 * JOINT_COUNT)), betas)
        return vertices[0], joints[0]

    @torch.no_grad()
    def pose(
        self, pose: Float[np.ndarray, "t 72"], betas: Float[np.ndarray, " b"]
    ) -> tuple[Float[np.ndarray, "t v 3"], Float[np.ndarray, "t 24 3"]]:
        """Vertices and joints of axis-angle poses in SMPL's joint order, without translation, in
        float64."""
        vertices, joints = [], []
        for part in torch.from_numpy(pose).double().split(_CHUNK):
            output = self._smpl(
                betas=torch.from_numpy(betas).double().expand(len(part), -1),
                global_orient=part[:, :3],
                body_pose=part[:, 3:],
            )
            vertices.append(output.vertices.numpy())
            joints.append(output.joints[:, :JOINT_COUNT].numpy())
        return np.concatenate(vertices), np.concatenate(joints)


@functools.cache
def embedded_body(gender: str) -> Body:
    """The "female" or "male" body embedded in the package."""
    return load_body(_ASSETS / f"body_{gender}.npz")


def write_embedded(folder: Path) -> None:
    """Copy the embedded bodies to `female.npz` and `male.npz` in a new folder."""
    folder.mkdir(parents=True)
    for gender in GENDERS:
        shutil.copyfile(_ASSETS / f"body_{gender}.npz", folder / f"{gender}.npz")


@functools.cache
def load_body(path: Path) -> Body:
    """Read an SMPL-format .npz. Raises DataError if the file is missing or not a body."""
    if not path.is_file():
        raise DataError(f"{path}: no such body file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            names = [name for name in ARRAYS if name != "posedirs" or name in stored]
            arrays = body_arrays(stored.__getitem__, names)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for malformed files
        raise DataError(f"{path}: not a readable .npz ({one_line(error)})") from error
    if (vertices := len(arrays["v_template"])) != VERTICES:
        raise DataError(f"{path}: has {vertices} vertices, SMPL bodies have {VERTICES}")
    return Body(arrays)
