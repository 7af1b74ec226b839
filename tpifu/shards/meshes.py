"""Mesh shards: vertices of each frame, faces of each topology."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int, Int8, Int32

from tpifu.errors import DataError
from tpifu.files import digest
from tpifu.geometry.mesh import Mesh
from tpifu.shards.reader import Shards, mapped, readable, row_of
from tpifu.shards.schema import FACES_NAME, SCHEMAS
from tpifu.shards.writer import ShardWriter, header

_FACES = pa.schema(
    [
        ("topology", pa.int32()),
        ("faces", pa.list_(pa.int32())),  # three vertices per face
        ("joints", pa.list_(pa.int8())),  # SMPL joint of each vertex; null without a skeleton
    ]
)
_MESH = SCHEMAS["meshes"].names
_JOINTS = range(24)  # SMPL's
_NONE = np.zeros((0, 3), np.int32)


@dataclass(frozen=True)
class MeshFrame:
    """One posed mesh and its origin."""

    split: str
    sequence: str
    clip: str
    frame: int
    source_frame: int
    gender: str
    mesh: Mesh
    joints: Int8[np.ndarray, " v"] | None = None
    """For each vertex, the SMPL joint with the largest weight; None without a skeleton."""

    def key(self) -> dict[str, Any]:
        """The columns that meshes, views and points share."""
        names = ("split", "sequence", "clip", "frame")
        return {name: getattr(self, name) for name in names}


class Topologies:
    """Distinct pairs of faces and joints, numbered in the order of first use."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[bytes, bytes | None], int] = {}

    def number(self, faces: Int[np.ndarray, "f 3"], joints: Int8[np.ndarray, " v"] | None) -> int:
        key = faces.astype(np.int32).tobytes(), None if joints is None else joints.tobytes()
        return self._numbers.setdefault(key, len(self._numbers))

    def write(self, folder: Path, metadata: dict[str, Any]) -> None:
        """Write `folder`/faces.parquet, with the metadata of the meshes."""
        table = pa.Table.from_pylist(
            [
                {
                    "topology": number,
                    "faces": np.frombuffer(faces, np.int32),
                    "joints": None if joints is None else np.frombuffer(joints, np.int8),
                }
                for (faces, joints), number in self._numbers.items()
            ],
            schema=_FACES.with_metadata(header("meshes", metadata)),
        )
        pq.write_table(table, folder / FACES_NAME, compression="zstd")


def mesh_row(frame: MeshFrame, topology: int) -> dict[str, Any]:
    return {
        **frame.key(),
        "source_frame": frame.source_frame,
        "gender": frame.gender,
        "topology": topology,
        "vertices": frame.mesh.vertices.ravel(),
    }


def write_meshes(folder: Path, clips: Sequence[list[MeshFrame]], metadata: dict[str, Any]) -> None:
    """Write a new `meshes` folder, with one row group per clip. A digest of the frames is added to
    the metadata."""
    frames = [
        digest(str(frame.key()).encode(), frame.mesh.vertices.tobytes(), frame.mesh.faces.tobytes())
        for clip in clips
        for frame in clip
    ]
    metadata = {**metadata, "digest": digest("".join(frames).encode())}
    topologies = Topologies()
    writer = ShardWriter(folder, "meshes", metadata)
    for clip in clips:
        numbers = [topologies.number(frame.mesh.faces, frame.joints) for frame in clip]
        writer.add([[mesh_row(*pair) for pair in zip(clip, numbers, strict=True)]])
    writer.finish()
    topologies.write(folder, metadata)


@dataclass(frozen=True)
class StoredClip:
    """The location of one clip's meshes, which is cheap to send to another process."""

    shard: Path
    group: int

    def read(self) -> list[MeshFrame]:
        """All frames of the clip."""
        with readable(self.shard), mapped(self.shard) as file:
            table = file.read_row_group(self.group, columns=_MESH, use_threads=False)
        faces = _faces(self.shard.parent)
        return [_mesh_frame(row_of(table, row), faces) for row in range(len(table))]


class MeshReader:
    """Posed meshes of a `meshes` folder, read clip by clip."""

    def __init__(self, folder: Path) -> None:
        self.shards = Shards(folder, "meshes")
        self._faces = _faces(folder)

    def clip(self, split: str, name: str) -> list[int]:
        """Row numbers of the frames of one clip."""
        return self.shards.rows(split, name)

    def clips(self) -> list[StoredClip]:
        """All clips in stored order."""
        return [StoredClip(path.absolute(), group) for path, group in self.shards.groups]

    def read(self, rows: Sequence[int]) -> list[MeshFrame]:
        return [_mesh_frame(row, self._faces) for row in self.shards.read(rows, _MESH)]


_Faces = list[tuple[Int32[np.ndarray, "f 3"], Int8[np.ndarray, " v"] | None]]


def _faces(folder: Path) -> _Faces:
    """Faces and joints of each topology of a `meshes` folder."""
    path = folder / FACES_NAME
    with readable(path), mapped(path) as file:
        table = file.read(columns=_FACES.names, use_threads=False)
        rows = [row_of(table, row) for row in range(len(table))]
        return [(row["faces"].reshape(-1, 3), row["joints"]) for row in rows]


def _mesh_frame(row: dict[str, Any], topologies: _Faces) -> MeshFrame:
    """Raises DataError if vertices, faces and joints do not belong together."""
    count, rest = divmod(len(row["vertices"]), 3)
    number = row["topology"]
    faces, joints = topologies[number] if 0 <= number < len(topologies) else (_NONE, None)
    if rest or not faces.size or faces.min() < 0 or faces.max() >= count:
        raise DataError("a stored mesh has faces without vertices; write the meshes again")
    if joints is not None and (len(joints) != count or not np.isin(joints, _JOINTS).all()):
        raise DataError("a stored mesh has vertices without joints; write the meshes again")
    mesh = Mesh(row["vertices"].reshape(-1, 3), faces)
    own = {name: row[name] for name in _MESH if name not in ("topology", "vertices")}
    return MeshFrame(**own, mesh=mesh, joints=joints)
