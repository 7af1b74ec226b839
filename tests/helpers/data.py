"""Clips of the tiny data set, and numbers of meshes of the synthetic tree."""

from collections import Counter

from tpifu.clips.splits import Choice
from tpifu.config import Data

CLIPS = {"a_walk": 5, "b_run": 3, "c_walk": 4, "d_dance": 2, "e_kick": 3, "f_squat": 3}
"""Clips of the tiny data set and their numbers of frames: two training clips, two test clips, an
unseen one and a validation clip."""

SPLIT_OF = dict(a="train", b="train", c="test", d="test", e="unseen_motion", f="validation")

SMALL = Data(train_meshes=40, validation_meshes=16, test_meshes=25, unseen_meshes=12)
SIZES = {"train": 40, "validation": 16, "test": 25, "unseen_motion": 12}
"""Meshes of each split of SMALL, which the synthetic tree of `conftest.py` can fill."""


def sizes(choice: Choice) -> Counter[str]:
    """The number of meshes of each split."""
    counts: Counter[str] = Counter()
    for split, _, kept in choice.clips:
        counts[split] += kept
    return counts
