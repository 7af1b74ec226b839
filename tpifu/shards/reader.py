"""Reading Parquet shards of meshes, views and points.

A folder contains one kind of rows in files `SPLIT-00000.parquet`, ... Rows are sorted, and a row
group holds rows that are read together. Shards do not depend on time or machine, so rewriting them
gives equal bytes. The metadata of each file contain the schema version, units and provenance as
JSON under the key `tpifu`. They are the same in all files of a folder; the metadata of views and
points contain the metadata of their meshes, with a digest of the meshes. The key of a frame is
(split, clip, frame): `clip` is the name of the SURREAL clip ("run0/03_walk_c0001"), `frame` the
index among its kept frames.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tpifu.errors import DataError
from tpifu.shards.schema import FACES_NAME, HELD_OUT, OPTIONAL, SCHEMAS, SPLITS, VERSION, Kind


class Shards:
    """A shard folder opened for reading: `index` has the keys of all rows, `read` fetches rows."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        """Raises DataError if `folder` is missing, empty, of another kind or version, or mixed."""
        self.folder = folder
        self.paths = [
            path for split in SPLITS for path in sorted(folder.glob(f"{split}-*.parquet"))
        ]
        if not self.paths:
            state = "has no *.parquet shards" if folder.is_dir() else "no such folder"
            raise DataError(
                f"{folder}: {state}; write {kind} there first (dvc repro, or tpifu render)"
            )
        keys = ["split", "sequence", "clip", *(["view"] if kind == "views" else []), "frame"]
        self._files: dict[Path, pq.ParquetFile] = {}
        self.metadata: dict[str, Any] = {}
        self.groups: list[tuple[Path, int]] = []
        """File of each row group and its index in the file, in row order."""
        starts = [0]
        columns: dict[str, list[np.ndarray]] = {key: [] for key in keys}
        for path in [*self.paths, *([folder / FACES_NAME] if kind == "meshes" else [])]:
            with readable(path), pq.ParquetFile(path) as file:
                header = header_of(file)
                if header.get("kind", kind) != kind:
                    raise DataError(
                        f"{path}: holds {header['kind']}, not {kind}; pass the folder that holds "
                        f"both, or the folder of {kind}"
                    )
                if (header.get("kind"), header.get("version")) != (kind, VERSION):
                    found = f"{header.get('kind', 'foreign')} version {header.get('version', '?')}"
                    raise DataError(
                        f"{path}: {found}, expected {kind} version {VERSION}; write it again"
                    )
                if header != (self.metadata or header):
                    raise DataError(
                        f"{path}: other settings or meshes than {self.paths[0].name}; write the "
                        f"whole folder {folder} again"
                    )
                self.metadata = header
                if path.name == FACES_NAME:
                    break
                if not file.schema_arrow.equals(SCHEMAS[kind]):
                    raise DataError(f"{path}: other columns than {kind}; write it again")
                table = file.read(columns=keys)
                groups = range(file.num_row_groups)
                counts = [file.metadata.row_group(group).num_rows for group in groups]
                if min(counts, default=0) < 0 or sum(counts) != len(table):
                    raise ValueError("wrong numbers of rows")
                for group, count in zip(groups, counts, strict=True):
                    self.groups.append((path, group))
                    starts.append(starts[-1] + count)
                for key in keys:
                    columns[key].append(_column(table[key]))
                if set(columns["split"][-1]) != {path.name.rsplit("-", 1)[0]}:
                    raise DataError(f"{path}: rows of another split; write it again")
        self._starts = np.array(starts)  # row numbers where row groups start, and the total
        self.index = {key: np.concatenate(column) for key, column in columns.items()}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, split: str, clip: str, **keys: int) -> list[int]:
        """Row numbers of one clip; `frame` and `view` narrow them down."""
        chosen = (self.index["split"] == split) & (self.index["clip"] == clip)
        for key, wanted in keys.items():
            chosen &= self.index[key] == wanted
        return np.flatnonzero(chosen).tolist()

    def read(self, rows: Sequence[int], columns: list[str]) -> list[dict[str, Any]]:
        """Rows by number, in the given order. Each row group is read once."""
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        tables: dict[int, pa.Table] = {}
        for group in set(groups.tolist()):
            path, number = self.groups[group]
            with readable(path):
                # For a few small columns, threads cost more than decoding.
                tables[group] = self._open(path).read_row_group(
                    number, columns=columns, use_threads=False
                )
        offsets = np.asarray(rows) - self._starts[groups]
        return [
            row_of(tables[group].select(columns), offset)
            for group, offset in zip(groups.tolist(), offsets.tolist(), strict=True)
        ]

    def _open(self, path: Path) -> pq.ParquetFile:
        # Opened on first use, so that a copy in a worker process opens its own handles.
        if path not in self._files:
            self._files[path] = mapped(path)
        return self._files[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}


def require_same_meshes(*folders: Shards) -> None:
    """Raise DataError unless all views and points were made from the same meshes, and from the
    meshes among `folders`."""
    meshes = [
        shards.metadata if shards.metadata["kind"] == "meshes" else shards.metadata["meshes"]
        for shards in folders
    ]
    for shards, own in zip(folders, meshes, strict=True):
        if own != meshes[0]:
            raise DataError(
                f"{folders[0].folder} and {shards.folder} belong to different meshes; write both "
                "from the same meshes (dvc repro, or tpifu render)"
            )


def require_camera(folder: Path, views: Shards, size: int, window: float) -> None:
    """Raise DataError unless the images match the model's: `size` pixels over `window` metres."""
    camera = views.metadata
    if (camera["size"], camera["window"]) != (size, window):
        raise DataError(
            f"{folder}: images of {camera['size']} px over {camera['window']} m, but the model was "
            f"trained on {size} px over {window} m; render them with the model's size and window"
        )


def splits_of(points: Path) -> list[str]:
    """The held-out splits of a points folder, or all of its splits if none are held out."""
    present = {path.name.rsplit("-", 1)[0] for path in points.glob("*-*.parquet")}
    return [split for split in HELD_OUT if split in present] or sorted(present)


def mapped(path: Path) -> pq.ParquetFile:
    """Open a memory-mapped Parquet file with checksum verification."""
    # Pre-buffering is for remote files; here it would copy mapped memory.
    return pq.ParquetFile(path, memory_map=True, pre_buffer=False, page_checksum_verification=True)


class Metadata(dict[str, Any]):
    """Metadata of shards. Reading a missing key raises DataError."""

    def __missing__(self, key: str) -> Any:
        raise DataError(f"the metadata of the shards lack {key!r}; write the shards again")


def header_of(file: pq.ParquetFile) -> Metadata:
    """The metadata under the key `tpifu`; empty for a foreign file."""
    text = (file.schema_arrow.metadata or {}).get(b"tpifu", b"{}")
    header = json.loads(text, object_hook=Metadata)
    if not isinstance(header, Metadata):
        raise ValueError("its metadata are not a JSON object")
    return header


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors from reading `path` into DataError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: not a readable Parquet file ({reason}); write it again"
        ) from error


def _column(column: pa.ChunkedArray) -> np.ndarray:
    """Values of a key column. Equal strings share one object, which keeps large indices small.
    Raises ValueError for a missing value."""
    if column.null_count:
        raise ValueError("a key is missing")
    if not pa.types.is_string(column.type):
        return column.to_numpy()
    coded = column.combine_chunks().dictionary_encode()
    return np.array(coded.dictionary.to_pylist(), dtype=object)[coded.indices.to_numpy()]


def row_of(table: pa.Table, row: int) -> dict[str, Any]:
    """A row as Python values; lists are NumPy arrays. Raises DataError for a missing value."""
    values = {}
    for name in table.column_names:
        scalar = table[name][row]
        if not scalar.is_valid and name not in OPTIONAL:
            raise DataError(f"a row of the shards has no {name}; write the shards again")
        is_list = isinstance(scalar, pa.ListScalar) and scalar.is_valid
        values[name] = scalar.values.to_numpy() if is_list else scalar.as_py()
    return values
