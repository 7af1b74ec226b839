"""Settings of a training run (`Run`), and of the machine that computes it (`Machine`)."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from tpifu.config import Environment, Model, Precision, Train
from tpifu.errors import ConfigError
from tpifu.files import code_digest, digest
from tpifu.model.folder import model_file
from tpifu.shards.folder import DataFolder
from tpifu.train.distributed import Processes

CODE = (
    "dataset",
    "geometry/camera.py",
    "measures/points.py",
    "model",
    *("shards/coding.py", "shards/reader.py", "shards/schema.py"),
    "train",
)
"""Code under `tpifu/` that the results of training depend on."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that the results of training depend on, apart from the code."""

    data: DataFolder
    """Views and points; meshes are not needed."""
    model: Model
    train: Train
    seed: int
    start: Path | None = None
    """A model file with the initial weights; None for random weights. A single-frame model is
    widened."""

    def __post_init__(self) -> None:
        if self.train.loss == "cross_entropy" and self.model.last_activation != "sigmoid":
            raise ConfigError(
                "train.loss is cross_entropy, but model.last_activation is "
                f"{self.model.last_activation}: set it to sigmoid, or the loss to squared"
            )

    def settings(self) -> dict[str, Any]:
        """Settings for the fingerprint, config.yaml and the tracker."""
        settings = {
            "seed": self.seed,
            "model": self.model.model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
        }
        return {**settings, "start": digest(model_file(self.start))} if self.start else settings

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits; runs share them only if their settings and data are equal."""
        data = digest(self.data.views, self.data.points)
        text = json.dumps({"config": self.settings(), "data": data}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def folder(self, scratch: Path) -> Path:
        """Folder of the run's checkpoints in `scratch`. A code change selects a new folder;
        reverting it selects the old folder again."""
        return scratch / f"{self.fingerprint}-{code_digest(*CODE)[:8]}"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how a run is computed. It affects results only by rounding."""

    device: torch.device
    readers: int = 0
    """Number of processes that prefetch batches; 0 uses a thread, which is enough on a CPU."""
    parts: int = 1
    """Number of parts in which a batch goes through the network, one after the other. Their
    gradients are summed; peak memory is that of one part."""
    processes: Processes = field(default_factory=Processes)
    precision: Precision = "float32"
    """Arithmetic of a step; weights and updates are always float32. `fastest` times a step in both
    and uses bfloat16 if it is clearly faster. A resumed run keeps its precision."""
    compiled: bool = False
    """Compile steps with torch.compile, which takes minutes; for long runs on GPUs."""

    @classmethod
    def of(cls, host: Environment, device: torch.device, processes: Processes) -> "Machine":
        """The machine with the settings of `host`."""
        return cls(
            device=device,
            readers=host.readers,
            parts=host.parts,
            processes=processes,
            precision=host.precision,
            compiled=host.compile,
        )
