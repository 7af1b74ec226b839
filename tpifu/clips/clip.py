"""Clips of motion in SURREAL's layout: `cmu/{train,test}/run*/SEQUENCE/SEQUENCE_c0001_info.mat`.

SURREAL's conventions stay inside this module. Poses are stored z-up with a separate yaw `zrot`,
joints in a y-down world, gender as 0 (female) or 1 (male); MATLAB drops trailing axes of size 1. A
`Clip` is y-up, in metres and SMPL's frame: `R_root = Rx(-90) Rz(zrot) R(pose[:3])`.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import GENDERS
from tpifu.clips.matfile import LARGEST, UnusableClip, read_fields
from tpifu.clips.rounding import rounded
from tpifu.errors import DataError
from tpifu.files import whole_file

MAX_BETA = 5.0
"""Larger shape coefficients are SURREAL's "monster shapes" (its README)."""
SOURCE_NAME = "source.json"
"""File with the source of a tree and the terms of its licence."""

_Z_UP_TO_Y_UP = Rotation.from_euler("x", -90, degrees=True)
_Y_DOWN = np.array([1.0, -1.0, -1.0])
_NAME = re.compile(r".*_c(?P<number>[0-9]{1,6})_info\.mat")

_FOCAL, _CENTRE = 600.0, (160.0, 120.0)
"""Intrinsics of SURREAL's 320x240 camera, pixels."""


@dataclass(frozen=True)
class Clip:
    """One clip of motion, y-up."""

    sequence: str
    number: int
    gender: str
    betas: Float[np.ndarray, "10"]
    pose: Float[np.ndarray, "t 72"]
    """Axis-angle in SMPL's joint order, including the root orientation."""
    joints: Float[np.ndarray, "t 24 3"]
    """World coordinates, metres, including the translation."""


def clip_path(tree: Path, split: str, run: str, sequence: str, number: int) -> Path:
    return tree / "cmu" / split / run / sequence / f"{sequence}_c{number:04d}_info.mat"


def clip_name(path: Path) -> str:
    """'run0/03_walk_c0001', which is unique within a split."""
    return f"{path.parent.parent.name}/{path.name.removesuffix('_info.mat')}"


def write_clip(path: Path, clip: Clip, *, zrot: float, camera_distance: float) -> None:
    """Write a clip with all fields of SURREAL's `*_info.mat`. `zrot` is in radians, the distance in
    metres. Angles and joints are rounded. Equal clips give equal bytes."""
    frames = len(clip.pose)
    stored = clip.pose.astype(np.float64)
    spin = Rotation.from_euler("z", zrot)
    stored[:, :3] = (
        spin.inv() * _Z_UP_TO_Y_UP.inv() * Rotation.from_rotvec(stored[:, :3])
    ).as_rotvec()
    joints = rounded(clip.joints * _Y_DOWN)
    location = joints[0, 0] + [camera_distance, 0.0, 0.0]
    # SURREAL's camera looks along -x. Its rotation has determinant -1: images are mirrored.
    mirrored = np.array([[0, 0, -1], [0, 1, 0], [-1, 0, 0]], dtype=float)
    seen = (joints - location) @ mirrored.T
    pixels = np.round(_FOCAL * seen[..., :2] / seen[..., 2:] + _CENTRE)
    text = np.full((1, frames), "plain", dtype=object)
    fields: dict[str, Any] = {
        "pose": rounded(stored).T.astype(np.float32),
        "shape": np.repeat(clip.betas[:, None], frames, axis=1).astype(np.float32),
        "gender": np.full((frames, 1), GENDERS.index(clip.gender), np.uint8),
        "zrot": np.full((frames, 1), zrot, np.float32),
        "joints3D": joints.transpose(2, 1, 0).astype(np.float32),
        "joints2D": pixels.transpose(2, 1, 0).astype(np.float32),
        "camLoc": location[:, None].astype(np.float32),
        "camDist": np.float32(camera_distance),
        "clipNo": np.uint8(clip.number),
        "sequence": f"{clip.sequence}_c{clip.number:04d}",
        "source": "cmu",
        "stride": np.uint8(50),
        "light": np.zeros((9, 100), np.float32),
        "bg": text,
        "cloth": text,
    }
    with whole_file(path) as part, part.open("wb") as file:
        scipy.io.savemat(file, fields)
        # scipy writes the date into the first 116 bytes, as MATLAB does.
        file.seek(0)
        file.write(b"MATLAB 5.0 MAT-file, Platform: posix".ljust(116))


def read_clip(path: Path) -> Clip:
    """Read one `*_info.mat`. Angles are rounded, because rotating the root is not exact. Raises
    UnusableClip with the name of the file and the reason."""
    fields = read_fields(path)
    try:
        pose = fields["pose"].reshape(72, -1).T.copy()
        frames = len(pose)
        # MATLAB drops the last axis of a clip of one frame.
        betas = fields["shape"].reshape(-1, frames)[:10]
        joints = fields["joints3D"].reshape(3, 24, frames).transpose(2, 1, 0)
        zrot = np.broadcast_to(fields["zrot"].ravel(), frames)
        genders = np.broadcast_to(fields["gender"].ravel(), frames)
    except ValueError as error:
        detail = f"its fields have different numbers of frames ({error})"
        raise UnusableClip(path, "not a clip", detail) from error
    if len(betas) < 10:
        raise UnusableClip(path, "not a clip", f"{len(betas)} shape coefficients, expected 10")
    for name, values in (("pose", pose), ("shape", betas), ("joints3D", joints), ("zrot", zrot)):
        if not np.isfinite(values).all() or np.abs(values).max() > LARGEST:
            detail = f"{name} contains values that are not finite or beyond {LARGEST:g}"
            raise UnusableClip(path, "not finite", detail)
    # There is one code per frame, although a clip shows one person.
    if len(found := sorted(set(genders.tolist()))) > 1 or found[0] not in (0, 1):
        detail = f"gender is {', '.join(f'{code:g}' for code in found)}, expected 0 (female) or 1"
        raise UnusableClip(path, "gender", detail)
    if not joints.any(axis=(1, 2)).all():
        raise UnusableClip(path, "zero joints", "all joints of a frame are zero")
    if np.abs(betas).max() > MAX_BETA:
        detail = f"a shape coefficient beyond {MAX_BETA:g}"
        raise UnusableClip(path, "monster shape", detail)
    if (match := _NAME.fullmatch(path.name)) is None:
        raise UnusableClip(path, "not a clip", "its name does not end in _cNUMBER_info.mat")
    root = _Z_UP_TO_Y_UP * Rotation.from_euler("z", zrot[:, None])
    pose[:, :3] = (root * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
    return Clip(
        sequence=path.parent.name,
        number=int(match["number"]),
        gender=GENDERS[int(genders[0])],
        betas=betas[:, 0].astype(np.float32),
        pose=rounded(pose),
        joints=joints * _Y_DOWN,
    )


def read_source(tree: Path) -> dict[str, Any]:
    """The contents of SOURCE_NAME. Raises DataError if the file is missing or incomplete."""
    path = tree / SOURCE_NAME
    try:
        source = json.loads(path.read_text())
        texts = [source[name] for name in ("source", "licence", "citation")]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        texts = [None]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{path}: missing, or not JSON with source, licence and citation as strings; write it, "
            "or run the download stage again"
        )
    return source
