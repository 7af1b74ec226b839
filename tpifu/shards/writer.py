"""Write rows to Parquet shards, atomically and with reproducible bytes."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tpifu.files import whole_file
from tpifu.shards.schema import SCHEMAS, VERSION, Group, Kind

SHARD_BYTES = 100 * 2**20
"""A shard is written when its rows exceed this size in memory, which is about their size in the
file: the data do not compress further."""


def header(kind: Kind, metadata: dict[str, Any]) -> dict[str, str]:
    """The metadata of a Parquet file."""
    values = {"kind": kind, "version": VERSION, **metadata}
    return {"tpifu": json.dumps(values, sort_keys=True)}


class ShardWriter:
    """Writes row groups to SPLIT-00000.parquet, ... in a folder, each shard atomically.

    The numbers continue after shards that the folder already contains.
    """

    def __init__(self, folder: Path, kind: Kind, metadata: dict[str, Any]) -> None:
        self._schema = SCHEMAS[kind].with_metadata(header(kind, metadata))
        self._folder = folder
        self._split = ""
        self._tables: list[pa.Table] = []
        """The row groups of the next shard."""

    def add(self, groups: list[Group]) -> bool:
        """Add row groups of one split, which share a shard. Returns whether a shard of all earlier
        row groups was written."""
        split = groups[0][0]["split"]
        size = sum(table.nbytes for table in self._tables)
        finished = bool(self._tables) and (split != self._split or size > SHARD_BYTES)
        if finished:
            self.finish()
        self._split = split
        self._tables += [pa.Table.from_pylist(rows, schema=self._schema) for rows in groups]
        return finished

    def finish(self) -> None:
        """Write the last shard."""
        number = len(list(self._folder.glob(f"{self._split}-*.parquet")))
        with (
            whole_file(self._folder / f"{self._split}-{number:05d}.parquet") as part,
            pq.ParquetWriter(
                part,
                self._schema,
                compression="zstd",
                write_page_checksum=True,
                use_dictionary=["split", "sequence", "clip"],
                # Grouping bytes by significance makes files 15 % smaller, and faster to write and
                # read.
                use_byte_stream_split=["vertices.list.element"],
            ) as file,
        ):
            for table in self._tables:
                file.write_table(table, row_group_size=len(table))
        self._tables = []
