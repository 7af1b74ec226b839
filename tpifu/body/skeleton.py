"""SMPL's 24 joints: their names, order, parents and body parts."""

import numpy as np

GENDERS = ("female", "male")
JOINT_COUNT = 24
BETAS = 10

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Of SMPL's joints (kintree_table)."""

# fmt: off
JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_hand", "right_hand",
)
"""SMPL's joints in its order."""

PARTS = ("head", "torso", "arms", "hands", "legs", "feet")
_PART_NAME_OF_JOINT = (
    *("torso", "legs", "legs"),  # pelvis, left and right hip
    *("torso", "legs", "legs"),  # spine1, knees
    *("torso", "feet", "feet"),  # spine2, ankles
    *("torso", "feet", "feet"),  # spine3, feet
    *("head", "torso", "torso", "head"),  # neck, left and right collar, head
    *("arms", "arms", "arms", "arms"),  # shoulders, elbows
    *("hands", "hands", "hands", "hands"),  # wrists, hands
)
PART_OF_JOINT = np.array([PARTS.index(name) for name in _PART_NAME_OF_JOINT])
"""Index into PARTS of SMPL's 24 joints. A vertex belongs to the part of the joint that moves it
most."""
