"""A training under way: weights, optimisers, losses, checkpoints, validation."""

import csv
import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tqdm
from ruamel.yaml import YAML
from torch import Tensor

from tpifu.config import Lighting, Train
from tpifu.dataset.steps import TrainingSteps
from tpifu.dataset.windows import Windows
from tpifu.errors import ConfigError, DataError, Stopped
from tpifu.files import write_text
from tpifu.model.folder import (
    LOSS_NAME,
    SETTINGS_NAME,
    VALIDATION_NAME,
    TrainedModel,
    load_model,
    save_model,
)
from tpifu.model.pifu import PIFu
from tpifu.model.widen import widen
from tpifu.train.checkpoints import Checkpoints
from tpifu.train.optimizers import learning_rate, optimizers
from tpifu.train.run import Machine, Run
from tpifu.train.step import fastest_precision, surface_level
from tpifu.train.validation import validate


class Training:
    """A run under way, in one process of its team."""

    def __init__(
        self,
        run: Run,
        machine: Machine,
        windows: Windows,
        held_out: Windows | None,
        checkpoints: Checkpoints,
    ) -> None:
        self.run, self.machine = run, machine
        self.windows, self.held_out = windows, held_out
        self.checkpoints = checkpoints
        self.camera = windows.views.metadata
        torch.manual_seed(run.seed)
        self.network = PIFu(run.model, self.camera["window"]).to(machine.device).train()
        if run.start:
            self.network.load_state_dict(_first_weights(run.start, run, self.camera))
        if machine.compiled:
            self.network.compile()
        self.updaters = optimizers(run.train.optimizer, self.network)
        self.precision = machine.precision
        self.losses: list[float] = []
        """Of the steps taken."""
        self.validations: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None
        """The weights that did best of those validated."""

    def begin(self, steps: TrainingSteps) -> None:
        """Go on from the last checkpoint, where there is one; else choose the arithmetic."""
        team, machine = self.machine.team, self.machine
        state = team.from_leader(self.checkpoints.load() if team.leads else None)
        if state is None:
            if machine.precision == "fastest":
                first = [steps[part].to(machine.device) for part in range(machine.parts)]
                measured = fastest_precision(self.network, first, compiled=machine.compiled)
                self.precision = team.from_leader(measured)
                self._tell(f"{self.precision}: the faster arithmetic of a step, measured here")
            return
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.updaters, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.losses, self.validations = state["losses"], state["validations"]
        self.best, self.precision = state["best"], state["precision"]
        self._tell(f"resuming after step {len(self.losses)} of {self.run.train.steps}")
        if machine.precision not in (self.precision, "fastest"):
            self._tell(f"in {self.precision}, with which it began, not in {machine.precision}")

    def save(self) -> None:
        """Write a checkpoint. Raises DataError if the weights or the disk are not fit for one."""
        self.check_weights(len(self.losses))
        if self.machine.team.leads:
            self.checkpoints.save(
                self.model(),
                {
                    "optimizers": [optimizer.state_dict() for optimizer in self.updaters],
                    "losses": self.losses,
                    "validations": self.validations,
                    "best": self.best,
                    "precision": self.precision,
                },
            )

    def validate_if_due(
        self, log: Callable[[dict[str, float], int], None], asked: list[int]
    ) -> bool:
        """Whether it was. Raises Stopped, after saving, if a process is asked to stop meanwhile:
        going on begins with it again."""
        done, train = len(self.losses), self.run.train
        last = self.validations[-1]["step"] + 1 if self.validations else 0
        if self.held_out is None or done == last:
            return False
        if done % train.validate_every and done != train.steps:
            return False
        self.check_weights(done)
        stop = partial(bool, asked)
        found = validate(
            self.network, self.held_out, train.points, self.run.seed, self.machine.team, stop
        )
        if found is None:
            raise self.stopped()
        log({f"validation.{name}": value for name, value in found.items()}, done - 1)
        if found["iou"] > max([row["iou"] for row in self.validations], default=-1.0):
            self.best = {k: v.cpu().clone() for k, v in self.network.state_dict().items()}
        self.validations.append({"step": done - 1, **found})
        return True

    def model(self) -> TrainedModel:
        """The network as it is now."""
        return TrainedModel(
            network=self.network,
            config=self.run.model,
            window=self.camera["window"],
            size=self.camera["size"],
            level=surface_level(self.windows.inside_share),
            lighting=Lighting.of(self.camera),
        )

    def check_weights(self, step: int) -> None:
        """Raises DataError if one is no number."""
        if not all(bool(value.isfinite().all()) for value in self.network.parameters()):
            raise self.diverged("a weight is no number any more", step)

    def diverged(self, what: str, step: int) -> DataError:
        advice = (
            f"lower train.learning_rate ({self.run.train.learning_rate:g}) or raise train.warmup"
        )
        if good := self.checkpoints.last:
            advice += f"; the last good checkpoint is {good}, a model file as well (--start)"
        return DataError(f"{what} at step {step}: {advice}")

    def stopped(self) -> Stopped:
        """What to raise, after saving, when asked to stop."""
        self.save()
        return Stopped(
            f"stopped after step {len(self.losses)} of {self.run.train.steps}, as asked; "
            "the same command goes on from there"
        )

    def _tell(self, message: str) -> None:
        if self.machine.team.leads:
            tqdm.tqdm.write(message, file=sys.stderr)


def _first_weights(path: Path, run: Run, camera: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a model that fits the run. Raises ConfigError for one that does not."""
    model = load_model(path, torch.device("cpu"))
    ours = {**run.model.model_dump(), "window": camera["window"], "size": camera["size"]}
    theirs = {**model.config.model_dump(), "window": model.window, "size": model.size}
    for name, value in ours.items():
        if name not in ("neighborhood", "stride") and theirs[name] != value:
            raise ConfigError(
                f"{path}: cannot start from it: its {name} is {theirs[name]}, this run's {value}"
            )
    before, now = model.config.neighborhood, run.model.neighborhood
    if before != now:
        if before != 1:
            raise ConfigError(
                f"{path}: cannot start from it: its neighborhood is {before}; "
                f"only 1 can be widened to {now}"
            )
        model = widen(model, now)
    return model.network.state_dict()


def write_results(training: Training, out: Path) -> None:
    run, validations = training.run, training.validations
    if training.best:
        training.network.load_state_dict(training.best)
    save_model(out, training.model())
    write_text(out / LOSS_NAME, _loss_table(training.losses, run.train))
    if validations:
        rows = [",".join(f"{value:.6g}" for value in row.values()) for row in validations]
        write_text(out / VALIDATION_NAME, "\n".join([",".join(validations[0]), *rows, ""]))
    settings = io.StringIO()
    how = {
        "render": Lighting.of(training.camera).model_dump(),
        "precision": training.precision,
        "fingerprint": run.fingerprint,
    }
    YAML(typ="safe", pure=True).dump({**run.settings(), **how}, settings)
    write_text(out / SETTINGS_NAME, settings.getvalue())


def _loss_table(losses: list[float], config: Train) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["step", "loss", "learning_rate"])
    for step, loss in enumerate(losses):
        rows.writerow([step, f"{loss:.6g}", f"{learning_rate(config, step):.6g}"])
    return text.getvalue()
