import re

import numpy as np
import pytest
from helpers.geometry import BOX

from tpifu.geometry.mesh import Mesh, watertight_error


def test_vertex_normals_of_a_sphere_point_away_from_its_centre(ball):
    sphere = ball(0.5, (1.0, 2.0, 3.0))
    with_stray = np.vstack([sphere.vertices, [[9, 9, 9]]]).astype(np.float32)
    normals = Mesh(with_stray, sphere.faces).vertex_normals()
    np.testing.assert_allclose(normals[:-1], (sphere.vertices - [1, 2, 3]) / 0.5, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(normals[:-1], axis=1), 1, atol=1e-6)
    assert not normals[-1].any()  # a vertex without faces


def test_closed_surfaces_are_watertight(ball):
    two_bodies = np.concatenate([BOX.faces, BOX.faces + len(BOX.vertices)])
    for faces in (BOX.faces, ball(1.0).faces, two_bodies):
        assert watertight_error(faces) is None


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (BOX.faces[1:], r"3 edges belong to only one face \(holes\); close the mesh"),
        (np.vstack([BOX.faces, BOX.faces[:1]]), "3 edges belong to three or more faces"),
        (np.vstack([BOX.faces[:1, ::-1], BOX.faces[1:]]), "at 3 edges, .*flipped faces"),
    ],
)
def test_a_surface_that_bounds_no_volume_is_explained(faces, message):
    assert re.search(message, watertight_error(faces))
