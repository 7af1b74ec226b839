"""Temporal consistency over consecutive frames: motion of the prediction that the truth lacks.

All measures are 0 for a perfect prediction.
"""

import numpy as np
from jaxtyping import Bool, Float


def flicker(
    predicted: Bool[np.ndarray, "t n n n"], truth: Bool[np.ndarray, "t n n n"]
) -> Float[np.ndarray, "t-1"]:
    """For each pair of frames: cells that change in the prediction but not in the truth, divided by
    the mean number of cells inside the true body; nan if there are none."""
    axes = (1, 2, 3)
    changed = (predicted[1:] != predicted[:-1]) & (truth[1:] == truth[:-1])
    inside = np.count_nonzero(truth, axis=axes)
    mean = (inside[1:] + inside[:-1]) / 2
    mean[mean == 0] = np.nan
    return np.count_nonzero(changed, axis=axes) / mean


def volume_jitter(
    predicted: Float[np.ndarray, " t"], truth: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t-1"]:
    """For each pair of frames: absolute change of predicted volume / true volume.

    True volumes are positive; the predicted volume is nan in a frame without a prediction.
    """
    return np.abs(np.diff(predicted / truth))


def motion_errors(
    found: Float[np.ndarray, "t n 3"], true: Float[np.ndarray, "t n 3"]
) -> tuple[Float[np.ndarray, "t-1"], Float[np.ndarray, " _"]]:
    """Errors in speed (cm per frame) and acceleration (cm per frame^2), averaged over the points.

    `true`: points fixed on the surface of the true body, metres; `found`: the nearest points of
    each frame's predicted surface, nan in a frame without one. An error is the length of the
    difference between the two displacements, or between the two second differences.
    """
    # A constant gap between the surfaces causes no error.
    gap = found - true
    speed, acceleration = (
        100 * np.linalg.norm(np.diff(gap, order, axis=0), axis=2).mean(axis=1) for order in (1, 2)
    )
    return speed, acceleration
