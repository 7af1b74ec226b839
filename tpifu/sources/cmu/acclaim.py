"""Read and check Acclaim skeleton (.asf) and motion (.amc) files, as CMU writes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.errors import DataError

# Upper limit on any number: ten full turns in degrees, or a position of about 200 m.
_LARGEST = 3600.0


@dataclass(frozen=True)
class Bone:
    direction: Float[np.ndarray, "3"]
    """Unit vector in the rest pose; 0 for the root."""
    axis: Rotation
    """The bone's own axes in the rest pose: C in `tree.py`. Its x axis is the hinge of the limb."""
    turns: tuple[int, ...]
    """Axes of rotation, 0 to 2 for x to z, in the order of the angles in an AMC file."""


@dataclass(frozen=True)
class Skeleton:
    path: Path
    """The ASF file."""
    bones: dict[str, Bone]
    """Bones by name. The root is first; parents come before their children."""
    parents: dict[str, str]
    """The parent of every bone except the root."""
    unit: float
    """Metres per unit of length in the files."""


@dataclass(frozen=True)
class Motion:
    position: Float[np.ndarray, "t 3"]
    """Position of the root, metres."""
    angles: Float[np.ndarray, "t b 3"]
    """Angles about x, y, z of every bone of the skeleton, radians; 0 about a fixed axis."""


LIMBS = ("clavicle", "humerus", "radius", "wrist", "hand", "femur", "tibia", "foot", "toes")
_NEEDED = {"lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head"} | {
    side + limb for side in "lr" for limb in LIMBS
}
_ROOT = dict(order="tx ty tz rx ry rz", axis="xyz", position="0 0 0", orientation="0 0 0")
_TURNS = {"rx": 0, "ry": 1, "rz": 2}


def read_skeleton(path: Path) -> Skeleton:
    """Read an ASF file. Raises DataError, with the file and if possible the line, for a file that
    is damaged or does not follow CMU's conventions."""
    section = ""
    unit = 0.0
    root: dict[str, str] = {}
    block: dict[str, list[str]] = {}
    bones = {"root": Bone(np.zeros(3), Rotation.identity(), (0, 1, 2))}
    children: dict[str, list[str]] = {}
    for number, (word, *rest) in _lines(path):
        try:
            if word.startswith(":"):
                section = word
            elif section == ":units" and word == "length":
                unit = 0.0254 / _numbers(rest, 1, smallest=0.1)[0]
            elif section == ":units" and word == "angle" and rest != ["deg"]:
                raise ValueError(f"the unit of angles is {rest}, expected deg")
            elif section == ":root":
                root[word] = " ".join(rest)
            elif section == ":bonedata" and word == "begin":
                block = {}
            elif section == ":bonedata" and word == "end":
                bones[" ".join(block.get("name", []))] = _bone(block)
            elif section == ":bonedata":
                block[word] = rest
            elif section == ":hierarchy" and word not in ("begin", "end"):
                children.setdefault(word, []).extend(rest)
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    if not unit:
        raise DataError(f"{path}: has no :units with a length")
    if root != _ROOT:
        raise DataError(f"{path}: the root has {root}, expected {_ROOT}")
    if missing := _NEEDED - bones.keys():
        raise DataError(f"{path}: the bone {min(missing)!r} is missing")
    parents = {child: parent for parent, own in children.items() for child in own}
    order = ["root"]
    for name in order:  # the loop extends the list
        order += children.pop(name, [])
    if children or sorted(order) != sorted(bones):
        raise DataError(f"{path}: the hierarchy does not connect each bone to the root once")
    return Skeleton(path, {name: bones[name] for name in order}, parents, unit)


def _bone(block: dict[str, list[str]]) -> Bone:
    """A bone from a block of keywords and their values."""
    if missing := {"name", "direction", "axis"} - block.keys():
        raise ValueError(f"the bone has no {min(missing)}")
    direction = np.array(_numbers(block["direction"], 3))
    norm = np.linalg.norm(direction)
    if not 0.9 < norm < 1.1:
        raise ValueError(f"the direction has length {norm:.3g}, expected 1")
    *axis, order = block["axis"] or [""]
    turns = block.get("dof", [])
    if order != "xyz" or not set(turns) <= _TURNS.keys() or len(set(turns)) < len(turns):
        raise ValueError("the axis is not in the order XYZ, or dof are not distinct rx, ry, rz")
    return Bone(
        direction=direction / norm,
        axis=Rotation.from_euler("xyz", _numbers(axis, 3), degrees=True),
        turns=tuple(_TURNS[turn] for turn in turns),
    )


def read_motion(path: Path, skeleton: Skeleton) -> Motion:
    """Read an AMC file of `skeleton`, in degrees. Raises DataError, with the file and the line or
    frame, for a file that is damaged or belongs to another skeleton."""
    counts = {name: len(bone.turns) for name, bone in skeleton.bones.items() if bone.turns}
    counts["root"] = 6  # the position comes first
    frames: list[dict[str, list[float]]] = []
    for number, (word, *rest) in _lines(path):
        try:
            if word in (":fully-specified", ":degrees"):
                continue
            if word.isdecimal() and not rest:
                frames.append({})
            elif frames and word in counts:
                frames[-1][word] = _numbers(rest, counts[word])
            else:
                raise ValueError(f"{word[:80]!r} is neither a frame nor a movable bone")
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    if not frames:
        raise DataError(f"{path}: contains no frames")
    for index, frame in enumerate(frames, 1):
        if missing := counts.keys() - frame.keys():
            raise DataError(f"{path}: frame {index} of {len(frames)} has no {min(missing)!r}")
    angles = np.zeros((len(frames), len(skeleton.bones), 3))
    for index, (name, bone) in enumerate(skeleton.bones.items()):
        if bone.turns:
            angles[:, index, bone.turns] = [frame[name][-len(bone.turns) :] for frame in frames]
    position = np.array([frame["root"][:3] for frame in frames])
    return Motion(position * skeleton.unit, np.radians(angles))


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and lower-case words of every line that is not blank, without comments."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            for number, line in enumerate(file, 1):
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
