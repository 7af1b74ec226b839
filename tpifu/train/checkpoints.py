"""Training checkpoints. A checkpoint is a model file that also holds the state of its training; a
run resumes only from its own."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tpifu.errors import DataError
from tpifu.files import locked
from tpifu.model.folder import TrainedModel, model_state, read_state, write_state

STATE_NAME = "state.pt"


def fingerprint(config: dict[str, Any], data: str) -> str:
    """Twelve hex digits; two runs share them only if their effective settings and data are
    equal."""
    text = json.dumps({"config": config, "data": data}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Checkpoints:
    """The scratch folder of one training run, named by its fingerprint and outside the outputs of
    every stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run for this process. Raises DataError if another trainer has the lock, or if
        the folder cannot be created. The lock of a process that died is free."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{self.folder}: cannot be made, to keep checkpoints in ({error.strerror})"
            ) from error
        with locked(self.folder, "trains this very run"):
            yield

    @property
    def last(self) -> Path | None:
        """The last checkpoint, or None if there is none."""
        path = self.folder / STATE_NAME
        return path if path.exists() else None

    def save(self, model: TrainedModel, progress: dict[str, Any]) -> None:
        """Replace the last checkpoint. Raises DataError, and keeps it, if the disk refuses."""
        write_state(self.folder / STATE_NAME, {**model_state(model), **progress})

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint: the network's weights as "network", and the progress. None if there
        is none."""
        if self.last is None:
            return None
        try:
            return read_state(self.last)
        except DataError as error:
            raise DataError(f"{error}; without it training begins anew: delete it") from error

    def delete(self) -> None:
        """Delete the folder, once the result is saved elsewhere."""
        shutil.rmtree(self.folder)
