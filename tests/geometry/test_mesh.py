import numpy as np
import pytest
import trimesh

from tpifu.errors import DataError
from tpifu.geometry.mesh import Mesh, watertight_error
from tpifu.geometry.mesh_files import load_mesh

BOX = trimesh.creation.box((0.4, 1.8, 0.2))


@pytest.fixture
def stored(tmp_path):
    """A function that stores triangles in a file and returns its path."""

    def store(faces, vertices=BOX.vertices, name="mesh.ply"):
        path = tmp_path / name
        trimesh.Trimesh(vertices, faces, process=False).export(path)
        return path

    return store


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
        (BOX.faces[1:], "3 edges belong to only one face (holes)"),
        (np.vstack([BOX.faces, BOX.faces[:1]]), "3 edges belong to more than two faces"),
        (np.vstack([BOX.faces[:1, ::-1], BOX.faces[1:]]), "flipped faces"),
    ],
)
def test_a_mesh_that_is_not_watertight_is_rejected_with_the_reason(faces, message, stored):
    assert message in watertight_error(faces)
    with pytest.raises(DataError, match=r"mesh\.ply: not watertight: .*Make Manifold"):
        load_mesh(stored(faces))


@pytest.mark.parametrize("kind", ["ply", "obj", "stl", "off", "glb"])
def test_common_formats_are_read_scaled_and_centred(stored, kind):
    path = stored(BOX.faces, BOX.vertices * 1000 + [5000, 0, 0], f"mesh.{kind}")
    mesh = load_mesh(path, scale=0.001)
    assert watertight_error(mesh.faces) is None
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [0.4, 1.8, 0.2], atol=1e-5)
    np.testing.assert_allclose(mesh.trimesh().center_mass, 0, atol=1e-5)


def test_an_inside_out_mesh_is_flipped(stored):
    assert load_mesh(stored(BOX.faces[:, ::-1])).trimesh().volume > 0


def test_a_file_without_a_mesh_is_rejected(tmp_path):
    trimesh.PointCloud(BOX.vertices).export(tmp_path / "cloud.ply")
    (tmp_path / "text.ply").write_text("hello")
    for name, message in (
        ("none.obj", "no such mesh file"),
        ("text.ply", "trimesh cannot read this mesh"),
        ("cloud.ply", "contains no triangles"),
    ):
        with pytest.raises(DataError, match=f"{name}: {message}"):
            load_mesh(tmp_path / name)
