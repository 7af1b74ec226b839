"""What is trained on what (`Run`), and where (`Machine`)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from tpifu.config import Model, Precision, Train
from tpifu.files import code_digest
from tpifu.model.folder import model_digest
from tpifu.shards.reader import digest
from tpifu.train.checkpoints import fingerprint
from tpifu.train.distributed import Team

CODE = (
    "dataset",
    "geometry/camera.py",
    "measures/points.py",
    "model",
    *("shards/coding.py", "shards/reader.py", "shards/schema.py"),
    "train",
)
"""The code that training's results follow from, below `tpifu/`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained on what. Machine settings are apart: they change no result."""

    views: Path
    points: Path
    model: Model
    train: Train
    seed: int
    start: Path | None = None
    """A model whose weights are the first ones, instead of random ones; one of neighborhood 1 is
    widened."""

    def settings(self) -> dict[str, Any]:
        """The effective settings, for the fingerprint, config.yaml and the tracker."""
        settings = {
            "seed": self.seed,
            "model": self.model.model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
        }
        return {**settings, "start": model_digest(self.start)} if self.start else settings

    @cached_property
    def fingerprint(self) -> str:
        """The name of the run, in config.yaml and for the tracker."""
        return fingerprint(self.settings(), digest([self.views, self.points]))

    def folder(self, scratch: Path) -> Path:
        """The run's own in `scratch`. Changed code has another one: what it did not compute is not
        its result, and is there still if the change is taken back."""
        return scratch / f"{self.fingerprint}-{code_digest(*CODE)[:8]}"


_ALONE = Team()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where it runs."""

    device: torch.device
    workers: int = 0
    """Processes that read batches ahead; 0: a thread does, which is enough on a CPU."""
    parts: int = 1
    """Parts of a batch that go through the network one after the other, their gradients summed: as
    much memory as one of them needs. Changes results by rounding alone, under group norm."""
    team: Team = _ALONE
    precision: Precision = "float32"
    """Arithmetic of a step; weights and their updates are float32 in any case. `fastest` measures a
    step of both kinds first and takes bfloat16 if it is clearly faster; a run that goes on keeps
    what it began with."""
    compiled: bool = False
    """Steps are compiled by torch.compile: for GPUs and long runs, since it takes minutes first.
    Changes results by rounding alone."""
