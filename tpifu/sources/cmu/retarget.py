"""Acclaim motion to SMPL poses."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.body.skeleton import JOINTS, PARENTS
from tpifu.errors import DataError
from tpifu.sources.cmu.acclaim import LIMBS, Motion, Skeleton, hinge_axis


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


ALIGNED = {
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


def require_hinges(path: Path, skeleton: Skeleton) -> None:
    """Raises DataError if a hinge of the skeleton in `path` turns about its own limb: no alignment
    follows from it."""
    bones = skeleton.bones
    for side in "lr":
        for aligned in ALIGNED.values():
            limb, hinge = side + aligned.bone, side + aligned.hinge
            if abs(bones[limb].direction @ hinge_axis(bones[hinge])) > 0.5:
                raise DataError(f"{path}: the axis of {hinge!r} runs along {limb!r}")


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
        own = {limb: turned[side[0] + limb] for limb in LIMBS}
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
    for name, parent in zip(JOINTS[1:], PARENTS[1:], strict=True):
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
    for joint, aligned in ALIGNED.items():
        start, end = (rest[JOINTS.index(f"{side}_{at}")] for at in (aligned.start, aligned.end))
        limb = (end - start).astype(np.float64)
        if joint == "ankle":
            limb[1] = 0.0  # as level as the toes
        # The mirror image in x of a turn about (x, y, z) is one about (x, -y, -z).
        axis = np.array(aligned.axis) * ([1.0, 1.0, 1.0] if side == "left" else [1.0, -1.0, -1.0])
        bones = skeleton.bones
        theirs = _frame(
            bones[side[0] + aligned.bone].direction, hinge_axis(bones[side[0] + aligned.hinge])
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


def _halfway(one: Rotation, other: Rotation) -> Rotation:
    return one * Rotation.from_rotvec((one.inv() * other).as_rotvec() / 2)
