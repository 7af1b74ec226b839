import numpy as np
import pytest
import trimesh

from tpifu.errors import DataError
from tpifu.geometry.mesh import Mesh, watertight_fault
from tpifu.geometry.mesh_files import load_mesh

BOX = trimesh.creation.box((0.4, 1.8, 0.2))


@pytest.fixture
def stored(tmp_path):
    """Store these triangles as a file; its path."""

    def store(faces, vertices=None, name="mesh.ply"):
        mesh = trimesh.Trimesh(BOX.vertices if vertices is None else vertices, faces, process=False)
        path = tmp_path / name
        mesh.export(path)
        return path

    return store


def test_normals_of_a_sphere_point_from_its_centre(ball):
    mesh = ball(0.5, (1.0, 2.0, 3.0))
    outwards = (mesh.vertices - [1, 2, 3]) / 0.5
    np.testing.assert_allclose(mesh.vertex_normals(), outwards, atol=0.01)


def test_normals_have_length_one_and_a_vertex_without_faces_has_none(ball):
    sphere = ball(1.0)
    mesh = Mesh(np.vstack([sphere.vertices, [[9, 9, 9]]]).astype(np.float32), sphere.faces)
    lengths = np.linalg.norm(mesh.vertex_normals(), axis=1)
    np.testing.assert_allclose(lengths[:-1], 1, atol=1e-6)
    assert lengths[-1] == 0


def test_a_closed_surface_has_no_fault(ball):
    assert watertight_fault(BOX.faces) is None
    assert watertight_fault(ball(1.0).faces) is None
    both = np.concatenate([BOX.faces, BOX.faces + len(BOX.vertices)])  # two bodies
    assert watertight_fault(both) is None


@pytest.mark.parametrize(
    ("faces", "told"),
    [
        (BOX.faces[1:], "3 edges belong to one face only (holes)"),
        (np.vstack([BOX.faces, BOX.faces[:1]]), "3 edges belong to more than two faces"),
        (np.vstack([BOX.faces[:1, ::-1], BOX.faces[1:]]), "flipped faces"),
    ],
)
def test_a_fault_is_named(faces, told, stored):
    assert told in watertight_fault(faces)
    with pytest.raises(DataError, match=r"mesh\.ply: not watertight: .*Make Manifold"):
        load_mesh(stored(faces))


@pytest.mark.parametrize("kind", ["ply", "obj", "stl", "off", "glb"])
def test_a_mesh_is_read_from_the_usual_formats_and_centred(stored, kind):
    mesh = load_mesh(stored(BOX.faces, np.add(BOX.vertices, [5, 0, 0]), f"mesh.{kind}"))
    assert watertight_fault(mesh.faces) is None
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [0.4, 1.8, 0.2], atol=1e-5)
    np.testing.assert_allclose(mesh.trimesh().center_mass, 0, atol=1e-5)


def test_scale_turns_units_into_metres(stored):
    mesh = load_mesh(stored(BOX.faces, BOX.vertices * 1000), scale=0.001)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [0.4, 1.8, 0.2], atol=1e-5)


def test_a_mesh_wound_inside_out_as_a_whole_is_turned(stored):
    mesh = load_mesh(stored(BOX.faces[:, ::-1]))
    assert mesh.trimesh().volume > 0


def test_a_file_that_is_no_mesh_is_named(tmp_path, stored):
    with pytest.raises(DataError, match=r"none\.obj: no such mesh file"):
        load_mesh(tmp_path / "none.obj")
    (tmp_path / "text.ply").write_text("hello")
    with pytest.raises(DataError, match=r"text\.ply: not a mesh that trimesh can read"):
        load_mesh(tmp_path / "text.ply")
    cloud = tmp_path / "cloud.ply"
    trimesh.PointCloud(BOX.vertices).export(cloud)
    with pytest.raises(DataError, match=r"cloud\.ply: holds no triangles"):
        load_mesh(cloud)
