"""Writing rows to Parquet shards, atomically and with reproducible bytes."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tpifu.errors import DataError
from tpifu.files import whole_folder
from tpifu.shards.schema import ENCODINGS, SCHEMAS, VERSION, Group, Kind

SHARD_BYTES = 100 * 2**20
"""A shard is finished after it exceeds this size."""


class ShardWriter:
    """Writes row groups to SPLIT-00000.parquet, ... in a folder; unfinished shards end in .part.

    The numbers continue after finished shards that the folder already contains.
    """

    def __init__(self, folder: Path, kind: Kind, metadata: dict[str, Any]) -> None:
        header = {"kind": kind, "version": VERSION, **metadata}
        self._schema = SCHEMAS[kind].with_metadata({"tpifu": json.dumps(header, sort_keys=True)})
        self._folder, self._kind = folder, kind
        self._split, self._written = "", 0
        self._file: pq.ParquetWriter | None = None

    def add(self, groups: Iterable[Group]) -> bool:
        """Write row groups of one split to one shard. Returns whether all earlier row groups are in
        finished shards."""
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
                    **ENCODINGS[self._kind],
                )
            table = pa.Table.from_pylist(rows, schema=self._schema)
            self._file.write_table(table, row_group_size=len(rows))
            # A table is about as large as its file: its data do not compress further.
            self._written += table.nbytes
        return finished

    def close(self) -> None:
        """Finish the open shard, if any."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.with_suffix(".part").rename(self._path)

    def give_up(self) -> None:
        """Delete the open shard, if any."""
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
    """Write row groups, each of one split, to a new folder, atomically.

    Rows must be sorted by split, clip, (view,) frame. Raises DataError if there are none.
    """
    with whole_folder(folder) as scratch:
        writer = ShardWriter(scratch, kind, metadata)
        for rows in groups:
            writer.add([rows])
        writer.close()
        if not any(scratch.iterdir()):
            raise DataError(f"{folder}: nothing to write")
