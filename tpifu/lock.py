"""One process at a time."""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tpifu.errors import DataError


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
