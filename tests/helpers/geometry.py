"""Grid points and the inverse of the camera."""

import numpy as np
from jaxtyping import Float

from tpifu.geometry.grid import cell_centres


def grid_points(resolution: int, half: float) -> Float[np.ndarray, "r3 3"]:
    """All cell centres, float32; x varies slowest, z fastest."""
    centres = cell_centres(resolution, half).astype(np.float32)
    return np.stack(np.meshgrid(centres, centres, centres, indexing="ij"), axis=-1).reshape(-1, 3)


def unproject(
    calib: Float[np.ndarray, "3 4"], ndc: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Inverse of `project`."""
    return np.linalg.solve(calib[:, :3], (ndc - calib[:, 3]).T).T
