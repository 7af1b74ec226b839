"""Files written whole, digests of files and code, and locks between processes."""

import fcntl
import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tpifu.errors import DataError

PACKAGE = Path(__file__).parent


def code_digest(*paths: str) -> str:
    """SHA-256 of Python code: files and folders by their paths below `tpifu/`, "." for all of it.

    Raises FileNotFoundError for a path that is not there.
    """
    total = hashlib.sha256()
    for path in paths:
        place = PACKAGE / path
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
            total.update(file.read_bytes())
    return total.hexdigest()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=2) + "\n")
    os.replace(part, path)


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


def write_text(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder`/lock for this process; a dead process holds no lock.

    Raises DataError, which says that another process does `what`, if it is held.
    """
    with (folder / "lock").open("w") as file:
        try:
            hold(file)
        except BlockingIOError as error:
            raise DataError(f"{folder}: another process {what}; wait for it or stop it") from error
        yield


_held: "weakref.WeakSet[IO[Any]]" = weakref.WeakSet()


def hold(file: IO[Any]) -> None:
    """Lock an open file until it is closed. Raises BlockingIOError if it is locked already.

    Processes that this one forks, as a DataLoader does, do not hold it on after its death.
    """
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held.add(file)


def _let_go() -> None:
    """Close what a parent holds; it goes on holding it."""
    for file in _held:
        file.close()


os.register_at_fork(after_in_child=_let_go)
