"""Atomic writes, digests of files and code, and locks between processes."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tpifu.errors import DataError

PACKAGE = Path(__file__).parent


def digest(*contents: Path | bytes) -> str:
    """SHA-256 of files, bytes and whole folders, in the given order. File names do not count.

    A path that does not exist counts as an empty folder.
    """
    total = hashlib.sha256()
    for content in contents:
        if isinstance(content, bytes):
            total.update(hashlib.sha256(content).digest())
            continue
        for path in [content] if content.is_file() else sorted(content.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def code_digest(*paths: str) -> str:
    """SHA-256 of Python files: files and folders by their paths below `tpifu/`, "." for all.

    Raises FileNotFoundError for a path that does not exist.
    """
    total = hashlib.sha256()
    for path in paths:
        place = PACKAGE / path
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
            total.update(file.read_bytes())
    return total.hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end of the block, or is deleted if the
    block raises. Creates missing parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` at the end of the block, or is deleted if
    the block raises. Raises DataError if it cannot be created."""
    place = folder.resolve()
    part = place.with_name(f".{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        yield part
        replace_folder(place, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def replace_folder(folder: Path, part: Path) -> None:
    """Move `part`, which lies on the same disk, to `folder`. If that fails, `folder` is as before.

    The old folder is deleted last: a deletion can fail halfway.
    """
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(part, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")


@contextmanager
def locked(folder: Path, activity: str) -> Iterator[None]:
    """Lock `folder`/lock for this process. A lock ends with its process.

    Raises DataError if another process has the lock; `activity` says what that process does.
    """
    with (folder / "lock").open("w") as file:
        try:
            lock_file(file)
        except BlockingIOError as error:
            raise DataError(
                f"{folder}: another process {activity}; wait for it or stop it"
            ) from error
        yield


def lock_file(file: IO[Any]) -> None:
    """Lock an open file until this process closes it or ends.

    Raises BlockingIOError if another process has locked it.
    """
    # Unlike flock, forked children such as the readers of a DataLoader do not inherit the lock.
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
