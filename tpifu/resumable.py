"""Write clips to a folder of shards in parallel. An interrupted call resumes from the last shard.

Finished shards are kept in `.NAME.part` next to the folder, because DVC empties outputs before a
stage runs. A repeated call reuses them if its metadata and code are equal, and otherwise
deletes them. The folder appears whole, with the same bytes as without an interruption.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tpifu.errors import DataError
from tpifu.files import code_digest, locked, replace_folder, write_json
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
    *,
    jobs: int,
    write_extras: Callable[[Path], None] | None = None,
) -> None:
    """Write the row groups that `task` returns for each item; `write_extras` adds other files.

    Results may depend only on the code and on `metadata`, which must be JSON. Raises DataError if
    there are no items, another process writes the folder, or it cannot be written.
    """
    if not items:
        raise DataError(f"{folder}: nothing to write")
    place = folder.resolve()  # a symbolic link keeps its target
    part = place.with_name(f".{place.name}.part")
    shards = part / "shards"
    settings = {"kind": kind, "metadata": metadata, "code": code_digest(".")}
    run = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    try:
        part.mkdir(parents=True, exist_ok=True)
        with locked(part, "writes this folder"):
            done = _resume(part, run)
            writer = ShardWriter(shards, kind, metadata)
            results = parallel_map(task, items[done:], jobs=jobs, label=kind)
            for number, groups in enumerate(results, start=done):
                if writer.add(groups):
                    progress = {"run": run, "items": number, "shards": _sizes(shards)}
                    write_json(part / _PROGRESS, progress)
            writer.finish()
            if write_extras:
                write_extras(shards)
            replace_folder(place, shards)
            shutil.rmtree(part)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); free space or fix "
            "permissions, then repeat the command"
        ) from error


def _resume(part: Path, run: str) -> int:
    """Number of items in the finished shards of this run. Deletes all other files."""
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


def _sizes(shards: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in shards.glob("*.parquet")}
