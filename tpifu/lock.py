"""One process at a time."""

import fcntl
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


def hold(file: IO[Any]) -> None:
    """Lock a file that is open for writing, until it is closed. Raises BlockingIOError if another
    process has it.

    The lock is of this process alone: those it forks, as a DataLoader does, would otherwise hold it
    on after its death.
    """
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
