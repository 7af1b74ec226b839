"""Clips -> a shard folder, by many workers, and again after a stop from where it stopped.

Finished shards wait in `.NAME.part` beside the folder, outside what DVC empties before a stage
runs. A repeated call whose settings, input and code are the same takes them over; any other drops
them. The folder itself appears whole, byte-equal to one that was written without a stop.
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
from tpifu.files import code_digest, locked
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
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Write `task`'s row groups of every item to shards, and what `beside` puts next to them.

    The results must depend on `metadata` and `inputs` alone (as JSON). Raises DataError if there
    are no items, if another process writes this folder, or if the disk refuses.
    """
    if not items:
        raise DataError(f"{folder}: nothing to write")
    part = folder.with_name(f".{folder.name}.part")
    finished = part / "shards"
    run = _fingerprint({"kind": kind, "metadata": metadata, "inputs": inputs})
    with _told(folder, part):
        part.mkdir(parents=True, exist_ok=True)
    with locked(part, "writes this folder"), _tidied(part):
        with _told(folder, part):
            done = _resumed(part, run)
            writer = ShardWriter(finished, kind, metadata)
        results = parallel_map(task, items, jobs=jobs, label=label, done=done)
        try:
            for number, groups in enumerate(results, start=done):
                with _told(folder, part):
                    if writer.add(groups):
                        _note(part, run, number)
            with _told(folder, part):
                writer.close()
                _note(part, run, len(items))
                if beside:
                    beside(finished)
        finally:
            writer.give_up()
        with _told(folder, part):
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(finished, folder)


def _fingerprint(settings: dict[str, Any]) -> str:
    text = json.dumps({**settings, "code": code_digest(".")}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _resumed(part: Path, run: str) -> int:
    """How many items the finished shards of this very run hold; of any other they are dropped."""
    try:
        progress = json.loads((part / _PROGRESS).read_text())
    except (OSError, ValueError):
        progress = {}
    shards = part / "shards"
    kept, found = progress.get("shards", {}), _sizes(shards)
    if progress.get("run") == run and all(found.get(name) == kept[name] for name in kept):
        for path in shards.iterdir():
            if path.name not in kept:  # half a shard, or a whole one that was not noted any more
                path.unlink()
        return progress["items"]
    shutil.rmtree(shards, ignore_errors=True)
    shards.mkdir()
    return 0


def _note(part: Path, run: str, items: int) -> None:
    """Remember that the finished shards hold the first `items` items."""
    fresh = part / f"{_PROGRESS}.part"
    shards = _sizes(part / "shards")
    fresh.write_text(json.dumps({"run": run, "items": items, "shards": shards}))
    os.replace(fresh, part / _PROGRESS)


def _sizes(shards: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in shards.glob("*.parquet")}


@contextmanager
def _tidied(part: Path) -> Iterator[None]:
    """Leave `part` behind only if it keeps finished shards."""
    try:
        yield
    finally:
        if not _sizes(part / "shards"):
            shutil.rmtree(part)


@contextmanager
def _told(folder: Path, part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kept = _sizes(part / "shards")
        told = f"; {part} keeps what is finished" if kept else ""
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}){told}: make room, or make it "
            "writable, and repeat"
        ) from error
