"""Meshes of a clip as one animated glTF 2.0 file, which Blender, three.js and model viewers play.

Every frame is a node of its own, since reconstructions share no vertices; an animation switches the
nodes' scale between 0 and 1, one frame after the other. A frame without a mesh has no node: nothing
is seen during its time.
"""

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tpifu.mesh import Mesh

_FLOAT, _UINT = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963


class _Buffer:
    """Arrays end to end, with the accessors that find them."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, kind: str, target: int | None = None) -> int:
        """The number of the accessor."""
        code = _UINT if array.dtype == np.uint32 else _FLOAT
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view | ({"target": target} if target else {}))
        self.data += array.astype(array.dtype.newbyteorder("<")).tobytes()
        rows = array.reshape(len(array), -1)
        self.accessors.append(
            {
                "bufferView": len(self.views) - 1,
                "componentType": code,
                "count": len(array),
                "type": kind,
                "min": rows.min(axis=0).tolist(),
                "max": rows.max(axis=0).tolist(),
            }
        )
        return len(self.accessors) - 1


def write_animation(meshes: Sequence[Mesh | None], path: Path, fps: float) -> None:
    """Write a .glb that shows `meshes` one after the other, `fps` a second, and nothing in the time
    of a None; whole or not at all."""
    buffer = _Buffer()
    nodes: list[dict[str, Any]] = []
    gltf_meshes, samplers, channels = [], [], []
    for frame, mesh in enumerate(meshes):
        if mesh is None:
            continue
        attributes = {
            "POSITION": buffer.add(mesh.vertices.astype(np.float32), "VEC3", _ARRAY_BUFFER),
            "NORMAL": buffer.add(_unit(mesh.vertex_normals()), "VEC3", _ARRAY_BUFFER),
        }
        faces = buffer.add(mesh.faces.astype(np.uint32).ravel(), "SCALAR", _ELEMENT_ARRAY_BUFFER)
        primitive = {"attributes": attributes, "indices": faces, "material": 0}
        # What plays no animation shows the first mesh.
        visible = 0.0 if nodes else 1.0
        node = {"mesh": len(nodes), "name": f"frame_{frame:04d}", "scale": [visible] * 3}
        # Scale by time: hidden, shown from its own time on, hidden from the next one's to the end;
        # but the clip ends with its last frame, not with nothing.
        end = 1.0 if frame == len(meshes) - 1 else 0.0
        keys = {0.0: 0.0, frame / fps: 1.0, (frame + 1) / fps: 0.0, len(meshes) / fps: end}
        times = buffer.add(np.array(list(keys), np.float32), "SCALAR")
        scale = np.array(list(keys.values()), np.float32)
        scales = buffer.add(np.repeat(scale[:, None], 3, axis=1), "VEC3")
        channels.append({"sampler": len(nodes), "target": {"node": len(nodes), "path": "scale"}})
        samplers.append({"input": times, "output": scales, "interpolation": "STEP"})
        gltf_meshes.append({"primitives": [primitive]})
        nodes.append(node)
    clay = {"baseColorFactor": [0.79, 0.72, 0.66, 1.0], "metallicFactor": 0.0}
    document = {
        "asset": {"version": "2.0", "generator": "tpifu"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": gltf_meshes,
        "materials": [{"pbrMetallicRoughness": clay, "doubleSided": True}],
        "animations": [{"name": "clip", "samplers": samplers, "channels": channels}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(_container(document, bytes(buffer.data)))
    os.replace(part, path)


def _unit(normals: np.ndarray) -> np.ndarray:
    """float32 of length 1; a vertex without a face points up."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0.5, normals, [0.0, 1.0, 0.0]).astype(np.float32)


def _container(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks
