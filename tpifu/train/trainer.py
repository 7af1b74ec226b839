"""A training run in one process: weights, optimisers, losses and validations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tpifu.config import DataRecord
from tpifu.dataset.steps import TrainingSteps
from tpifu.dataset.windows import Batch, Windows
from tpifu.errors import ConfigError, DataError
from tpifu.model.folder import TrainedModel, load_model, model_state
from tpifu.model.pifu import PIFu
from tpifu.model.widen import widen
from tpifu.train.optimizers import learning_rate, optimizers
from tpifu.train.run import Machine, Run
from tpifu.train.step import fastest_precision, surface_level, training_step
from tpifu.train.validation import validate

MAX_LOSS = 1.0
"""A larger loss is worse than predicting any constant between 0 and 1: constant 0 and constant 1
have loss 0.5, because half of the points are inside."""


class Trainer:
    """Takes the steps of a run, validates, and saves and loads its state."""

    def __init__(
        self, run: Run, machine: Machine, steps: TrainingSteps, held_out: Windows | None
    ) -> None:
        """`held_out` is the validation split, or None. Raises ConfigError if `run.start` has a
        different network."""
        self.run, self.machine, self.steps, self.held_out = run, machine, steps, held_out
        self._camera = steps.windows.views.metadata
        torch.manual_seed(run.seed)
        self.network = PIFu(run.model, self._camera["window"]).to(machine.device).train()
        if run.start:
            self.network.load_state_dict(_initial_weights(run.start, run, self._camera))
        if machine.compiled:
            self.network.compile()
        self._parallel = machine.processes.wrap(self.network)
        self._optimizers = optimizers(run.train.optimizer, self.network)
        self.precision = machine.precision
        self.losses: list[float] = []
        """The loss of each step so far."""
        self.validations: list[dict[str, Any]] = []
        """Step and measures of each validation so far."""
        self.best_weights: dict[str, Tensor] | None = None
        """The weights with the largest validation IoU."""

    @property
    def steps_done(self) -> int:
        return len(self.losses)

    def choose_precision(self, parts: Sequence[Batch]) -> None:
        """Replace the precision `fastest` with the faster precision, timed on a batch in parts."""
        fastest = fastest_precision(self.network, parts)
        self.precision = self.machine.processes.broadcast(fastest)

    def step(self, parts: Sequence[Batch]) -> dict[str, float]:
        """Take one step on a batch in parts. Returns the mean loss over the ranks and the learning
        rate. Raises DataError if the loss is larger than MAX_LOSS or NaN."""
        step = self.steps_done
        rate = learning_rate(self.run.train, step)
        loss = self.run.train.loss
        own = training_step(self._parallel, self._optimizers, parts, rate, self.precision, loss)
        mean = self.machine.processes.mean(own).item()
        if not mean <= MAX_LOSS:
            clips = ", ".join(self.steps.clips_of(step))
            raise self._diverged(f"the loss is {mean:.3g} on {clips}", step)
        self.losses.append(mean)
        return {"loss": mean, "learning_rate": rate}

    @property
    def validation_due(self) -> bool:
        """Whether the weights after the last step must be validated."""
        if self.held_out is None:
            return False
        train, done = self.run.train, self.steps_done
        return done % train.validate_every == 0 or done == train.steps

    def validate(self) -> dict[str, float]:
        """Measure the validation split and keep the best weights."""
        assert self.held_out is not None
        self.check_weights()
        run = self.run
        found = validate(
            self.network, self.held_out, run.train.points, run.seed, self.machine.processes
        )
        if found["iou"] > max([row["iou"] for row in self.validations], default=-1.0):
            self.best_weights = {k: v.cpu().clone() for k, v in self.network.state_dict().items()}
        self.validations.append({"step": self.steps_done - 1, **found})
        return found

    def model(self) -> TrainedModel:
        """The network with its current weights."""
        return TrainedModel(
            network=self.network,
            config=self.run.model,
            window=self._camera["window"],
            size=self._camera["size"],
            level=surface_level(self.steps.windows.inside_share),
            data=DataRecord.of(self._camera),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume, as a model file. Raises DataError if a weight is not
        finite."""
        self.check_weights()
        return {
            **model_state(self.model()),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "losses": self.losses,
            "validations": self.validations,
            "best": self.best_weights,
            "precision": self.precision,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict` of the same run."""
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.losses, self.validations = state["losses"], state["validations"]
        self.best_weights, self.precision = state["best"], state["precision"]

    def check_weights(self) -> None:
        """Raise DataError if a weight is NaN or infinite."""
        if not all(bool(value.isfinite().all()) for value in self.network.parameters()):
            raise self._diverged("a weight became NaN or infinite", self.steps_done)

    def _diverged(self, reason: str, step: int) -> DataError:
        rate = self.run.train.learning_rate
        return DataError(
            f"{reason} at step {step}: lower train.learning_rate ({rate:g}) or raise train.warmup"
        )


def _initial_weights(path: Path, run: Run, camera: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of a model; a single-frame model is widened to the run's neighborhood."""
    model = load_model(path, torch.device("cpu"))
    ours = {**run.model.model_dump(), "window": camera["window"], "size": camera["size"]}
    theirs = {**model.config.model_dump(), "window": model.window, "size": model.size}
    single = model.config.neighborhood == 1
    for name, value in ours.items():
        if theirs[name] == value or name == "stride" or (name == "neighborhood" and single):
            continue
        raise ConfigError(
            f"{path}: cannot start from this model; its {name} is {theirs[name]}, but this run has "
            f"{value}"
        )
    if single:
        model = widen(model, run.model.neighborhood)
    return model.network.state_dict()
