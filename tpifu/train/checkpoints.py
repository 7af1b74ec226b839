"""Checkpoints of a training run, and the fingerprint that names the run."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tpifu.errors import DataError
from tpifu.files import locked
from tpifu.model.folder import TrainedModel, described, read, write

STATE_NAME = "state.pt"
"""A checkpoint: a model file that holds the rest of its training, too."""


def fingerprint(config: dict[str, Any], data: str) -> str:
    """Twelve hex digits that two runs share only if their effective settings and data are equal."""
    text = json.dumps({"config": config, "data": data}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Checkpoints:
    """The scratch folder of one training run, named by its fingerprint and outside every stage's
    outputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; DataError if another trainer has it, or if the folder
        cannot be made. A dead process holds no lock."""
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
        write(self.folder / STATE_NAME, {**described(model), **progress})

    def load(self) -> dict[str, Any] | None:
        """What the last checkpoint holds: the network's weights as "network", and the progress."""
        if self.last is None:
            return None
        try:
            return read(self.last)
        except DataError as error:
            raise DataError(f"{error}; without it training begins anew: delete it") from error

    def delete(self) -> None:
        """Forget the run: its result is safe elsewhere."""
        shutil.rmtree(self.folder)
