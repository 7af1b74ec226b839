"""Consistency over the frames of a clip: what a prediction moves and the truth does not.

Every measure is 0 if the prediction is the truth. Consecutive entries are consecutive frames.
"""

import numpy as np
from jaxtyping import Bool, Float


def flicker(
    predicted: Bool[np.ndarray, "t n n n"], truth: Bool[np.ndarray, "t n n n"]
) -> Float[np.ndarray, "t-1"]:
    """From each frame to the next: cells that change in the prediction and not in the truth, as a
    share of the cells inside the true body (mean of the two frames; there are some)."""
    axes = (1, 2, 3)
    changed = (predicted[1:] != predicted[:-1]) & (truth[1:] == truth[:-1])
    inside = np.count_nonzero(truth, axis=axes)
    return np.count_nonzero(changed, axis=axes) / ((inside[1:] + inside[:-1]) / 2)


def volume_jitter(
    predicted: Float[np.ndarray, " t"], truth: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t-1"]:
    """From each frame to the next: absolute change of the ratio of predicted to true volume.

    Volumes above 0, in any unit; a frame without prediction is nan.
    """
    return np.abs(np.diff(predicted / truth))


def motion_errors(
    found: Float[np.ndarray, "t n 3"], true: Float[np.ndarray, "t n 3"]
) -> tuple[Float[np.ndarray, "t-1"], Float[np.ndarray, " _"]]:
    """Errors of speed, cm per frame, and of acceleration, cm per frame^2, at each step.

    `true`: points that stay at their place on their face of the true body through all frames;
    `found`: their counterparts, the nearest points of each frame's predicted surface; metres, nan
    in frames without one. The error is the length of the difference between the displacements of
    the two (between their second differences, for acceleration), mean over the points.
    """
    # A constant gap between the surfaces moves with the body and costs nothing.
    gap = found - true
    speed, acceleration = (
        100 * np.linalg.norm(np.diff(gap, order, axis=0), axis=2).mean(axis=1) for order in (1, 2)
    )
    return speed, acceleration
