"""Rounding of motion before it is stored, so that data are equal on all CPUs."""

import numpy as np
from jaxtyping import Float

STEP = 2.0**-18
"""Rounding step for stored angles, radians, and positions, metres: about 4e-6. float32 represents
its multiples up to 64 exactly."""


def rounded(values: Float[np.ndarray, "*n"], step: float = STEP) -> Float[np.ndarray, "*n"]:
    """The nearest multiples of `step`, a power of 2.

    Sines, matrix products and splines in float64 differ by about 1e-15 between CPUs. After
    rounding, fewer than one value in a billion differs.
    """
    return np.rint(values / step) * step + 0.0  # + 0.0 turns -0.0 into 0.0
