"""Clips to a folder of shards in parallel. An interrupted call resumes from the last whole shard.

Finished shards wait in `.NAME.part` beside the folder, because DVC empties outputs before a stage
runs. A repeated call reuses them if its settings, inputs and code are equal, else deletes them. The
folder appears whole, with the same bytes as without an interruption.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tpifu.errors import DataError
from tpifu.files import code_digest, locked, write_json
from tpifu.parallel import parallel_map
from tpifu.shards.schema import Group, Kind
from tpifu.shards.writer import ShardWriter

Item = TypeVar("Item")

_PROGRESS = "progress.json"


def build(
    folder: Path,
    kind: Kind,
    task: Callable[[Item], list[Group]],
    items: Sequence[Item],
    metadata: dict[str, Any],
    inputs: dict[str, Any],
    *,
    jobs: int,
    label: str,
    write_extras: Callable[[Path], None] | None = None,
) -> None:
    """Write the row groups that `task` returns for each item; `write_extras` adds other files.

    Results may depend only on the code and on `metadata` and `inputs`, which must be JSON. Raises
    DataError if there are no items, another process writes the folder, or the disk refuses.
    """
    if not items:
        raise DataError(f"{folder}: nothing to write")
    part = folder.with_name(f".{folder.name}.part")
    shards = part / "shards"
    settings = {"kind": kind, "metadata": metadata, "inputs": inputs, "code": code_digest(".")}
    run = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    with _disk_errors(folder, part):
        part.mkdir(parents=True, exist_ok=True)
    with locked(part, "writes this folder"), _delete_if_empty(part):
        with _disk_errors(folder, part):
            done = _resume(part, run)
            writer = ShardWriter(shards, kind, metadata)
        results = parallel_map(task, items, jobs=jobs, label=label, done=done)
        try:
            for number, groups in enumerate(results, start=done):
                with _disk_errors(folder, part):
                    if writer.add(groups):
                        _save_progress(part, run, number)
            with _disk_errors(folder, part):
                writer.close()
                _save_progress(part, run, len(items))
                if write_extras:
                    write_extras(shards)
        finally:
            writer.give_up()
        with _disk_errors(folder, part):
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(shards, folder)


def _resume(part: Path, run: str) -> int:
    """Number of items in the finished shards of this run. Deletes all other shards."""
    try:
        progress = json.loads((part / _PROGRESS).read_text())
    except (OSError, ValueError):
        progress = {}
    shards = part / "shards"
    finished, sizes = progress.get("shards", {}), _sizes(shards)
    if progress.get("run") == run and finished.items() <= sizes.items():
        for path in shards.iterdir():
            if path.name not in finished:
                path.unlink()
        return progress["items"]
    shutil.rmtree(shards, ignore_errors=True)
    shards.mkdir()
    return 0


def _save_progress(part: Path, run: str, items: int) -> None:
    """Record that the finished shards hold the first `items` items."""
    progress = {"run": run, "items": items, "shards": _sizes(part / "shards")}
    write_json(part / _PROGRESS, progress)


def _sizes(shards: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in shards.glob("*.parquet")}


@contextmanager
def _delete_if_empty(part: Path) -> Iterator[None]:
    try:
        yield
    finally:
        if not _sizes(part / "shards"):
            shutil.rmtree(part)


@contextmanager
def _disk_errors(folder: Path, part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        finished = f"; finished shards are kept in {part}" if _sizes(part / "shards") else ""
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}){finished}; free space or fix "
            "permissions, then repeat the command"
        ) from error
