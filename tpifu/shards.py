"""Parquet shards: how meshes, views and points lie on disk.

A folder holds one kind of rows in few files, `SPLIT-00000.parquet`, ...; rows are sorted, a row
group holds what is read together, nothing depends on the time or the machine, so that shards
written twice are byte-equal. Schema version, units and provenance stand as JSON under the key
`tpifu` of each file's metadata. A frame's key is (split, clip, frame): `clip` names the SURREAL
clip ("run0/03_walk_c0001"), `frame` counts its kept frames from 0.
"""

import functools
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int, Int8, Int16, Int32, UInt8
from PIL import Image

from tpifu.errors import DataError
from tpifu.mesh import Mesh

Kind = Literal["meshes", "views", "points"]
VERSION = 3
SPLITS = ("train", "validation", "test", "unseen_motion")
HELD_OUT = ("test", "unseen_motion")
"""What models are measured on; validation only tells which of a training's checkpoints to keep."""
SHARD_BYTES = 100 * 2**20
POINT_HALF = 2.56
"""Metres: stored coordinates lie in [-2.56, 2.56], in steps of 78 micrometres."""
POINT_STEP = POINT_HALF / 32767

_KEY: list[Any] = [("split", pa.string()), ("sequence", pa.string()), ("clip", pa.string())]
SCHEMAS: dict[Kind, pa.Schema] = {
    "meshes": pa.schema(
        [
            *_KEY,
            ("frame", pa.int32()),
            ("source_frame", pa.int32()),  # index in the SURREAL clip
            ("gender", pa.string()),
            ("topology", pa.int32()),  # row of faces.parquet
            ("vertices", pa.list_(pa.float32())),  # x0 y0 z0 x1 ..., metres, pelvis at the origin
        ]
    ),
    "views": pa.schema(
        [
            *_KEY,
            ("view", pa.int16()),
            ("frame", pa.int32()),
            ("yaw", pa.float32()),  # degrees about +y
            ("calib", pa.list_(pa.float32())),  # 3x4 row by row, world -> ndc
            ("image", pa.binary()),  # PNG: grey (or RGB) and mask as alpha
        ]
    ),
    "points": pa.schema(
        [
            *_KEY,
            ("frame", pa.int32()),
            ("points", pa.binary()),  # `pack_codes`, in steps of metadata `point_step` metres
            ("inside", pa.binary()),  # one bit a point, first point in the highest bit
            ("grid", pa.binary()),  # splits in HELD_OUT: one bit a cell, x slowest; else null
        ]
    ),
}

_COLUMNS: dict[Kind, dict[str, list[str]]] = {
    "meshes": {
        "use_dictionary": [name for name, _ in _KEY],
        # The bytes of like magnitude together: 15 % smaller, and faster to write and to read.
        "use_byte_stream_split": ["vertices.list.element"],
    },
    "views": {"use_dictionary": [name for name, _ in _KEY]},
    "points": {"use_dictionary": [name for name, _ in _KEY]},
}

_FACES_NAME = "faces.parquet"
_FACES = pa.schema(
    [
        ("topology", pa.int32()),
        ("faces", pa.list_(pa.int32())),  # three vertices a face
        ("joints", pa.list_(pa.int8())),  # a vertex's SMPL joint; null without a skeleton
    ]
)
_MESH = SCHEMAS["meshes"].names

Group = list[dict[str, Any]]
"""The rows of a row group."""


@dataclass(frozen=True)
class MeshFrame:
    """One posed mesh and where it comes from."""

    split: str
    sequence: str
    clip: str
    frame: int
    source_frame: int
    gender: str
    mesh: Mesh
    joints: Int8[np.ndarray, " v"] | None = None
    """The SMPL joint that each vertex follows most; None for a mesh without a skeleton."""


def item_seed(seed: int, clip: str, frame: int) -> list[int]:
    """Seed of everything random about one frame, whatever process or order it is handled in."""
    return [seed, zlib.crc32(clip.encode()), frame]


def png(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Encode (grey, mask) or (r, g, b, mask) pixels losslessly."""
    mode = {2: "LA", 4: "RGBA"}[pixels.shape[2]]
    buffer = io.BytesIO()
    image = Image.frombytes(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels).tobytes())
    # Run lengths alone suit a smooth body before nothing: half the time of zlib's default, and the
    # same size.
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def decode_png(data: bytes) -> UInt8[np.ndarray, "h w c"]:
    """Inverse of `png`."""
    return np.array(Image.open(io.BytesIO(data)))


def quantise(points: Float[np.ndarray, "n 3"]) -> Int16[np.ndarray, "n 3"]:
    """Nearest code of each coordinate; what lies beyond POINT_HALF is moved onto it."""
    return np.rint(points / POINT_STEP).clip(-32767, 32767).astype(np.int16)


def dequantise(codes: Int16[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """float32 metres of stored codes."""
    return codes.astype(np.float32) * np.float32(POINT_STEP)


def pack_codes(codes: Int16[np.ndarray, "n 3"]) -> bytes:
    """x0 y0 z0 x1 ..., two bytes each, the lower one first. Parquet itself would store four."""
    return codes.astype("<i2").tobytes()


def unpack_codes(data: bytes) -> Int16[np.ndarray, "n 3"]:
    """Inverse of `pack_codes`."""
    return np.frombuffer(data, "<i2").reshape(-1, 3)


def unpack_bits(bits: bytes, count: int) -> Bool[np.ndarray, " n"]:
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A scratch folder that takes `folder`'s place when the block ends well, and vanishes when it
    does not."""
    scratch = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)


class ShardWriter:
    """Row groups -> a folder's SPLIT-00000.parquet, ...; a shard has its name once it is whole.

    Given a folder that holds finished shards, the next ones follow them.
    """

    def __init__(self, folder: Path, kind: Kind, metadata: dict[str, Any]) -> None:
        header = {"kind": kind, "version": VERSION, **metadata}
        self._schema = SCHEMAS[kind].with_metadata({"tpifu": json.dumps(header, sort_keys=True)})
        self._folder, self._kind = folder, kind
        self._split, self._written = "", 0
        self._file: pq.ParquetWriter | None = None

    def add(self, groups: Iterable[Group]) -> bool:
        """Write row groups of one split, which share a shard. True: all before them are in finished
        shards."""
        finished = False
        for number, rows in enumerate(groups):
            split = rows[0]["split"]
            if number == 0 and (split != self._split or self._written > SHARD_BYTES):
                self.close()
                finished = True
            if self._file is None:
                self._split, self._written = split, 0
                self._file = pq.ParquetWriter(
                    self._path.with_suffix(".part"),
                    self._schema,
                    compression="zstd",
                    write_page_checksum=True,
                    **_COLUMNS[self._kind],
                )
            table = pa.Table.from_pylist(rows, schema=self._schema)
            self._file.write_table(table, row_group_size=len(rows))
            # A table is about as large as its file: images are compressed, coordinates resist.
            self._written += table.nbytes
        return finished

    def close(self) -> None:
        """Finish the shard that is being written, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.with_suffix(".part").rename(self._path)

    def give_up(self) -> None:
        """Drop the shard that is being written."""
        if self._file is not None:
            with suppress(OSError):  # a full disk
                self._file.close()
            self._file = None
            self._path.with_suffix(".part").unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        number = len(list(self._folder.glob(f"{self._split}-*.parquet")))
        return self._folder / f"{self._split}-{number:05d}.parquet"


def write(folder: Path, kind: Kind, groups: Iterable[Group], metadata: dict[str, Any]) -> None:
    """Write `groups`, each a row group of one split; `folder` appears whole or not at all.

    Rows come sorted: by split, clip, (view,) frame. Raises DataError if there are none.
    """
    with whole_folder(folder) as scratch:
        writer = ShardWriter(scratch, kind, metadata)
        for rows in groups:
            writer.add([rows])
        writer.close()
        if not any(scratch.iterdir()):
            raise DataError(f"{folder}: nothing to write")


class Topologies:
    """Distinct faces and joints, numbered in the order they are first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[bytes, bytes | None], int] = {}

    def number(self, faces: Int[np.ndarray, "f 3"], joints: Int8[np.ndarray, " v"] | None) -> int:
        key = faces.astype(np.int32).tobytes(), None if joints is None else joints.tobytes()
        return self._numbers.setdefault(key, len(self._numbers))

    def write(self, folder: Path) -> None:
        """`folder`/faces.parquet."""
        table = pa.Table.from_pylist(
            [
                {
                    "topology": number,
                    "faces": np.frombuffer(faces, np.int32),
                    "joints": None if joints is None else np.frombuffer(joints, np.int8),
                }
                for (faces, joints), number in self._numbers.items()
            ],
            schema=_FACES,
        )
        pq.write_table(table, folder / _FACES_NAME, compression="zstd")


def mesh_row(frame: MeshFrame, topology: int) -> dict[str, Any]:
    return {
        "split": frame.split,
        "sequence": frame.sequence,
        "clip": frame.clip,
        "frame": frame.frame,
        "source_frame": frame.source_frame,
        "gender": frame.gender,
        "topology": topology,
        "vertices": frame.mesh.vertices.ravel(),
    }


def write_meshes(folder: Path, clips: Iterable[list[MeshFrame]], metadata: dict[str, Any]) -> None:
    """Write posed meshes, a row group a clip, each distinct `faces` and `joints` once in
    faces.parquet; `folder` appears whole or not at all."""
    topologies = Topologies()
    with whole_folder(folder) as scratch:
        writer = ShardWriter(scratch, "meshes", metadata)
        for clip in clips:
            numbers = [topologies.number(frame.mesh.faces, frame.joints) for frame in clip]
            writer.add([[mesh_row(*pair) for pair in zip(clip, numbers, strict=True)]])
        writer.close()
        topologies.write(scratch)


class Shards:
    """A shard folder opened for reading: `index` has every row's key, `read` fetches rows when
    asked."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        """Raises DataError if `folder` is missing, empty, or holds another kind or version of
        rows."""
        self.folder = folder
        self.paths = [
            path for split in SPLITS for path in sorted(folder.glob(f"{split}-*.parquet"))
        ]
        if not self.paths:
            state = "holds no *.parquet shards" if folder.is_dir() else "no such folder"
            raise DataError(
                f"{folder}: {state}; write {kind} there first (dvc repro, or tpifu render)"
            )
        keys = ["split", "sequence", "clip", *(["view"] if kind == "views" else []), "frame"]
        self._files: dict[int, pq.ParquetFile] = {}
        self.metadata: dict[str, Any] = {}
        columns: dict[str, list[np.ndarray]] = {key: [] for key in keys}
        # By row: its file, row group, and row in that.
        locations: list[Int32[np.ndarray, "n 3"]] = []
        self.groups: list[tuple[Path, int]] = []
        """File and number of every row group, in the order of their rows."""
        for number, path in enumerate(self.paths):
            with _readable(path), pq.ParquetFile(path) as file:
                header = json.loads((file.schema_arrow.metadata or {}).get(b"tpifu", b"{}"))
                if (header.get("kind"), header.get("version")) != (kind, VERSION):
                    found = f"{header.get('kind', 'foreign')} version {header.get('version', '?')}"
                    raise DataError(
                        f"{path}: {found}, expected {kind} version {VERSION}; write it anew"
                    )
                table = file.read(columns=keys)
                sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
            self.metadata = header
            for key in keys:
                columns[key].append(_column(table[key]))
            self.groups += [(path, group) for group in range(len(sizes))]
            group = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
            row = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
            locations.append(np.stack([np.full_like(row, number), group, row], axis=1))
        self._locations = np.concatenate(locations)
        self.index: dict[str, np.ndarray] = {
            key: np.concatenate(column) for key, column in columns.items()
        }

    def __len__(self) -> int:
        return len(self._locations)

    def read(self, rows: Sequence[int], columns: list[str]) -> list[dict[str, Any]]:
        """Rows by number, in the order asked; each row group is read once, those of a file
        together."""
        locations = [tuple(location) for location in self._locations[list(rows)].tolist()]
        tables: dict[int, pa.Table] = {}
        starts: dict[tuple[int, int], int] = {}  # of each row group in its file's table
        for number in {number for number, _, _ in locations}:
            groups = sorted({group for file, group, _ in locations if file == number})
            file = self._open(number)
            with _readable(self.paths[number]):
                # Few small columns: threads cost more than decoding them here.
                tables[number] = file.read_row_groups(groups, columns=columns, use_threads=False)
            lengths = [file.metadata.row_group(group).num_rows for group in groups]
            starts |= {
                (number, group): start
                for group, start in zip(groups, accumulate(lengths, initial=0), strict=False)
            }
        return [
            {
                column: _value(tables[number][column][starts[number, group] + offset])
                for column in columns
            }
            for number, group, offset in locations
        ]

    def _open(self, number: int) -> pq.ParquetFile:
        # Opened on first use, so that a Shards sent to a worker process opens its own handles.
        if number not in self._files:
            self._files[number] = _mapped(self.paths[number])
        return self._files[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}


def _mapped(path: Path) -> pq.ParquetFile:
    # Buffering ahead is for remote files: here it copies what is mapped already.
    return pq.ParquetFile(path, memory_map=True, pre_buffer=False, page_checksum_verification=True)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        fault = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file ({fault}); write it anew") from error


def _column(column: pa.ChunkedArray) -> np.ndarray:
    """Values of a key. Equal strings are one object: an index of millions of rows stays small."""
    if not pa.types.is_string(column.type):
        return column.to_numpy()
    coded = column.combine_chunks().dictionary_encode()
    return np.array(coded.dictionary.to_pylist(), dtype=object)[coded.indices.to_numpy()]


def _value(scalar: Any) -> Any:
    if isinstance(scalar, pa.ListScalar):
        return scalar.values.to_numpy() if scalar.values is not None else None
    return scalar.as_py()


@dataclass(frozen=True)
class StoredClip:
    """Where the meshes of one clip lie: sent to another process it stays small, however many clips
    the folder holds."""

    shard: Path
    group: int

    def read(self) -> list[MeshFrame]:
        """All frames of the clip."""
        with _readable(self.shard), _mapped(self.shard) as file:
            table = file.read_row_group(self.group, columns=_MESH, use_threads=False)
        faces = _faces(self.shard.parent)
        return [
            _mesh_frame({name: _value(table[name][row]) for name in _MESH}, faces)
            for row in range(len(table))
        ]


class MeshReader:
    """Posed meshes of a `meshes` folder, read clip by clip."""

    def __init__(self, folder: Path) -> None:
        self.shards = Shards(folder, "meshes")
        self._faces = _faces(folder)

    def clip(self, split: str, name: str) -> list[int]:
        """Row numbers of the frames of one clip."""
        index = self.shards.index
        return np.flatnonzero((index["split"] == split) & (index["clip"] == name)).tolist()

    def clips(self) -> list[StoredClip]:
        """Every clip, in the order they are stored."""
        return [StoredClip(path.absolute(), group) for path, group in self.shards.groups]

    def read(self, rows: Sequence[int]) -> list[MeshFrame]:
        return [_mesh_frame(row, self._faces) for row in self.shards.read(rows, _MESH)]


_Faces = list[tuple[Int32[np.ndarray, "f 3"], Int8[np.ndarray, " v"] | None]]


def _faces(folder: Path) -> _Faces:
    """Faces and joints of each topology of a `meshes` folder."""
    path = folder / _FACES_NAME
    with _readable(path):
        return _read_faces(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _read_faces(path: Path, _written: int) -> _Faces:
    # A worker reads clip after clip of one folder; each mesh of a topology shares its arrays.
    table = pq.read_table(path, use_threads=False)
    return [
        (_value(faces).reshape(-1, 3), _value(joints))
        for faces, joints in zip(table["faces"], table["joints"], strict=True)
    ]


def _mesh_frame(row: dict[str, Any], topologies: _Faces) -> MeshFrame:
    faces, joints = topologies[row["topology"]]
    mesh = Mesh(row["vertices"].reshape(-1, 3), faces)
    own = {name: row[name] for name in _MESH if name not in ("topology", "vertices")}
    return MeshFrame(**own, mesh=mesh, joints=joints)


def digest(folders: Sequence[Path]) -> str:
    """SHA-256 over the shards' bytes: tells whether two runs had the same data."""
    total = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.parquet")):
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
