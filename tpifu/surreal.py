"""SURREAL-shaped trees: `cmu/{train,test}/run*/SEQUENCE/SEQUENCE_c0001_info.mat` and SMPL-format
bodies in `smpl/`.

SURREAL's own conventions stay inside this module: poses are stored z-up with the yaw `zrot` apart,
joints in a y-down world, gender 0 female and 1 male, singleton axes dropped by MATLAB. Everything
that leaves it is y-up, metres, SMPL's frame: `R_root = Rx(-90) Rz(zrot) R(pose[:3])`.
"""

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu import shards
from tpifu.body import Body, load_body
from tpifu.config import Data
from tpifu.errors import DataError
from tpifu.mesh import Mesh
from tpifu.parallel import parallel_map

GENDERS = ("female", "male")
REST_HEIGHT = 1.8
"""Metres: every clip is scaled by one factor that brings its subject's rest pose to this height."""
MAX_BETA = 5.0
"""Shape coefficients beyond this are SURREAL's "monster shapes" (its README)."""

_Z_UP_TO_Y_UP = Rotation.from_euler("x", -90, degrees=True)
_Y_DOWN = np.array([1.0, -1.0, -1.0])
# 3x4 intrinsics of SURREAL's 320x240 camera.
_FOCAL, _CENTRE = 600.0, (160.0, 120.0)


@dataclass(frozen=True)
class Clip:
    """One clip of motion, y-up."""

    sequence: str
    number: int
    gender: str
    betas: Float[np.ndarray, "10"]
    pose: Float[np.ndarray, "t 72"]
    """Axis-angle, SMPL joint order, root orientation included."""
    joints: Float[np.ndarray, "t 24 3"]
    """Metres, in the world, translation included."""


def clip_path(tree: Path, split: str, run: str, sequence: str, number: int) -> Path:
    return tree / "cmu" / split / run / sequence / f"{sequence}_c{number:04d}_info.mat"


def clip_name(path: Path) -> str:
    """'run0/03_walk_c0001': unique within a split."""
    return f"{path.parent.parent.name}/{path.name.removesuffix('_info.mat')}"


def write_clip(path: Path, clip: Clip, *, zrot: float, camera_distance: float) -> None:
    """Write `clip` as SURREAL stores it: every field of a real `*_info.mat`. `zrot` in radians,
    distance in metres."""
    frames = len(clip.pose)
    stored = clip.pose.astype(np.float64)
    spin = Rotation.from_euler("z", zrot)
    stored[:, :3] = (
        spin.inv() * _Z_UP_TO_Y_UP.inv() * Rotation.from_rotvec(stored[:, :3])
    ).as_rotvec()
    joints = clip.joints * _Y_DOWN
    location = joints[0, 0] + [camera_distance, 0.0, 0.0]
    # RT of SURREAL's camera: it looks along -x; its determinant is -1, so its images are mirrored.
    mirrored = np.array([[0, 0, -1], [0, 1, 0], [-1, 0, 0]], dtype=float)
    seen = (joints - location) @ mirrored.T
    pixels = np.round(_FOCAL * seen[..., :2] / seen[..., 2:] + _CENTRE)
    text = np.full((1, frames), "plain", dtype=object)
    fields: dict[str, Any] = {
        "pose": stored.T.astype(np.float32),
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
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        scipy.io.savemat(file, fields)
    # MATLAB stamps the date into the first 116 bytes; SURREAL-shaped files must be byte-equal when
    # written twice.
    with part.open("r+b") as file:
        file.write(b"MATLAB 5.0 MAT-file, Platform: posix".ljust(116))
    os.replace(part, path)


def read_clip(path: Path) -> Clip:
    """Read one `*_info.mat`. Raises DataError, naming the file and the fault, for anything
    unusable."""
    try:
        fields = scipy.io.loadmat(
            path, variable_names=["pose", "shape", "gender", "zrot", "joints3D"]
        )
        pose = np.asarray(fields["pose"], np.float64).reshape(72, -1).T
        frames = len(pose)
        betas = np.asarray(fields["shape"], np.float64).reshape(-1, frames)[:10, 0]
        gender = int(np.ravel(fields["gender"])[0])
        zrot = np.broadcast_to(np.ravel(fields["zrot"]).astype(np.float64), frames)
        # MATLAB drops the last axis of a clip of one frame.
        joints = (
            np.asarray(fields["joints3D"], np.float64).reshape(3, 24, frames).transpose(2, 1, 0)
        )
    except Exception as error:  # scipy's reader raises many kinds for truncated or foreign files
        raise DataError(f"{path}: not a readable SURREAL clip ({_first_line(error)})") from error
    if gender not in (0, 1):
        raise DataError(f"{path}: gender is {gender}, expected 0 (female) or 1 (male)")
    if not (np.isfinite(pose).all() and np.isfinite(betas).all() and np.isfinite(joints).all()):
        raise DataError(f"{path}: holds values that are not finite")
    if not joints.any():
        raise DataError(f"{path}: all joints are zero")
    if np.abs(betas).max() > MAX_BETA:
        raise DataError(f"{path}: shape coefficient beyond {MAX_BETA:g}")
    root = _Z_UP_TO_Y_UP * Rotation.from_euler("z", zrot[:, None])
    pose[:, :3] = (root * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
    stem = path.name.removesuffix("_info.mat")
    return Clip(
        sequence=path.parent.name,
        number=int(stem.rsplit("_c", 1)[1]),
        gender=GENDERS[gender],
        betas=betas.astype(np.float32),
        pose=pose.astype(np.float32),
        joints=(joints * _Y_DOWN).astype(np.float32),
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True)
class Choice:
    """The clips that make up the splits."""

    clips: list[tuple[str, Path, int]]
    """(split, file, number of kept frames), sorted."""
    skipped: list[str]
    """One line for each clip that could not be used."""


def choose_clips(tree: Path, data: Data, seed: int) -> Choice:
    """Whole clips in a seeded order until each split has its number of meshes; the last clip is cut
    to fit.

    A sequence that matches `data.unseen` is never trained on; those of the test subjects make
    `unseen_motion`. Raises DataError if the tree is missing or too small, if too many clips are
    unreadable, or if one sequence occurs in two splits.
    """
    wanted = {
        "train": data.train_meshes,
        "test": data.test_meshes,
        "unseen_motion": data.unseen_meshes,
    }
    found = {
        split: sorted((tree / "cmu" / split).glob("run*/*/*_info.mat"))
        for split in ("train", "test")
    }
    for split, paths in found.items():
        if not paths:
            raise DataError(
                f"{tree}/cmu/{split}: no *_info.mat there; run the download stage first"
            )
    if both := {p.parent.name for p in found["train"]} & {p.parent.name for p in found["test"]}:
        raise DataError(
            f"{tree}: sequence {min(both)} is in train and in test; a split is by subject"
        )

    def unseen(path: Path) -> bool:
        return any(fnmatch.fnmatchcase(path.parent.name, pattern) for pattern in data.unseen)

    candidates = {
        "train": [path for path in found["train"] if not unseen(path)],
        "test": [path for path in found["test"] if not unseen(path)],
        "unseen_motion": [path for path in found["test"] if unseen(path)],
    }
    clips: list[tuple[str, Path, int]] = []
    skipped: list[str] = []
    for number, split in enumerate(shards.SPLITS):
        paths = candidates[split]
        remaining = wanted[split]
        for index in np.random.default_rng([seed, number]).permutation(len(paths)):
            if remaining <= 0:
                break
            try:
                frames = len(read_clip(paths[index]).pose)
            except DataError as error:
                skipped.append(str(error))
                continue
            kept = min(-(-frames // data.frame_step), remaining)
            clips.append((split, paths[index], kept))
            remaining -= kept
        if remaining > 0:
            raise DataError(
                f"{tree}: {split} has {wanted[split] - remaining} of {wanted[split]} meshes; "
                f"lower the number in params.yaml (data) or raise data.synthetic subjects"
            )
    share = len(skipped) / (len(skipped) + len(clips))
    if share > data.max_skipped:
        raise DataError(
            f"{tree}: {len(skipped)} clips unusable ({share:.0%}, data.max_skipped is "
            f"{data.max_skipped:.0%}); the first: {skipped[0]}"
        )
    order = {split: number for number, split in enumerate(shards.SPLITS)}
    return Choice(sorted(clips, key=lambda c: (order[c[0]], clip_name(c[1]))), skipped)


def export_meshes(tree: Path, out: Path, data: Data, seed: int, *, jobs: int) -> Choice:
    """SMPL meshes of every `data.frame_step`-th frame of the chosen clips, pelvis-centred, one
    scale a clip."""
    choice = choose_clips(tree, data, seed)
    bodies = {gender: tree / "smpl" / f"{gender}.npz" for gender in GENDERS}
    clips = parallel_map(
        partial(_pose_clip, bodies=bodies, step=data.frame_step),
        choice.clips,
        jobs=jobs,
        label="meshes",
    )
    metadata = {
        "source": data.source,
        "units": "metres, y up, facing +z, pelvis at the origin",
        "rest_height": REST_HEIGHT,
        "frame_step": data.frame_step,
        "skipped_clips": len(choice.skipped),
    }
    shards.write_meshes(out, clips, metadata)
    return choice


def _pose_clip(
    chosen: tuple[str, Path, int], *, bodies: dict[str, Path], step: int
) -> list[shards.MeshFrame]:
    split, path, kept = chosen
    clip = read_clip(path)
    body = load_body(bodies[clip.gender], clip.gender)
    source_frames = np.arange(len(clip.pose))[::step][:kept]
    meshes = centred_meshes(body, clip.pose[source_frames], clip.betas)
    return [
        shards.MeshFrame(
            split=split,
            sequence=clip.sequence,
            clip=clip_name(path),
            frame=frame,
            source_frame=int(source_frame),
            gender=clip.gender,
            mesh=mesh,
        )
        for frame, (source_frame, mesh) in enumerate(zip(source_frames, meshes, strict=True))
    ]


def centred_meshes(
    body: Body, pose: Float[np.ndarray, "t 72"], betas: Float[np.ndarray, "10"]
) -> Iterator[Mesh]:
    """Posed meshes with the pelvis at the origin, scaled so that the subject's rest pose is 1.8 m
    high.

    Never scaled by the posed mesh: a crouching person keeps their size, and neighbouring frames
    share one camera.
    """
    rest, _ = body.rest(betas)
    scale = REST_HEIGHT / np.ptp(rest[:, 1])
    vertices, joints = body.pose(pose, betas)
    for posed, pelvis in zip(vertices, joints[:, 0], strict=True):
        yield Mesh(((posed - pelvis) * scale).astype(np.float32), body.faces)
