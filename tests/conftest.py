"""Meshes that several test files share."""

import numpy as np
import pytest
import trimesh

from tpifu.mesh import Mesh

# SMPL joints, axis-angle in radians.
HIPS, KNEES, SPINE, SHOULDERS = (1, 2), (4, 5), 3, (16, 17)


@pytest.fixture(scope="session")
def squatting() -> Mesh:
    """A body in a deep squat: the thighs are pressed into the belly, so the surface cuts itself."""
    pose = np.zeros((24, 3))
    pose[HIPS, 0] = -2.2
    pose[KNEES, 0] = 2.4
    pose[SPINE, 0] = 0.6
    pose[SHOULDERS, 2] = -1.2, 1.2
    return posed(pose)


@pytest.fixture(scope="session")
def walking() -> Mesh:
    """A body in mid-stride, one arm in front of it."""
    pose = np.zeros((24, 3))
    pose[HIPS, 0] = -0.5, 0.4
    pose[SHOULDERS, 2] = -1.2, 1.2
    pose[18] = 0, -1.5, 0
    return posed(pose)


def posed(pose: np.ndarray) -> Mesh:
    from tpifu.body import embedded_body  # here: it brings torch, which few test files need

    body = embedded_body("male")
    vertices, joints = body.pose(pose.reshape(1, 72).astype(np.float32), np.zeros(10, np.float32))
    return Mesh(vertices[0] - joints[0, 0], body.faces)


@pytest.fixture(scope="session")
def ball():
    """Maker of spheres: `ball(radius, centre)`; fine enough to be within 0.3 % of round."""

    def make(radius: float, centre=(0.0, 0.0, 0.0)) -> Mesh:
        sphere = trimesh.creation.icosphere(subdivisions=4, radius=radius)
        return Mesh((sphere.vertices + centre).astype(np.float32), sphere.faces.astype(np.int32))

    return make
