"""Meshes of a clip as one animated glTF 2.0 file, which Blender, three.js and model viewers play.

Every frame is a node of its own, since reconstructions share no vertices; an animation switches the
nodes' scale between 0 and 1, one frame after the other. A frame without a mesh has no node: nothing
is seen during its time.
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
"""Bytes: a .glb states its length in 32 bits."""
_FLOAT, _UINT = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963


class _Buffer:
    """Arrays end to end in a file, with the accessors that find them."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, kind: str, target: int | None = None) -> int:
        """The number of the accessor."""
        code = _UINT if array.dtype == np.uint32 else _FLOAT
        view = {"buffer": 0, "byteOffset": self.file.tell(), "byteLength": array.nbytes}
        self.views.append(view | ({"target": target} if target else {}))
        self.file.write(array.astype(array.dtype.newbyteorder("<")).tobytes())
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


def write_animation(meshes: Iterable[Mesh | None], path: Path, fps: float) -> None:
    """Write a .glb that shows `meshes` in sequence at `fps` frames per second. None leaves an empty
    frame. The file appears whole or not at all.

    One mesh is held at a time. Raises DataError if the file would be larger than a .glb can be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The description comes first in a .glb but follows from the arrays, which wait in a file
    # without a name.
    with tempfile.TemporaryFile(dir=path.parent) as binary:
        buffer = _Buffer(binary)
        primitives = []
        for mesh in meshes:
            primitives.append(None if mesh is None else _primitive(mesh, buffer))
            _require_room(binary.tell(), path)
        document = _document(primitives, buffer, fps)
        _write_container(document, binary, path)


def _primitive(mesh: Mesh, buffer: _Buffer) -> dict[str, Any]:
    attributes = {
        "POSITION": buffer.add(mesh.vertices.astype(np.float32), "VEC3", _ARRAY_BUFFER),
        "NORMAL": buffer.add(_unit(mesh.vertex_normals()), "VEC3", _ARRAY_BUFFER),
    }
    faces = buffer.add(mesh.faces.astype(np.uint32).ravel(), "SCALAR", _ELEMENT_ARRAY_BUFFER)
    return {"attributes": attributes, "indices": faces, "material": 0}


def _document(
    primitives: list[dict[str, Any] | None], buffer: _Buffer, fps: float
) -> dict[str, Any]:
    """The scene and its animation, of which the keys are added to `buffer`."""
    nodes: list[dict[str, Any]] = []
    meshes, samplers, channels = [], [], []
    for frame, primitive in enumerate(primitives):
        if primitive is None:
            continue
        # What plays no animation shows the first mesh.
        visible = 0.0 if nodes else 1.0
        node = {"mesh": len(nodes), "name": f"frame_{frame:04d}", "scale": [visible] * 3}
        # Scale by time: hidden, shown from its own time on, hidden from the next one's to the end;
        # but the clip ends with its last frame, not with nothing.
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


def _unit(normals: np.ndarray) -> np.ndarray:
    """float32 of length 1; a vertex without a face points up."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0.5, normals, [0.0, 1.0, 0.0]).astype(np.float32)


def _write_container(document: dict[str, Any], binary: IO[bytes], path: Path) -> None:
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    length = binary.tell()  # numbers of 4 bytes alone: needs no padding
    size = 12 + 8 + len(text) + 8 + length
    _require_room(size, path)
    with whole_file(path) as part, part.open("wb") as file:
        file.write(struct.pack("<III", 0x46546C67, 2, size))
        file.write(struct.pack("<II", len(text), 0x4E4F534A) + text)
        file.write(struct.pack("<II", length, 0x004E4942))
        binary.seek(0)
        shutil.copyfileobj(binary, file)


def _require_room(size: int, path: Path) -> None:
    if size > LARGEST:
        raise DataError(
            f"{path}: would be larger than {LARGEST / 2**30:.3g} GiB, which a .glb cannot be: take "
            "fewer frames or a lower evaluate.resolution, or leave it out with --no-pictures"
        )
