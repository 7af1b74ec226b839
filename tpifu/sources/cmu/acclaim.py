"""Acclaim skeleton (.asf) and motion (.amc) files, read and checked. Angles in degrees."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.errors import DataError

# CMU's skeletons have 7 KB; its longest takes, two minutes, some 10 MB.
_ASF_BYTES, _AMC_BYTES, _LINE_LENGTH = 2**16, 2**26, 500
# The largest number that is believed: ten turns; as a position some 200 m.
_LARGEST = 3600.0


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


LIMBS = ("clavicle", "humerus", "radius", "wrist", "hand", "femur", "tibia", "foot", "toes")
_NEEDED = {"lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head"} | {
    side + limb for side in "lr" for limb in LIMBS
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


def hinge_axis(bone: Bone) -> Float[np.ndarray, "3"]:
    """Its own x axis in the rest pose: limbs bend about it."""
    return bone.axis.apply([1.0, 0.0, 0.0])
