"""Convert Acclaim motion to SMPL poses. `tree.py` explains the symbols M, C and A."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import JOINTS, PARENTS
from tpifu.errors import DataError
from tpifu.sources.cmu.acclaim import LIMBS, Motion, Skeleton


class _Alignment(NamedTuple):
    start: str
    end: str
    """SMPL's limb runs from joint `start` to joint `end`."""
    bone: str
    """CMU's bone of this limb."""
    hinge: str
    """CMU's bone whose x axis is the axis of the limb's hinge."""
    axis: tuple[int, int, int]
    """Axis of the left hinge in SMPL's rest pose."""


ALIGNED = {
    "hip": _Alignment("hip", "knee", "femur", "tibia", (1, 0, 0)),
    "knee": _Alignment("knee", "ankle", "tibia", "tibia", (1, 0, 0)),
    # Aligned by the toes, which are level in both: the line from ankle to toes slopes differently.
    "ankle": _Alignment("ankle", "foot", "toes", "foot", (1, 0, 0)),
    "shoulder": _Alignment("shoulder", "elbow", "humerus", "radius", (0, -1, 0)),
    "elbow": _Alignment("elbow", "wrist", "radius", "radius", (0, -1, 0)),
    # In both rest poses the hand is in line with the forearm, palm down.
    "wrist": _Alignment("elbow", "wrist", "wrist", "hand", (0, 0, -1)),
}
# When CMU's actors look ahead, neck and head together bend forward by about 15 degrees: 13 in
# 35_01, 16 in the notes of B. Hahne, who converted the whole database to BVH.
_HEAD_UP = Rotation.from_euler("x", -15.0, degrees=True)


def retarget(
    skeleton: Skeleton, motion: Motion, rest: Float[np.ndarray, "24 3"]
) -> Float[np.ndarray, "t 72"]:
    """SMPL pose (axis-angle, root included) in CMU's y-up world.

    `rest` has the joints of the body's rest pose. Raises DataError if a hinge axis of the skeleton
    is parallel to its limb, because the alignment is then undefined.
    """
    world = _orientations(skeleton, motion)
    joints = {
        "pelvis": world["root"],
        "spine1": world["lowerback"],
        "spine2": world["upperback"],
        "spine3": world["thorax"],
        "neck": _halfway(world["lowerneck"], world["upperneck"]),
        "head": world["head"] * _HEAD_UP,
    }
    for side in ("left", "right"):
        aligned = _alignments(skeleton, rest, side)
        own = {limb: world[side[0] + limb] for limb in LIMBS}
        hand = own["hand"] * aligned["wrist"]
        # CMU's skeleton rolls the palm between radius and wrist; on a body the forearm twists.
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
    for name, parent in zip(JOINTS[1:], PARENTS[1:], strict=True):
        pose.append((joints[JOINTS[parent]].inv() * joints[name]).as_rotvec())
    return np.hstack(pose)


def _orientations(skeleton: Skeleton, motion: Motion) -> dict[str, Rotation]:
    """Orientation of every bone in the world: M."""
    world: dict[str, Rotation] = {}
    for index, (name, bone) in enumerate(skeleton.bones.items()):
        own = bone.axis * Rotation.from_euler("xyz", motion.angles[:, index]) * bone.axis.inv()
        parent = skeleton.parents.get(name)
        world[name] = own if parent is None else world[parent] * own
    return world


def _alignments(
    skeleton: Skeleton, rest: Float[np.ndarray, "24 3"], side: str
) -> dict[str, Rotation]:
    """Rotation from SMPL's rest pose to CMU's for every joint of ALIGNED: A."""
    found = {}
    for joint, aligned in ALIGNED.items():
        start, end = (rest[JOINTS.index(f"{side}_{at}")] for at in (aligned.start, aligned.end))
        limb = end - start
        if joint == "ankle":
            limb[1] = 0.0  # level, like the toes
        # Mirroring in x takes a rotation about (x, y, z) to one about (x, -y, -z).
        axis = np.array(aligned.axis) * ([1.0, 1.0, 1.0] if side == "left" else [1.0, -1.0, -1.0])
        bone, hinge = side[0] + aligned.bone, side[0] + aligned.hinge
        direction, turn = (
            skeleton.bones[bone].direction,
            skeleton.bones[hinge].axis.apply([1, 0, 0]),
        )
        if abs(direction @ turn) > 0.5:
            raise DataError(f"{skeleton.path}: the axis of {hinge!r} is parallel to {bone!r}")
        found[joint] = _frame(direction, turn) * _frame(limb, axis).inv()
    return found


def _frame(limb: Float[np.ndarray, "3"], hinge: Float[np.ndarray, "3"]) -> Rotation:
    """The rotation that takes x to the limb and y to the hinge's component normal to the limb."""
    x = limb / np.linalg.norm(limb)
    y = hinge - (hinge @ x) * x
    y /= np.linalg.norm(y)
    return Rotation.from_matrix(np.stack([x, y, np.cross(x, y)], axis=1))


def _halfway(one: Rotation, other: Rotation) -> Rotation:
    return one * Rotation.from_rotvec((one.inv() * other).as_rotvec() / 2)
