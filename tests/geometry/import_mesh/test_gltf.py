"""Features of glTF 2.0 that change a mesh: read rightly, or rejected by name.

The reported faults are skins and quantised positions. The specification and its ratified
extensions add: sparse accessors, accessors without data, morph targets, animated nodes, several
scenes, mirrored and nested transforms, shared meshes, unused nodes, meshes without indices,
interleaved buffers, strips, fans, lines and points, cameras as parents, Draco, meshopt,
instancing and node visibility.
"""

import base64
import copy
import json
import struct

import numpy as np
import pytest
import trimesh

from tpifu.errors import DataError
from tpifu.geometry.import_mesh.load import load_mesh
from tpifu.geometry.mesh import watertight_error

BALL = trimesh.creation.icosphere(1, 0.6)
BUFFER = BALL.vertices.astype("<f4").tobytes() + BALL.faces.astype("<u4").tobytes()


def document(**changes):
    """The JSON of a ball of radius 0.6; `changes` replace parts of it."""
    size = 12 * len(BALL.vertices)
    views = [
        {"buffer": 0, "byteOffset": 0, "byteLength": size},
        {"buffer": 0, "byteOffset": size, "byteLength": len(BUFFER) - size},
    ]
    positions = {
        "bufferView": 0,
        "componentType": 5126,
        "count": len(BALL.vertices),
        "type": "VEC3",
    }
    corners = {"bufferView": 1, "componentType": 5125, "count": BALL.faces.size, "type": "SCALAR"}
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [positions, corners],
        "bufferViews": views,
        "buffers": [{"byteLength": len(BUFFER)}],
        **changes,
    }


@pytest.fixture
def load(tmp_path):
    """A function that stores a document as a .glb file and loads it, with its own origin."""

    def store_and_load(gltf, buffer=BUFFER):
        text = json.dumps(gltf).encode()
        text += b" " * (-len(text) % 4)
        buffer += b"\0" * (-len(buffer) % 4)
        chunks = struct.pack("<2I", len(text), 0x4E4F534A) + text
        chunks += struct.pack("<2I", len(buffer), 0x004E4942) + buffer
        path = tmp_path / "mesh.glb"
        path.write_bytes(struct.pack("<3I", 0x46546C67, 2, 12 + len(chunks)) + chunks)
        return load_mesh(path, centred=False)

    return store_and_load


def bounds(mesh):
    return np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])


def test_a_plain_file_is_read(load):
    mesh = load(document())
    np.testing.assert_array_equal(mesh.faces, BALL.faces)
    np.testing.assert_allclose(mesh.vertices, BALL.vertices, atol=1e-6)


def test_transforms_are_applied_in_the_order_of_the_specification(load):
    quarter = [0, 0, np.sqrt(0.5), np.sqrt(0.5)]  # 90 degrees about z
    nodes = [
        {"children": [1], "translation": [1, 0, 0], "rotation": quarter},
        {"mesh": 0, "translation": [2, 0, 0], "scale": [1, 1, -2]},
    ]
    mesh = load(document(nodes=nodes))
    np.testing.assert_allclose(bounds(mesh).mean(axis=0), [1, 2, 0], atol=0.01)
    extents = np.ptp(BALL.vertices, axis=0)
    np.testing.assert_allclose(
        np.ptp(mesh.vertices, axis=0), extents[[1, 0, 2]] * [1, 1, 2], atol=1e-5
    )
    assert mesh.volume() == pytest.approx(2 * BALL.volume, rel=1e-5)  # mirrored, not inverted
    column_major = [0, 2, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0, 3, 4, 5, 1]
    mesh = load(document(nodes=[{"mesh": 0, "matrix": column_major}]))
    np.testing.assert_allclose(bounds(mesh).mean(axis=0), [3, 4, 5], atol=0.01)


def test_a_mesh_of_several_nodes_is_read_several_times(load):
    nodes = [{"mesh": 0}, {"mesh": 0, "translation": [2, 0, 0]}, {"mesh": 0}]
    mesh = load(document(nodes=nodes, scenes=[{"nodes": [0, 1]}]))  # node 2 is in no scene
    assert len(mesh.faces) == 2 * len(BALL.faces)
    np.testing.assert_allclose(bounds(mesh)[1, 0], 2 + BALL.vertices[:, 0].max(), atol=1e-5)


def test_primitives_materials_and_interleaved_buffers_are_read(load):
    half = BALL.faces.size // 2
    gltf = document(materials=[{"name": "a"}, {"name": "b", "doubleSided": True}])
    low, high = gltf["accessors"][1] | {"count": half}, gltf["accessors"][1] | {"count": half}
    gltf["accessors"][1:] = [low, high | {"byteOffset": 4 * half}]
    gltf["meshes"][0]["primitives"] = [
        {"attributes": {"POSITION": 0}, "indices": 1 + n, "material": n} for n in range(2)
    ]
    stride = np.hstack([BALL.vertices, BALL.vertex_normals]).astype("<f4").tobytes()
    gltf["bufferViews"][0] |= {"byteLength": len(stride), "byteStride": 24}
    gltf["bufferViews"][1]["byteOffset"] = len(stride)
    faces = BALL.faces.astype("<u4").tobytes()
    gltf["buffers"][0]["byteLength"] = len(stride + faces)
    mesh = load(gltf, stride + faces)
    assert watertight_error(mesh.faces) is None
    assert mesh.volume() == pytest.approx(BALL.volume, rel=1e-5)


def test_a_mesh_without_indices_is_read(load):
    corners = BALL.triangles.astype("<f4").tobytes()
    gltf = document(buffers=[{"byteLength": len(corners)}])
    gltf["bufferViews"] = [{"buffer": 0, "byteLength": len(corners)}]
    gltf["accessors"] = [gltf["accessors"][0] | {"count": BALL.faces.size}]
    gltf["meshes"][0]["primitives"] = [{"attributes": {"POSITION": 0}}]
    mesh = load(gltf, corners)
    assert len(mesh.vertices) == len(BALL.vertices)
    assert mesh.volume() == pytest.approx(BALL.volume, rel=1e-5)


def test_a_text_file_is_read_with_its_buffer(tmp_path):
    path = tmp_path / "mesh.gltf"
    uri = "data:application/octet-stream;base64," + base64.b64encode(BUFFER).decode()
    for name in ("body.bin", uri):
        text = json.dumps(document(buffers=[{"byteLength": len(BUFFER), "uri": name}]))
        path.write_text(text)
        if name != uri:
            with pytest.raises(DataError, match=r"mesh\.gltf: cannot read .*body\.bin"):
                load_mesh(path)
            (tmp_path / name).write_bytes(BUFFER)
        assert load_mesh(path).volume() == pytest.approx(BALL.volume, rel=1e-5)
    path.write_text(text, encoding="utf-8-sig")
    with pytest.raises(DataError, match="starts with a byte-order mark, which glTF forbids"):
        load_mesh(path)


def test_rigs_animations_and_shapes_that_do_not_change_the_mesh_are_read(load):
    gltf = document(nodes=[{"mesh": 0}, {}], scenes=[{"nodes": [0, 1]}])
    gltf["skins"] = [{"joints": [1]}]
    gltf["animations"] = [{"channels": [{"target": {"node": 1, "path": "rotation"}}]}]
    gltf["meshes"][0] |= {"weights": [0.0]}
    gltf["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": 0}]
    gltf["extensionsUsed"] = ["KHR_materials_unlit", "KHR_lights_punctual", "VRMC_vrm"]
    gltf["extensionsRequired"] = ["EXT_texture_webp"]
    assert load(gltf).volume() == pytest.approx(BALL.volume, rel=1e-5)


def changed(path, value):
    """A document with one value replaced; `path` names the keys that lead to it."""
    gltf = copy.deepcopy(document())
    *keys, last = path
    place = gltf
    for key in keys:
        place = place[key]
    place[last] = value
    return gltf


NODE = ("nodes", 0)
PRIMITIVE = ("meshes", 0, "primitives", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((*NODE, "skin"), 0, r"poses its mesh by bones \(a skin\); apply the armature"),
        ((*NODE, "weights"), [0, 0.5], "morph targets; apply the shape keys"),
        (("meshes", 0, "weights"), [1], "morph targets; apply the shape keys"),
        ((*NODE, "camera"), 0, "attaches a mesh to a camera"),
        (
            ("animations",),
            [{"channels": [{"target": {"node": 0, "path": "translation"}}]}],
            "animates its mesh; export each frame",
        ),
        (("scenes",), [{"nodes": [0]}, {"nodes": [0]}], "holds several scenes"),
        (("accessors", 0, "sparse"), {"count": 1}, "sparse accessor"),
        (("accessors", 0), {"componentType": 5126, "count": 3, "type": "VEC3"}, "sparse accessor"),
        (("accessors", 0, "componentType"), 5122, "positions as integers; .* quantisation"),
        (("accessors", 0, "type"), "VEC2", "stores positions of type VEC2; export VEC3"),
        ((*PRIMITIVE, "mode"), 0, "points, lines, strips or fans; export triangles"),
        ((*PRIMITIVE, "mode"), 1, "points, lines, strips or fans; export triangles"),
        ((*PRIMITIVE, "mode"), 5, "points, lines, strips or fans; export triangles"),
        ((*PRIMITIVE, "mode"), 6, "points, lines, strips or fans; export triangles"),
        ((*NODE, "children"), [0], "node 0 has several parents"),
        (("asset", "version"), "1.0", "is glTF 1.0; export glTF 2.0"),
        (("scenes", 0, "nodes"), [], "contains no triangles"),
        (("accessors", 0, "count"), 40, "a face uses vertex 42, but the file has 40"),
        *[
            ((f"extensions{kind}",), [name], f"uses {name}, which is not read; export without")
            for kind, names in {
                "Required": ("KHR_draco_mesh_compression", "KHR_meshopt_compression", "VRMC_vrm"),
                "Used": ("KHR_mesh_quantization", "EXT_mesh_gpu_instancing", "KHR_node_visibility"),
            }.items()
            for name in names
        ],
    ],
)
def test_a_feature_that_is_not_read_is_rejected_by_name(load, path, value, message):
    with pytest.raises(DataError, match=rf"mesh\.glb: .*{message}"):
        load(changed(path, value))


def test_a_rigged_file_of_each_frame_is_rejected(load):
    gltf = document(nodes=[{"mesh": 0, "skin": 0}, {"translation": [0, 0.2, 0]}])
    gltf |= {"scenes": [{"nodes": [0, 1]}], "skins": [{"joints": [1]}]}
    with pytest.raises(DataError, match="apply the armature and export again"):
        load(gltf)
