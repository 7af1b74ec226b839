"""SMPL's 24 joints: names, order, parents and body parts."""

import numpy as np

GENDERS = ("female", "male")
JOINT_COUNT = 24
BETAS = 10
"""Number of shape coefficients."""

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each joint (kintree_table); -1 for the root."""

# fmt: off
JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_hand", "right_hand",
)
"""Joint names in SMPL's order."""
# fmt: on

PARTS = ("head", "torso", "arms", "hands", "legs", "feet")
_BONES_OF_PART = {
    "head": ("neck", "head"),
    "torso": ("pelvis", "spine1", "spine2", "spine3", "collar"),
    "arms": ("shoulder", "elbow"),
    "hands": ("wrist", "hand"),
    "legs": ("hip", "knee"),
    "feet": ("ankle", "foot"),
}
_PART_OF_BONE = {bone: part for part, bones in _BONES_OF_PART.items() for bone in bones}
PART_OF_JOINT = np.array([PARTS.index(_PART_OF_BONE[name.split("_")[-1]]) for name in JOINTS])
"""Index into PARTS for each joint. A vertex belongs to the part of the joint with the largest
skinning weight."""
