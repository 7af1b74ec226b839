"""SURREAL-shaped trees: `cmu/{train,test}/run*/SEQUENCE/SEQUENCE_c0001_info.mat` and SMPL-format
bodies in `smpl/`.

SURREAL's own conventions stay inside this module: poses are stored z-up with the yaw `zrot` apart,
joints in a y-down world, gender 0 female and 1 male, singleton axes dropped by MATLAB. Everything
that leaves it is y-up, metres, SMPL's frame: `R_root = Rx(-90) Rz(zrot) R(pose[:3])`.
"""

import csv
import fnmatch
import hashlib
import io
import json
import math
import os
import re
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.io
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu import shards
from tpifu.body import GENDERS, Body, load_body
from tpifu.build import build
from tpifu.config import Data
from tpifu.errors import DataError
from tpifu.mesh import Mesh

# SURREAL's code of a gender is its index in GENDERS: 0 female, 1 male.
REST_HEIGHT = 1.8
"""Metres: every clip is scaled by one factor that brings its subject's rest pose to this height."""
MAX_BETA = 5.0
"""Shape coefficients beyond this are SURREAL's "monster shapes" (its README)."""
VALIDATION_SUBJECTS = 2
"""So many people share the validation meshes: fifty are four clips, of one person too few to tell a
better network from one that fits that person."""
SOURCE_NAME = "source.json"
"""What a tree was made from, under which terms."""
SKIPPED_NAME = "skipped.csv"

# A split's place seeds its draw.
_STREAMS = ("train", "test", "unseen_motion", "validation")
_Z_UP_TO_Y_UP = Rotation.from_euler("x", -90, degrees=True)
_Y_DOWN = np.array([1.0, -1.0, -1.0])
_FIELDS = ["pose", "shape", "gender", "zrot", "joints3D"]
_NAME = re.compile(r".*_c(?P<number>[0-9]{1,6})_info\.mat")
# A real clip has at most 100 frames in 60 kB, joints within metres, angles of a few turns.
_MAX_BYTES, _MAX_UNPACKED, _MAX_FRAMES, _LARGEST = 2**24, 2**26, 100_000, 1e4
_NUMBERS = {"single", "double", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64))}
_COMPRESSED = 15  # miCOMPRESSED
# 3x4 intrinsics of SURREAL's 320x240 camera.
_FOCAL, _CENTRE = 600.0, (160.0, 120.0)

Item = TypeVar("Item")


class UnusableClip(DataError):
    """A clip that is skipped; `reason` is the kind of fault, in one or two words."""

    def __init__(self, path: Path, reason: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path, self.reason, self.detail = path, reason, detail


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


def check_readable(path: Path) -> None:
    """Raise UnusableClip if a file is not a whole MAT file with the fields of a clip; what the
    fields hold may still be unusable."""
    _read_fields(path)


def _read_fields(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UnusableClip(path, "unreadable", f"more than {_MAX_BYTES:,} bytes, no clip")
        content = path.read_bytes()
    except OSError as error:
        raise UnusableClip(path, "unreadable", f"cannot be read ({error.strerror})") from error
    return _fields(content, path)


def read_clip(path: Path) -> Clip:
    """Read one `*_info.mat`. Raises UnusableClip, naming the file and the fault, for anything
    else."""
    fields = _read_fields(path)
    pose = fields["pose"].reshape(72, -1).T.copy()
    frames = len(pose)
    if not 0 < frames <= _MAX_FRAMES:
        raise UnusableClip(path, "no clip", f"{frames} frames")
    try:
        # MATLAB drops the last axis of a clip of one frame.
        betas = fields["shape"].reshape(-1, frames)[:10]
        joints = fields["joints3D"].reshape(3, 24, frames).transpose(2, 1, 0)
        zrot = np.broadcast_to(fields["zrot"].ravel(), frames)
        genders = np.broadcast_to(fields["gender"].ravel(), frames)
    except ValueError as error:
        detail = f"its fields disagree about the number of frames ({error})"
        raise UnusableClip(path, "no clip", detail) from error
    if len(betas) < 10:
        raise UnusableClip(path, "no clip", f"{len(betas)} shape coefficients, expected 10")
    for name, values in (("pose", pose), ("shape", betas), ("joints3D", joints), ("zrot", zrot)):
        if not np.isfinite(values).all() or np.abs(values).max() > _LARGEST:
            detail = f"{name} holds values that are not finite, or beyond belief"
            raise UnusableClip(path, "not finite", detail)
    # A number a frame, though one person moves: 0 female, 1 male.
    if len(found := sorted(set(genders.tolist()))) > 1 or found[0] not in (0, 1):
        detail = f"gender is {', '.join(f'{code:g}' for code in found)}, expected 0 (female) or 1"
        raise UnusableClip(path, "gender", detail)
    if not joints.any(axis=(1, 2)).all():
        raise UnusableClip(path, "zero joints", "all joints of a frame are zero")
    if np.abs(betas).max() > MAX_BETA:
        detail = f"a shape coefficient beyond {MAX_BETA:g}"
        raise UnusableClip(path, "monster shape", detail)
    if (match := _NAME.fullmatch(path.name)) is None:
        raise UnusableClip(path, "no clip", "its name does not end in _c0001_info.mat or the like")
    root = _Z_UP_TO_Y_UP * Rotation.from_euler("z", zrot[:, None])
    pose[:, :3] = (root * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
    return Clip(
        sequence=path.parent.name,
        number=int(match["number"]),
        gender=GENDERS[int(genders[0])],
        betas=betas[:, 0].astype(np.float32),
        pose=pose.astype(np.float32),
        joints=(joints * _Y_DOWN).astype(np.float32),
    )


def _fields(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """The fields of a clip as double-precision arrays, from a MAT file's bytes."""
    try:
        plain = io.BytesIO(_unpacked(content))
        with warnings.catch_warnings(action="ignore"):  # of a file that is then refused
            # From the headers alone: nothing is made that a file only claims to hold.
            held = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(plain)}
            usable = {
                name
                for name, (shape, kind) in held.items()
                if kind in _NUMBERS and 0 < math.prod(shape) <= 72 * _MAX_FRAMES
            }
            plain.seek(0)
            wanted = [name for name in _FIELDS if name in usable]
            stored = scipy.io.loadmat(plain, variable_names=wanted) if wanted else {}
    except Exception as error:  # scipy's reader raises many kinds for truncated or foreign files
        fault = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnusableClip(
            path, "unreadable", f"not a readable SURREAL clip ({fault[:200]})"
        ) from error
    if missing := [name for name in _FIELDS if name not in held]:
        raise UnusableClip(path, "missing field", f"lacks {', '.join(missing)}")
    for name in _FIELDS:
        shape, kind = held[name]
        if (
            name not in usable
            or stored[name].dtype.kind not in "fiu"
            or (name == "pose" and stored[name].size % 72)
        ):
            raise UnusableClip(path, "no clip", f"{name} is {kind} of shape {shape}, no clip's")
    with np.errstate(invalid="ignore"):  # numbers that are none stay so, and are refused
        return {name: stored[name].astype(np.float64) for name in _FIELDS}


def _unpacked(content: bytes) -> bytes:
    """The same MAT file, version 5, without compression. Raises ValueError or zlib.error for what
    is none, or grows beyond belief."""
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("no MAT file of version 5")
    parts, room, at = [content[:128]], _MAX_UNPACKED, 128
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        element = content[at : at + 8 + size]
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            element = inflater.decompress(element[8:], room)
            if inflater.unconsumed_tail:
                raise ValueError(f"unpacks to more than {_MAX_UNPACKED:,} bytes")
            if not inflater.eof:
                raise ValueError("was cut")
        _check_sizes(element, order)
        parts.append(element)
        room -= min(room - 1, len(element))
        at += 8 + size
    return b"".join(parts)


def _check_sizes(matrix: bytes, order: str) -> None:
    """Raise ValueError if a part of a matrix claims to be larger than the matrix: scipy would
    first make room for it."""
    at = 8
    while at + 8 <= len(matrix):
        kind, size = struct.unpack_from(f"{order}II", matrix, at)
        if kind >> 16:  # the short form: up to four bytes, in the tag itself
            at += 8
            continue
        if size > len(matrix) - at - 8:
            raise ValueError("a part is larger than the whole")
        at += 8 + -(-size // 8) * 8


@dataclass(frozen=True)
class Choice:
    """The clips that make up the splits."""

    clips: list[tuple[str, Path, int]]
    """(split, file, number of kept frames), sorted."""
    skipped: list[UnusableClip]
    """Clips that could not be used."""


@dataclass(frozen=True)
class _Taken:
    """A split's clips with the number of frames kept, and the unusable ones among them."""

    clips: list[tuple[Path, int]]
    skipped: list[UnusableClip]

    @property
    def meshes(self) -> int:
        return sum(kept for _, kept in self.clips)


def matches(sequence: str, patterns: Sequence[str]) -> bool:
    """Whether a shell pattern matches the sequence's name."""
    return any(fnmatch.fnmatchcase(sequence, pattern) for pattern in patterns)


def subject_of(sequence: str) -> str:
    """Whose motion a sequence is: `01` of `01_01` and of `01_walk`; `104` of `ung_104_46`, as some
    of CMU's takes are called in SURREAL."""
    return sequence.removeprefix("ung_").partition("_")[0]


def wanted_meshes(data: Data) -> dict[str, int]:
    """How many meshes each split is to have."""
    return {
        "train": data.train_meshes,
        "validation": data.validation_meshes,
        "test": data.test_meshes,
        "unseen_motion": data.unseen_meshes,
    }


def shuffled(clips: Sequence[Item], split: str, seed: int) -> list[Item]:
    """In the order in which `split` takes them, whatever the other splits take."""
    rng = np.random.default_rng([seed, _STREAMS.index(split)])
    return [clips[index] for index in rng.permutation(len(clips))]


def validation_queue(
    clips: Sequence[Item], sequences: Sequence[str], seed: int
) -> list[list[Item]]:
    """The clips of each subject, in a seeded order, subjects too: who comes first is validated on.

    A subject's place depends on its name alone, so the download, which sees clips that the tree
    lacks, takes the same ones.
    """
    by_subject: dict[str, list[Item]] = {}
    for clip, sequence in zip(clips, sequences, strict=True):
        by_subject.setdefault(subject_of(sequence), []).append(clip)
    queue = []
    for subject, own in by_subject.items():
        code = zlib.crc32(subject.encode())
        rng = np.random.default_rng([seed, _STREAMS.index("validation"), code])
        queue.append((rng.random(), [own[index] for index in rng.permutation(len(own))]))
    return [own for _, own in sorted(queue, key=lambda entry: entry[0])]


def by_turns(lists: Sequence[Sequence[Item]]) -> list[Item]:
    """The first of each, then the second of each, ..."""
    turns = zip_longest(*([(item,) for item in own] for own in lists), fillvalue=())
    return [item for turn in turns for entry in turn for item in entry]


def choose_clips(tree: Path, data: Data, seed: int) -> Choice:
    """Whole clips in a seeded order until each split has its number of meshes; the last clip is cut
    to fit.

    `validation` has subjects of the train half to itself. A sequence that matches `data.unseen` is
    in neither of the two; those of the test subjects make `unseen_motion`, which has as many meshes
    as there are, at most its number. Raises DataError if the tree is missing or too small, if too
    many clips are unusable, or if one sequence occurs in both halves.
    """
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
    candidates: dict[str, list[Path]] = {"train": [], "test": [], "unseen_motion": []}
    for split, paths in found.items():
        for path in paths:
            if not matches(path.parent.name, data.unseen):
                candidates[split].append(path)
            elif split == "test":
                candidates["unseen_motion"].append(path)
    wanted = wanted_meshes(data)
    train, validation = _train_and_validation(candidates["train"], data, seed)
    taken = {"train": train, "validation": validation}
    for split in ("test", "unseen_motion"):
        order = shuffled(candidates[split], split, seed)
        taken[split] = _take(order, wanted[split], data.frame_step)
    skipped = [clip for own in taken.values() for clip in own.skipped]
    for split, own in taken.items():
        if own.meshes < wanted[split] and split != "unseen_motion":
            raise DataError(
                f"{tree}: {split} has {own.meshes} of {wanted[split]} meshes{_why(skipped)}; "
                f"lower data.{split}_meshes in params.yaml, or have the source give more "
                f"(data.{data.source})"
            )
    clips = [(split, path, kept) for split, own in taken.items() for path, kept in own.clips]
    share = len(skipped) / (len(skipped) + len(clips))
    if share > data.max_skipped:
        raise DataError(
            f"{tree}: {len(skipped)} clips unusable ({share:.0%}, data.max_skipped is "
            f"{data.max_skipped:.0%}); the first: {skipped[0]}"
        )
    place = {split: number for number, split in enumerate(shards.SPLITS)}
    return Choice(sorted(clips, key=lambda c: (place[c[0]], clip_name(c[1]))), skipped)


def _train_and_validation(paths: list[Path], data: Data, seed: int) -> tuple[_Taken, _Taken]:
    """Clips of VALIDATION_SUBJECTS subjects by turns, or of more if those have too few meshes, and
    train's, of all others. A subject without whom train would be too small stays in train."""

    # Not SURREAL's own validation clips, which are test clips as well.
    def take_train(without: list[list[Path]]) -> _Taken:
        lacking = {path for own in without for path in own}
        order = shuffled([path for path in paths if path not in lacking], "train", seed)
        return _take(order, data.train_meshes, data.frame_step)

    train, validation = take_train([]), _Taken([], [])
    held_out: list[list[Path]] = []
    for own in validation_queue(paths, [path.parent.name for path in paths], seed):
        enough = min(VALIDATION_SUBJECTS, len(validation.clips))
        if validation.meshes == data.validation_meshes and len(held_out) >= enough:
            break
        rest = take_train([*held_out, own])
        if rest.meshes < data.train_meshes:
            continue
        held_out.append(own)
        train = rest
        validation = _take(by_turns(held_out), data.validation_meshes, data.frame_step)
    return train, validation


def _take(order: Sequence[Path], meshes: int, step: int) -> _Taken:
    taken = _Taken([], [])
    for path in order:
        if taken.meshes == meshes:
            break
        try:
            frames = len(read_clip(path).pose)
        except UnusableClip as unusable:
            taken.skipped.append(unusable)
            continue
        taken.clips.append((path, min(-(-frames // step), meshes - taken.meshes)))
    return taken


def _why(skipped: list[UnusableClip]) -> str:
    return f" ({len(skipped)} clips unusable, the first: {skipped[0]})" if skipped else ""


def export_meshes(tree: Path, out: Path, data: Data, seed: int, *, jobs: int) -> Choice:
    """SMPL meshes of every `data.frame_step`-th frame of the chosen clips, pelvis-centred, one
    scale a clip.

    Beside the shards, skipped.csv lists the clips that could not be used; what the tree says of its
    source goes into the shards' metadata.
    """
    choice = choose_clips(tree, data, seed)
    bodies = {gender: (tree / "smpl" / f"{gender}.npz").absolute() for gender in GENDERS}
    topologies = shards.Topologies()
    numbers = {}
    for gender in GENDERS:
        body = load_body(bodies[gender], gender)
        numbers[gender] = topologies.number(body.faces, body.joints_of_vertices)
    clips = [(split, path.absolute(), kept) for split, path, kept in choice.clips]
    metadata = {
        "provenance": read_source(tree),
        "units": "metres, y up, facing +z, pelvis at the origin",
        "rest_height": REST_HEIGHT,
        "frame_step": data.frame_step,
        "seed": seed,
        "skipped_clips": dict(sorted(Counter(clip.reason for clip in choice.skipped).items())),
    }
    inputs = {
        "clips": [(split, str(path), kept, _digest(path)) for split, path, kept in clips],
        "bodies": [_digest(path) for path in bodies.values()],
    }

    def beside(folder: Path) -> None:
        topologies.write(folder)
        (folder / SKIPPED_NAME).write_text(_skipped_table(tree, choice.skipped))

    task = partial(_pose_clip, bodies=bodies, topologies=numbers, step=data.frame_step)
    build(out, "meshes", task, clips, metadata, inputs, jobs=jobs, label="meshes", beside=beside)
    return choice


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_source(tree: Path) -> dict[str, Any]:
    """What the tree says it was made from. Raises DataError if it does not."""
    path = tree / SOURCE_NAME
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: missing or not JSON; run the download stage anew") from error


def _skipped_table(tree: Path, skipped: list[UnusableClip]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["clip", "reason", "detail"])
    for clip in sorted(skipped, key=lambda clip: clip.path):
        rows.writerow([clip.path.relative_to(tree).as_posix(), clip.reason, clip.detail])
    return text.getvalue()


def _pose_clip(
    chosen: tuple[str, Path, int],
    *,
    bodies: dict[str, Path],
    topologies: dict[str, int],
    step: int,
) -> list[shards.Group]:
    split, path, kept = chosen
    clip = read_clip(path)
    body = load_body(bodies[clip.gender], clip.gender)
    source_frames = np.arange(len(clip.pose))[::step][:kept]
    meshes = centred_meshes(body, clip.pose[source_frames], clip.betas)
    frames = [
        shards.MeshFrame(
            split=split,
            sequence=clip.sequence,
            clip=clip_name(path),
            frame=frame,
            source_frame=int(source_frame),
            gender=clip.gender,
            mesh=mesh,
            joints=body.joints_of_vertices,
        )
        for frame, (source_frame, mesh) in enumerate(zip(source_frames, meshes, strict=True))
    ]
    return [[shards.mesh_row(frame, topologies[clip.gender]) for frame in frames]]


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
