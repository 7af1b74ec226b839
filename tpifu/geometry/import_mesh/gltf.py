"""Reader for glTF 2.0: features that change a mesh are read, or rejected by name."""

import json
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tpifu.errors import DataError
from tpifu.geometry.import_mesh.polygons import Surface

HARMLESS = ("KHR_materials_", "KHR_texture_", "KHR_lights_", "KHR_xmp", "EXT_texture_", "EXT_light")
"""Prefixes of extensions that change no vertex and no face."""
CHANGE_MESHES = {
    *("EXT_mesh_gpu_instancing", "KHR_animation_pointer", "KHR_mesh_quantization"),
    *("KHR_node_visibility", "KHR_gaussian_splatting", "EXT_meshopt_compression"),
}
"""Extensions that change the mesh although readers may ignore them, or although files forget to
require them."""


def read_gltf(path: Path) -> Surface:
    """Vertices and faces of the scene of a .glb or .gltf file, read by trimesh.

    Raises DataError, with the remedy, for a feature that trimesh ignores.
    """
    import trimesh

    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # errors are one line
    expected = _count_triangles(_document(path.read_bytes()))
    loaded = trimesh.load_mesh(path, process=False, skip_materials=True)
    vertices, faces = np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64)
    if len(faces) != expected:
        raise DataError(f"trimesh reads only {len(faces)} of its {expected} triangles")
    if (last := faces.max(initial=-1)) >= len(vertices):
        raise DataError(f"a face uses vertex {last + 1}, but the file has {len(vertices)}")
    return vertices, faces


def _count_triangles(gltf: dict[str, Any]) -> int:
    """The number of triangles in the scene. Raises DataError for an unsupported feature."""
    version = gltf["asset"]["version"]
    if not version.startswith("2."):
        raise DataError(f"is glTF {version}; export glTF 2.0")
    used, required = (set(gltf.get(f"extensions{kind}", [])) for kind in ("Used", "Required"))
    for extension in sorted(required | used & CHANGE_MESHES):
        if not extension.startswith(HARMLESS):
            raise DataError(f"uses {extension}, which is not read; export without this extension")
    for accessor in gltf.get("accessors", []):
        if "sparse" in accessor or "bufferView" not in accessor:
            raise DataError("has a sparse accessor, which is not read; export plain accessors")
    if len(gltf.get("scenes", [])) > 1:
        raise DataError("holds several scenes; export one scene")
    animated = {
        channel["target"].get("node")
        for animation in gltf.get("animations", [])
        for channel in animation["channels"]
    }
    triangles = 0
    seen = set()
    nodes = [(node, False) for scene in gltf.get("scenes", []) for node in scene.get("nodes", [])]
    while nodes:
        number, moving = nodes.pop()
        if number in seen:
            raise DataError(f"its nodes are not a tree: node {number} has several parents")
        seen.add(number)
        node = gltf["nodes"][number]
        moving |= number in animated
        if "camera" in node and ("mesh" in node or node.get("children")):
            raise DataError("attaches a mesh to a camera, which is not read; detach it")
        nodes += [(child, moving) for child in node.get("children", [])]
        if "mesh" not in node:
            continue
        if moving:
            raise DataError("animates its mesh; export each frame as a file without animation")
        if "skin" in node:
            raise DataError("poses its mesh by bones (a skin); apply the armature and export again")
        mesh = gltf["meshes"][node["mesh"]]
        if any(node.get("weights", mesh.get("weights", []))):
            raise DataError("shapes its mesh by morph targets; apply the shape keys, export again")
        triangles += sum(_triangles(gltf, primitive) for primitive in mesh["primitives"])
    return triangles


def _triangles(gltf: dict[str, Any], primitive: dict[str, Any]) -> int:
    if primitive.get("mode", 4) != 4:
        raise DataError("stores points, lines, strips or fans; export triangles")
    positions = gltf["accessors"][primitive["attributes"]["POSITION"]]
    if positions["componentType"] != 5126:
        raise DataError("stores positions as integers; export without quantisation")
    if positions["type"] != "VEC3":
        raise DataError(f"stores positions of type {positions['type']}; export VEC3")
    corners = gltf["accessors"][primitive["indices"]] if "indices" in primitive else positions
    return corners["count"] // 3


def _document(data: bytes) -> dict[str, Any]:
    """The JSON part of .glb or .gltf data."""
    if not data.startswith(b"glTF"):
        if data.startswith(b"\xef\xbb\xbf"):
            raise DataError("starts with a byte-order mark, which glTF forbids; remove it")
        return json.loads(data)
    version, _, length = struct.unpack_from("<3I", data, 4)
    if version != 2:
        raise DataError(f"is glTF {version}; export glTF 2.0")
    return json.loads(data[20 : 20 + length])
