"""Meshes of a clip as one animated glTF 2.0 file, which Blender, three.js and model viewers play.

Each frame has its own node, because reconstructions share no vertices; an animation sets the scale
of one node after another to 1 and of all others to 0. A frame without a mesh has no node, so
nothing is visible during that frame.
"""

import json
import shutil
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from tpifu.errors import DataError
from tpifu.files import whole_file
from tpifu.geometry.mesh import Mesh

LARGEST = 2**32 - 1
"""Maximum size in bytes: a .glb stores its length in 32 bits."""
_FLOAT, _UINT = 5126, 5125


class _Buffer:
    """Arrays written to a file one after the other, and their accessors."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, kind: str) -> int:
        """Store float32 or uint32 numbers; returns the accessor's index."""
        place = {"buffer": 0, "byteOffset": self.file.tell(), "byteLength": array.nbytes}
        self.file.write(array.astype(array.dtype.newbyteorder("<")).tobytes())
        self.accessors.append(
            {
                "bufferView": len(self.views),
                "componentType": _UINT if array.dtype == np.uint32 else _FLOAT,
                "count": len(array),
                "type": kind,
                "min": np.atleast_1d(array.min(axis=0)).tolist(),
                "max": np.atleast_1d(array.max(axis=0)).tolist(),
            }
        )
        self.views.append(place)
        return len(self.accessors) - 1


def write_animation(meshes: Iterable[Mesh | None], path: Path, fps: float) -> None:
    """Write a .glb that shows `meshes` in sequence at `fps` frames per second. None leaves an empty
    frame. The file is written atomically.

    Holds one mesh at a time in memory. Raises DataError if the file would be too large for a .glb.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The JSON comes first in a .glb but depends on the arrays, which therefore go to a temporary
    # file.
    with tempfile.TemporaryFile(dir=path.parent) as binary:
        buffer = _Buffer(binary)
        primitives = [None if mesh is None else _primitive(mesh, buffer) for mesh in meshes]
        document = _document(primitives, buffer, fps)
        _write_container(document, binary, path)


def _primitive(mesh: Mesh, buffer: _Buffer) -> dict[str, Any]:
    normals = mesh.vertex_normals()
    normals[~normals.any(axis=1)] = 0, 1, 0  # vertices without a face; glTF needs unit length
    attributes = {
        "POSITION": buffer.add(mesh.vertices.astype(np.float32), "VEC3"),
        "NORMAL": buffer.add(normals.astype(np.float32), "VEC3"),
    }
    faces = buffer.add(mesh.faces.astype(np.uint32).ravel(), "SCALAR")
    return {"attributes": attributes, "indices": faces, "material": 0}


def _document(
    primitives: list[dict[str, Any] | None], buffer: _Buffer, fps: float
) -> dict[str, Any]:
    """The scene and its animation. Adds the animation's keyframes to `buffer`."""
    nodes: list[dict[str, Any]] = []
    meshes, samplers, channels = [], [], []
    for frame, primitive in enumerate(primitives):
        if primitive is None:
            continue
        # Viewers without animation show the first mesh.
        visible = 0.0 if nodes else 1.0
        node = {"mesh": len(nodes), "name": f"frame_{frame:04d}", "scale": [visible] * 3}
        # Scale by time: each mesh is visible from its own time to the next frame's. The last frame
        # stays visible at the end.
        end = 1.0 if frame == len(primitives) - 1 else 0.0
        keys = {0.0: 0.0, frame / fps: 1.0, (frame + 1) / fps: 0.0, len(primitives) / fps: end}
        times = buffer.add(np.array(list(keys), np.float32), "SCALAR")
        scale = np.array(list(keys.values()), np.float32)
        scales = buffer.add(np.repeat(scale[:, None], 3, axis=1), "VEC3")
        channels.append({"sampler": len(nodes), "target": {"node": len(nodes), "path": "scale"}})
        samplers.append({"input": times, "output": scales, "interpolation": "STEP"})
        meshes.append({"primitives": [primitive]})
        nodes.append(node)
    clay = {"baseColorFactor": [0.79, 0.72, 0.66, 1.0], "metallicFactor": 0.0}
    return {
        "asset": {"version": "2.0", "generator": "tpifu"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": [{"pbrMetallicRoughness": clay, "doubleSided": True}],
        "animations": [{"name": "clip", "samplers": samplers, "channels": channels}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.file.tell()}],
    }


def _write_container(document: dict[str, Any], binary: IO[bytes], path: Path) -> None:
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    length = binary.tell()  # 4-byte numbers need no padding
    size = 12 + 8 + len(text) + 8 + length
    if size > LARGEST:
        raise DataError(
            f"{path}: would be larger than {LARGEST / 2**30:.3g} GiB, the limit of .glb files; use "
            "fewer frames, a lower evaluate.resolution or --no-pictures"
        )
    with whole_file(path) as part, part.open("wb") as file:
        file.write(struct.pack("<III", 0x46546C67, 2, size))
        file.write(struct.pack("<II", len(text), 0x4E4F534A) + text)
        file.write(struct.pack("<II", length, 0x004E4942))
        binary.seek(0)
        shutil.copyfileobj(binary, file)
