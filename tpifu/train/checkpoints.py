"""Training checkpoints. A checkpoint is a model file that also holds the state of its training; a
run resumes only from its own checkpoint."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tpifu.errors import DataError
from tpifu.files import locked
from tpifu.model.folder import read_state, write_state
from tpifu.train.distributed import Processes

STATE_NAME = "state.pt"


class Checkpoints:
    """The folder of one run's checkpoint (`Run.folder`), outside the outputs of every stage. Only
    the main process reads and writes it."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder, self._processes = folder, processes

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run for the main process. Raises DataError if another trainer has the lock, or
        if the folder cannot be created. The lock of a dead process is released. A folder without
        a checkpoint is deleted at the end."""
        if not self._processes.is_main:
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{self.folder}: cannot create a folder for checkpoints ({error.strerror})"
            ) from error
        with locked(self.folder, "trains this run"):
            try:
                yield
            finally:
                if not (self.folder / STATE_NAME).exists():
                    shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, state: dict[str, Any]) -> None:
        """Replace the last checkpoint. If writing fails, keeps the old one and raises DataError."""
        if self._processes.is_main:
            write_state(self.folder / STATE_NAME, state)

    def load(self) -> dict[str, Any] | None:
        """The state in the last checkpoint, for every rank; None if there is none."""
        path = self.folder / STATE_NAME
        state = None
        if self._processes.is_main and path.exists():
            try:
                state = read_state(path)
            except DataError as error:
                raise DataError(f"{error}; delete it to restart the training") from error
        return self._processes.broadcast(state)

    def delete(self) -> None:
        """Delete the folder, once the result is saved elsewhere."""
        shutil.rmtree(self.folder)
