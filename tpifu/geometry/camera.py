"""Orthographic camera. World: metres, y up. Image: [-1, 1], x right, y up, z grows towards the
viewer.

A view turns the body by a yaw about +y in front of a fixed camera that looks along -z:
`ndc = R_y(yaw) world / (window / 2)`. Pixel (u, v) of a W x H image: `u = (x + 1) / 2 W`,
`v = (1 - y) / 2 H`, with pixel centres at half-integers. `project` and `depth_feature` take NumPy
arrays and torch tensors.
"""

from typing import Any

import numpy as np
from jaxtyping import Float


def calibration(yaw: float, window: float) -> Float[np.ndarray, "3 4"]:
    """World -> ndc for a body turned by `yaw` degrees; the image is `window` metres wide."""
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    rotation = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return np.concatenate([rotation / (window / 2), np.zeros((3, 1))], axis=1).astype(np.float32)


def project(calib: Float[Any, "*b 3 4"], points: Float[Any, "*b n 3"]) -> Float[Any, "*b n 3"]:
    """World points (metres) -> ndc. A point is inside the image if |x| <= 1 and |y| <= 1."""
    return points @ calib[..., :3].mT + calib[..., None, :, 3]


def ndc_to_pixel(
    ndc: Float[np.ndarray, "n 3"], width: int, height: int
) -> Float[np.ndarray, "n 2"]:
    """ndc -> continuous pixel coordinates: u right, v down, first pixel centre (0.5, 0.5)."""
    return np.stack([(ndc[:, 0] + 1) / 2 * width, (1 - ndc[:, 1]) / 2 * height], axis=1)


def pixel_centres(width: int, height: int) -> Float[np.ndarray, "hw 2"]:
    """ndc (x, y) of all pixel centres, row by row from the top left."""
    x = (np.arange(width) + 0.5) / width * 2 - 1
    y = 1 - (np.arange(height) + 0.5) / height * 2
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def depth_feature(
    z: Float[Any, "*b n"], window: float, z_normalization: float
) -> Float[Any, "*b n"]:
    """ndc depth `z` in metres, divided by `z_normalization` (metres; Table 1: 2.0)."""
    return z * (window / 2 / z_normalization)
