"""The key poses of the nine motions, from `nine.yaml`."""

from importlib import resources
from typing import Any

from ruamel.yaml import YAML

from tpifu.sources.synthetic.key_pose import Pose


def read_yaml(name: str) -> Any:
    """The contents of a YAML file in this folder."""
    file = resources.files("tpifu.sources.synthetic") / name
    return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))


def read_pose(item: dict[str, Any], known: dict[str, Pose]) -> Pose:
    """A key pose from a YAML file, based on the poses of `known` that `use` names."""
    pose: Pose = {}
    for name in item.get("use", "").split():
        pose |= known[name]
    for part, angles in item.items():
        if part != "use":
            pose[part] = tuple(angles) if isinstance(angles, list) else (angles,)
    return pose


_NINE = read_yaml("nine.yaml")
ARMS = {name: read_pose(item, {}) for name, item in _NINE["arms"].items()}
"""Arm poses by name."""
POSES = ARMS | {name: read_pose(item, {}) for name, item in _NINE["poses"].items()}
"""All named poses."""
MOVES = {
    name: [[read_pose(item, POSES) for item in poses] for poses in moves]
    for name, moves in _NINE["moves"].items()
}
"""Moves of one or more poses, keyed by the motion that uses them."""
LEGS: dict[str, list[tuple[float, ...]]] = _NINE["legs"]
"""Phase and angles of the left leg in a gait, see `nine.yaml`."""
