"""CMU motion capture (ASF skeleton, AMC motion; mocap.cs.cmu.edu) -> a SURREAL-shaped tree.

A CMU bone has a direction in the rest pose, where all angles are 0, and an orientation
`M = M_parent C R C^-1`: C is its `axis`, R its angles in the AMC file, both "XYZ", which is
Rz Ry Rx. The rest pose is a T-pose with straddled legs, y up, facing +z, left = +x: SMPL's frame.

SMPL's joint j, whose bone of the body's own rest pose is s_j, takes the orientation

    G_j = M_b A_j,    A_j s_j = d_b,    A_j h_j = c_b,    pose_j = G_parent^-1 G_j

with b the CMU bone of the same limb, d_b its direction, c_b and h_j the axes about which the limb's
hinge (knee, elbow, wrist, ankle) bends in the two rest poses. So every limb points where the
actor's does, whatever the two rest poses are, and bends in its own plane. In trunk and collar,
where both rest poses are the same upright stance, A = 1. Two orientations are the ones halfway: the
neck's between CMU's two necks, the forearm's between radius and wrist.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu import surreal
from tpifu.body import GENDERS, embedded_body, write_embedded
from tpifu.errors import DataError
from tpifu.motion import JOINTS
from tpifu.parallel import parallel_map
from tpifu.shards import whole_folder

ACKNOWLEDGEMENT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
"""What CMU asks to be said wherever results are shown."""
FRAME_STEP = 4
"""CMU's 120 frames a second become 30, as in SURREAL."""
CLIP_FRAMES = (10, 100)
"""Shortest and longest clip; SURREAL's have at most 100 frames."""

# CMU's skeletons have 7 KB; its longest takes, two minutes, some 10 MB.
_ASF_BYTES, _AMC_BYTES, _LINE_LENGTH = 2**16, 2**26, 500
# The largest number that is believed: ten turns; as a position some 200 m.
_LARGEST = 3600.0


class Take(NamedTuple):
    split: Literal["train", "test"]
    subject: int
    trial: int
    motion: str
    """What it is, in the words of CMU's index."""

    @property
    def sequence(self) -> str:
        return f"{self.subject:02d}_{self.trial:02d}"

    @property
    def skeleton_file(self) -> str:
        return f"{self.subject:02d}/{self.subject:02d}.asf"

    @property
    def motion_file(self) -> str:
        return f"{self.subject:02d}/{self.sequence}.amc"


TAKES = (
    Take("train", 2, 1, "walk"),
    Take("train", 2, 3, "run/jog"),
    Take("train", 2, 4, "jump, balance"),
    Take("train", 5, 2, "dance - expressive arms, pirouette"),
    Take("train", 5, 6, "dance - cartwheel-like start, pirouettes, jete"),
    Take("train", 5, 17, "dance - coupe dessous, grand jete en tourant"),
    Take("train", 7, 1, "walk"),
    Take("train", 7, 12, "brisk walk"),
    Take("train", 9, 1, "run"),
    Take("train", 9, 12, "navigate - walk forward, backward, sideways"),
    Take("train", 13, 11, "forward jump"),
    Take("train", 13, 29, "jumping jacks, side twists, bend over, squats"),
    Take("train", 14, 6, "jumping jacks, jog, squats, side twists, stretches"),
    Take("train", 16, 1, "jump"),
    Take("train", 16, 8, "run/jog, sudden stop"),
    Take("train", 16, 11, "walk, veer left"),
    Take("train", 16, 35, "run/jog"),
    Take("train", 49, 2, "jump up and down, hop on one foot"),
    Take("train", 49, 4, "run, leap"),
    Take("train", 49, 6, "cartwheel"),
    Take("train", 49, 10, "dance - fold in from side arabesque, curl inwards"),
    Take("train", 118, 1, "jump"),
    Take("test", 8, 1, "walk"),
    Take("test", 8, 7, "walk, exaggerated stride"),
    Take("test", 10, 1, "soccer - kick ball"),
    Take("test", 35, 1, "walk"),
    Take("test", 35, 17, "run/jog"),
    Take("test", 141, 6, "jump twist"),
    Take("test", 141, 12, "dance, twist"),
    Take("test", 144, 1, "cartwheels"),
    Take("test", 144, 5, "front kicking"),
    Take("test", 144, 11, "left lunges"),
)
"""A short choice, since CMU asks not to crawl; split by subject, as SURREAL is. Without subject 89,
whose takes have 60 frames a second and do not say so."""


def urls(base: str = "http://mocap.cs.cmu.edu", takes: Sequence[Take] = TAKES) -> dict[str, str]:
    """Every file of `takes`, as its path in the folder that `write_tree` reads -> where it is."""
    files = {file for take in takes for file in (take.skeleton_file, take.motion_file)}
    return {file: f"{base}/subjects/{file}" for file in sorted(files)}


@dataclass(frozen=True)
class Bone:
    parent: str
    direction: Float[np.ndarray, "3"]
    """In the rest pose, of length 1; the root has none: 0."""
    length: float
    """Metres."""
    axis: Rotation
    """C above."""
    turns: tuple[int, ...]
    """The axes, 0 to 2, about which it turns, in the order of their angles in an AMC file."""


@dataclass(frozen=True)
class Skeleton:
    bones: dict[str, Bone]
    """By name: the root, then parents before their children."""
    unit: float
    """Metres to a unit of the files."""


@dataclass(frozen=True)
class Motion:
    position: Float[np.ndarray, "t 3"]
    """Of the root, metres."""
    angles: Float[np.ndarray, "t b 3"]
    """Radians about x, y, z of every bone of the skeleton; 0 where it does not turn."""

    def every(self, step: int) -> "Motion":
        return Motion(self.position[::step], self.angles[::step])


class _Alignment(NamedTuple):
    start: str
    end: str
    """SMPL's limb goes from one joint to the other."""
    bone: str
    """CMU's bone of the same limb."""
    hinge: str
    """CMU's bone whose x axis is the limb's hinge."""
    axis: tuple[int, int, int]
    """That hinge in SMPL's rest pose, on the left."""


_ALIGNED = {
    "hip": _Alignment("hip", "knee", "femur", "tibia", (1, 0, 0)),
    "knee": _Alignment("knee", "ankle", "tibia", "tibia", (1, 0, 0)),
    # By the toes, level as the sole is: from ankle to toes the two feet slope differently.
    "ankle": _Alignment("ankle", "foot", "toes", "foot", (1, 0, 0)),
    "shoulder": _Alignment("shoulder", "elbow", "humerus", "radius", (0, -1, 0)),
    "elbow": _Alignment("elbow", "wrist", "radius", "radius", (0, -1, 0)),
    # The hand is straight on the forearm in both rest poses, the palm down.
    "wrist": _Alignment("elbow", "wrist", "wrist", "hand", (0, 0, -1)),
}
# CMU's actors nod by some 15 degrees in neck and head together when they look ahead: 13 in 35_01,
# 16 by the notes of B. Hahne, who converted the whole database to BVH.
_HEAD_UP = Rotation.from_euler("x", -15.0, degrees=True)
_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Of SMPL's joints (kintree_table)."""

_LIMBS = ("clavicle", "humerus", "radius", "wrist", "hand", "femur", "tibia", "foot", "toes")
_NEEDED = {"lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head"} | {
    side + limb for side in "lr" for limb in _LIMBS
}
_ROOT = {
    "order": "tx ty tz rx ry rz",
    "axis": "xyz",
    "position": "0 0 0",
    "orientation": "0 0 0",
}
_TURNS = {"rx": 0, "ry": 1, "rz": 2}
_RADIANS = {"deg": np.pi / 180, "rad": 1.0}


def read_skeleton(path: Path) -> Skeleton:
    """Read an ASF file of CMU's kind. Raises DataError, naming file, line and fault, for anything
    else."""
    section = ""
    units = {"length": 0.0, "angle": 0.0}
    root: dict[str, str] = {}
    block: dict[str, list[str]] = {}
    bones = {"root": Bone("", np.zeros(3), 0.0, Rotation.identity(), (0, 1, 2))}
    parents: dict[str, str] = {}
    for number, (word, *rest) in _lines(path, _ASF_BYTES):
        try:
            if word.startswith(":"):
                section = word
            elif not section:
                raise ValueError("an ASF file begins with a keyword such as :version")
            elif section == ":units" and word == "length":
                units[word] = 0.0254 / _numbers(rest, 1, smallest=0.1)[0]
            elif section == ":units" and word == "angle":
                units[word] = _RADIANS.get(" ".join(rest), 0.0)
            elif section == ":root" and word in ("position", "orientation"):
                root[word] = " ".join(f"{number:g}" for number in _numbers(rest, 3))
            elif section == ":root":
                root[word] = " ".join(rest)
            elif section == ":bonedata" and word == "begin":
                block = {}
            elif section == ":bonedata" and word == "end":
                name, bone = _bone(block, **units)
                if name in bones:
                    raise ValueError(f"a second bone {name!r}")
                bones[name] = bone
            elif section == ":bonedata":
                block[word] = rest
            elif section == ":hierarchy" and word not in ("begin", "end"):
                for child in rest:
                    if child in parents or child == "root" or not {word, child} <= bones.keys():
                        raise ValueError(f"{child!r} cannot hang from {word!r}")
                    parents[child] = word
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    if root != _ROOT:
        raise DataError(f"{path}: the root has {root}, expected {_ROOT}")
    if missing := _NEEDED - bones.keys():
        raise DataError(f"{path}: lacks the bone {min(missing)!r}")
    for side in "lr":
        for aligned in _ALIGNED.values():
            limb, hinge = side + aligned.bone, side + aligned.hinge
            if abs(bones[limb].direction @ _hinge(bones[hinge])) > 0.5:
                raise DataError(f"{path}: the axis of {hinge!r} runs along {limb!r}")
    order = ["root"]
    for name in order:  # grows on the way
        order += [child for child, parent in parents.items() if parent == name]
    if loose := bones.keys() - order:
        raise DataError(f"{path}: the bone {min(loose)!r} does not hang from the root")
    return Skeleton(
        {name: replace(bones[name], parent=parents.get(name, "")) for name in order},
        units["length"],
    )


def _bone(block: dict[str, list[str]], *, length: float, angle: float) -> tuple[str, Bone]:
    """Name and bone, not yet with its parent, from a block: the words after the first of each line.
    `length`, `angle`: the units."""
    if not (length and angle):
        raise ValueError("before the bones come :units: length, and angle deg or rad")
    if lacking := {"name", "direction", "length", "axis"} - block.keys():
        raise ValueError(f"the bone lacks {min(lacking)}")
    name = " ".join(block["name"])
    direction = np.array(_numbers(block["direction"], 3))
    size = np.linalg.norm(direction)
    if not 0.9 < size < 1.1:
        raise ValueError(f"the direction of {name!r} has length {size:.3g}, expected 1")
    (metres,) = np.array(_numbers(block["length"], 1, smallest=0.0)) * length
    if metres > 2:
        raise ValueError(f"{name!r} is {metres:.1f} m long")
    *axis, order = block["axis"] or [""]
    turns = block.get("dof", [])
    if order != "xyz" or not set(turns) <= _TURNS.keys() or len(set(turns)) < len(turns):
        raise ValueError(f"{name!r} needs an axis in the order XYZ and a dof among rx, ry, rz")
    return name, Bone(
        parent="",
        direction=direction / size,
        length=float(metres),
        axis=Rotation.from_euler("xyz", np.array(_numbers(axis, 3)) * angle),
        turns=tuple(_TURNS[turn] for turn in turns),
    )


def read_motion(path: Path, skeleton: Skeleton) -> Motion:
    """Read an AMC file made for `skeleton`. Raises DataError, naming file, line and fault, for
    anything else."""
    counts = {name: len(bone.turns) for name, bone in skeleton.bones.items() if bone.turns}
    counts["root"] = 6  # the position comes first
    ends = dict(zip(counts, np.cumsum(list(counts.values())).tolist(), strict=True))
    angle = 0.0
    rows: list[list[float]] = []
    frame = 0
    missing: set[str] = set()
    for number, (word, *rest) in _lines(path, _AMC_BYTES):
        try:
            if word.startswith(":"):
                if word not in (":fully-specified", ":degrees", ":radians"):
                    raise ValueError(f"unknown keyword {word}")
                angle = _RADIANS.get(word[1:4], angle)
            elif word in missing:
                end, count = ends[word], counts[word]
                rows[-1][end - count : end] = _numbers(rest, count)
                missing.remove(word)
            elif rest or not word.isdecimal():
                raise ValueError(f"{word!r} is no bone that turns, or here twice in a frame")
            elif missing:
                raise ValueError(f"frame {frame} lacks {min(missing)!r}")
            elif rows and int(word) != frame + 1:
                raise ValueError(f"frame {word} follows frame {frame}")
            elif not angle:
                raise ValueError("neither :DEGREES nor :RADIANS before the first frame")
            else:
                frame = int(word)
                missing = set(counts)
                rows.append([0.0] * sum(counts.values()))
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    if not rows:
        raise DataError(f"{path}: holds no frames")
    if missing:
        raise DataError(f"{path}: line {number}: ends within frame {frame}")
    values = np.array(rows)
    angles = np.zeros((len(rows), len(skeleton.bones), 3))
    for index, (name, bone) in enumerate(skeleton.bones.items()):
        if bone.turns:
            angles[:, index, bone.turns] = values[:, ends[name] - len(bone.turns) : ends[name]]
    return Motion(values[:, :3] * skeleton.unit, angles * angle)


def _lines(path: Path, most: int) -> Iterator[tuple[int, list[str]]]:
    """Number and words, in small letters and without comments, of every line that has some. Raises
    DataError for a file of more than `most` bytes."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        if path.stat().st_size > most:
            raise DataError(f"{path}: has more than {most:,} bytes, no file of CMU's")
        with path.open(encoding="ascii", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if len(line) > _LINE_LENGTH:
                    raise DataError(f"{path}: line {number}: has {len(line):,} characters")
                if words := line.partition("#")[0].lower().split():
                    yield number, words
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _numbers(words: list[str], count: int, smallest: float = -_LARGEST) -> list[float]:
    if len(words) != count:
        raise ValueError(f"{len(words)} numbers, expected {count}")
    numbers = [float(word) for word in words]
    for number in numbers:
        if not smallest <= number <= _LARGEST:  # NaN is neither
            raise ValueError(f"{number:g} is beyond belief")
    return numbers


def retarget(
    skeleton: Skeleton, motion: Motion, rest: Float[np.ndarray, "24 3"]
) -> tuple[Float[np.ndarray, "t 72"], Float[np.ndarray, "t 3"]]:
    """SMPL's axis-angle, root included, and the pelvis in metres, in CMU's y-up world, for a body
    whose rest pose has the joints `rest`."""
    turned = _orientations(skeleton, motion)
    joints = {
        "pelvis": turned["root"],
        "spine1": turned["lowerback"],
        "spine2": turned["upperback"],
        "spine3": turned["thorax"],
        "neck": _halfway(turned["lowerneck"], turned["upperneck"]),
        "head": turned["head"] * _HEAD_UP,
    }
    for side in ("left", "right"):
        aligned = _alignments(skeleton, rest, side)
        own = {limb: turned[side[0] + limb] for limb in _LIMBS}
        hand = own["hand"] * aligned["wrist"]
        # CMU rolls the palm between radius and wrist; in a body the whole forearm twists.
        forearm = _halfway(own["radius"] * aligned["elbow"], own["wrist"] * aligned["wrist"])
        joints |= {
            f"{side}_collar": own["clavicle"],
            f"{side}_shoulder": own["humerus"] * aligned["shoulder"],
            f"{side}_elbow": forearm,
            f"{side}_wrist": hand,
            f"{side}_hand": hand,
            f"{side}_hip": own["femur"] * aligned["hip"],
            f"{side}_knee": own["tibia"] * aligned["knee"],
            f"{side}_ankle": own["foot"] * aligned["ankle"],
            f"{side}_foot": own["toes"] * aligned["ankle"],
        }
    pose = [joints["pelvis"].as_rotvec()]
    for name, parent in zip(JOINTS[1:], _PARENTS[1:], strict=True):
        pose.append((joints[JOINTS[parent]].inv() * joints[name]).as_rotvec())
    return np.hstack(pose).astype(np.float32), motion.position


def _orientations(skeleton: Skeleton, motion: Motion) -> dict[str, Rotation]:
    """Of every bone in the world: M above."""
    turned = {"": Rotation.identity()}
    for index, (name, bone) in enumerate(skeleton.bones.items()):
        own = bone.axis * Rotation.from_euler("xyz", motion.angles[:, index]) * bone.axis.inv()
        turned[name] = turned[bone.parent] * own
    return turned


def _alignments(
    skeleton: Skeleton, rest: Float[np.ndarray, "24 3"], side: str
) -> dict[str, Rotation]:
    """From SMPL's rest pose to CMU's, for every joint of _ALIGNED: A above."""
    found = {}
    for joint, aligned in _ALIGNED.items():
        start, end = (rest[JOINTS.index(f"{side}_{at}")] for at in (aligned.start, aligned.end))
        limb = (end - start).astype(np.float64)
        if joint == "ankle":
            limb[1] = 0.0  # as level as the toes
        # The mirror image in x of a turn about (x, y, z) is one about (x, -y, -z).
        axis = np.array(aligned.axis) * ([1.0, 1.0, 1.0] if side == "left" else [1.0, -1.0, -1.0])
        bones = skeleton.bones
        theirs = _frame(
            bones[side[0] + aligned.bone].direction, _hinge(bones[side[0] + aligned.hinge])
        )
        found[joint] = theirs * _frame(limb, axis).inv()
    return found


def _frame(limb: Float[np.ndarray, "3"], hinge: Float[np.ndarray, "3"]) -> Rotation:
    """The rotation that takes x to the limb and y to the hinge, or what of it is across the
    limb."""
    x = limb / np.linalg.norm(limb)
    y = hinge - (hinge @ x) * x
    y /= np.linalg.norm(y)
    return Rotation.from_matrix(np.stack([x, y, np.cross(x, y)], axis=1))


def _hinge(bone: Bone) -> Float[np.ndarray, "3"]:
    """Its own x axis in the rest pose: limbs bend about it."""
    return bone.axis.apply([1.0, 0.0, 0.0])


def _halfway(one: Rotation, other: Rotation) -> Rotation:
    return one * Rotation.from_rotvec((one.inv() * other).as_rotvec() / 2)


def write_tree(
    out: Path, takes: Path, *, seed: int, jobs: int, chosen: Sequence[Take] = TAKES
) -> list[str]:
    """Write those of the `chosen` takes that are in the folder `takes` (as `urls` names them) as
    clips of SURREAL's kind; `out` appears whole or not at all.

    A subject's body is drawn by `seed`, a clip's heading too. Returns a line for each take that
    could not be used; raises DataError if that leaves a split empty.
    """
    present = [take for take in chosen if (takes / take.motion_file).exists()]
    with whole_folder(out) as tree:
        write_embedded(tree / "smpl")
        task = partial(_write_take, takes=takes, tree=tree, seed=seed)
        faults = list(parallel_map(task, present, jobs=jobs, label="motion"))
        for split in ("train", "test"):
            if not (tree / "cmu" / split).exists():
                own = (
                    fault
                    for take, fault in zip(present, faults, strict=True)
                    if take.split == split
                )
                first = next(own, None)
                hint = f"the first fault: {first}" if first else "run the download stage first"
                raise DataError(f"{takes}: no usable take for {split}; {hint}")
    return [fault for fault in faults if fault]


def _write_take(take: Take, *, takes: Path, tree: Path, seed: int) -> str | None:
    """Write its clips; returns what is wrong with it, if anything."""
    try:
        skeleton = read_skeleton(takes / take.skeleton_file)
        motion = read_motion(takes / take.motion_file, skeleton).every(FRAME_STEP)
        if len(motion.position) < CLIP_FRAMES[0]:
            raise DataError(
                f"{takes / take.motion_file}: lasts {len(motion.position)} frames of 1/30 s, "
                f"a clip {CLIP_FRAMES[0]} or more"
            )
    except DataError as error:
        return str(error)
    rng = np.random.default_rng([seed, take.subject])
    gender = GENDERS[rng.integers(2)]
    betas = rng.normal(size=10).clip(-2.5, 2.5).astype(np.float32)
    body = embedded_body(gender)
    poses, positions = retarget(skeleton, motion, body.rest(betas)[1])
    for number, start in enumerate(range(0, len(poses), CLIP_FRAMES[1]), 1):
        frames = slice(start, start + CLIP_FRAMES[1])
        pose = poses[frames].copy()
        if len(pose) < CLIP_FRAMES[0]:
            break
        rng = np.random.default_rng([seed, take.subject, take.trial, number])
        zrot = rng.uniform(0.0, 2 * np.pi)
        turn = Rotation.from_euler("y", zrot)
        pose[:, :3] = (turn * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
        joints = body.pose(pose, betas)[1]
        joints += (turn.apply(positions[frames]) - joints[:, 0])[:, None]
        clip = surreal.Clip(take.sequence, number, gender, betas, pose, joints)
        path = surreal.clip_path(tree, take.split, "run0", clip.sequence, number)
        surreal.write_clip(path, clip, zrot=zrot, camera_distance=rng.normal(8.0, 1.0))
    return None
