"""Read and check Acclaim skeleton (.asf) and motion (.amc) files."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.errors import DataError

# Upper limits. CMU's skeletons have 7 KB; its longest takes, of two minutes, about 10 MB.
_ASF_BYTES, _AMC_BYTES, _LINE_LENGTH = 2**16, 2**26, 500
# Upper limit on any number: ten full turns in degrees, or a position of about 200 m.
_LARGEST = 3600.0


@dataclass(frozen=True)
class Bone:
    parent: str
    direction: Float[np.ndarray, "3"]
    """Unit vector in the rest pose; 0 for the root."""
    length: float
    """Metres."""
    axis: Rotation
    """The bone's own axes in the rest pose: C in `tree.py`."""
    turns: tuple[int, ...]
    """Axes of rotation, 0 to 2 for x to z, in the order of the angles in an AMC file."""


@dataclass(frozen=True)
class Skeleton:
    bones: dict[str, Bone]
    """Bones by name. The root is first; parents come before their children."""
    unit: float
    """Metres per unit of length in the files."""


@dataclass(frozen=True)
class Motion:
    position: Float[np.ndarray, "t 3"]
    """Position of the root, metres."""
    angles: Float[np.ndarray, "t b 3"]
    """Angles about x, y, z of every bone of the skeleton, radians; 0 about a fixed axis."""

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
    """Read an ASF file as CMU writes them. Raises DataError, with file and line, for any other."""
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
                raise ValueError("an ASF file must begin with a keyword such as :version")
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
                    raise ValueError(f"the bone {name!r} is defined twice")
                bones[name] = bone
            elif section == ":bonedata":
                block[word] = rest
            elif section == ":hierarchy" and word not in ("begin", "end"):
                for child in rest:
                    if child in parents or child == "root" or not {word, child} <= bones.keys():
                        raise ValueError(f"{child!r} cannot be a child of {word!r}")
                    parents[child] = word
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    if root != _ROOT:
        raise DataError(f"{path}: the root has {root}, expected {_ROOT}")
    if missing := _NEEDED - bones.keys():
        raise DataError(f"{path}: the bone {min(missing)!r} is missing")
    order = ["root"]
    for name in order:  # the loop extends the list
        order += [child for child, parent in parents.items() if parent == name]
    if detached := bones.keys() - order:
        raise DataError(f"{path}: the bone {min(detached)!r} is not connected to the root")
    return Skeleton(
        {name: replace(bones[name], parent=parents.get(name, "")) for name in order},
        units["length"],
    )


def _bone(block: dict[str, list[str]], *, length: float, angle: float) -> tuple[str, Bone]:
    """Name and bone, without its parent, from a block of keywords and their values.

    `length` and `angle` are the units in metres and radians.
    """
    if not (length and angle):
        raise ValueError("no :units with length, and angle deg or rad, before the bones")
    if missing := {"name", "direction", "length", "axis"} - block.keys():
        raise ValueError(f"the bone has no {min(missing)}")
    name = " ".join(block["name"])
    direction = np.array(_numbers(block["direction"], 3))
    norm = np.linalg.norm(direction)
    if not 0.9 < norm < 1.1:
        raise ValueError(f"the direction of {name!r} has length {norm:.3g}, expected 1")
    (metres,) = np.array(_numbers(block["length"], 1, smallest=0.0)) * length
    if metres > 2:
        raise ValueError(f"{name!r} is {metres:.1f} m long, expected at most 2")
    *axis, order = block["axis"] or [""]
    turns = block.get("dof", [])
    if order != "xyz" or not set(turns) <= _TURNS.keys() or len(set(turns)) < len(turns):
        raise ValueError(
            f"{name!r} must have an axis in the order XYZ and distinct dof of rx, ry, rz"
        )
    return name, Bone(
        parent="",
        direction=direction / norm,
        length=float(metres),
        axis=Rotation.from_euler("xyz", np.array(_numbers(axis, 3)) * angle),
        turns=tuple(_TURNS[turn] for turn in turns),
    )


def read_motion(path: Path, skeleton: Skeleton) -> Motion:
    """Read an AMC file of `skeleton`. Raises DataError, with file and line, for any other."""
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
                raise ValueError(f"{word!r} is not a movable bone, or is repeated in the frame")
            elif missing:
                raise ValueError(f"frame {frame} has no {min(missing)!r}")
            elif rows and int(word) != frame + 1:
                raise ValueError(f"frame {word} follows frame {frame}")
            elif not angle:
                raise ValueError("no :DEGREES or :RADIANS before the first frame")
            else:
                frame = int(word)
                missing = set(counts)
                rows.append([0.0] * sum(counts.values()))
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    if not rows:
        raise DataError(f"{path}: contains no frames")
    if missing:
        raise DataError(f"{path}: line {number}: the file ends inside frame {frame}")
    values = np.array(rows)
    angles = np.zeros((len(rows), len(skeleton.bones), 3))
    for index, (name, bone) in enumerate(skeleton.bones.items()):
        if bone.turns:
            angles[:, index, bone.turns] = values[:, ends[name] - len(bone.turns) : ends[name]]
    return Motion(values[:, :3] * skeleton.unit, angles * angle)


def _lines(path: Path, limit: int) -> Iterator[tuple[int, list[str]]]:
    """Number and lower-case words of every line that is not blank, without comments.

    Raises DataError for a file larger than `limit` bytes.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        if path.stat().st_size > limit:
            raise DataError(f"{path}: larger than {limit:,} bytes, so not one of CMU's files")
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
        if not smallest <= number <= _LARGEST:  # also false for NaN
            raise ValueError(f"{number:g} is out of range")
    return numbers


def hinge_axis(bone: Bone) -> Float[np.ndarray, "3"]:
    """The bone's own x axis in the rest pose, about which the limb bends."""
    return bone.axis.apply([1.0, 0.0, 0.0])
