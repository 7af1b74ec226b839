"""The clips of the tiny data set."""

CLIPS = {"a_walk": 5, "b_run": 3, "c_walk": 4, "d_dance": 2, "e_kick": 3, "f_squat": 3}
"""Clips of the tiny data set and their numbers of frames: two training clips, two test clips, an
unseen one and a validation clip."""


SPLIT_OF = {
    "a": "train",
    "b": "train",
    "c": "test",
    "d": "test",
    "e": "unseen_motion",
    "f": "validation",
}
