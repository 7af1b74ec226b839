"""Training: the loss of the occupancy at every stack (Sec. 3.3).

Everything random is a function of the seed and the step. An interrupted and resumed run therefore
has the same losses and weights as an uninterrupted one, bit for bit on a CPU.
"""

import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import tqdm

from tpifu.dataset.steps import TrainingSteps
from tpifu.dataset.windows import Windows
from tpifu.errors import ConfigError, Stopped
from tpifu.shards.schema import HELD_OUT
from tpifu.train.batches import read_batches
from tpifu.train.checkpoints import Checkpoints
from tpifu.train.clock import Clock
from tpifu.train.process import catch_sigterm, reuse_memory
from tpifu.train.results import write_results
from tpifu.train.run import Machine, Run
from tpifu.train.trainer import Trainer

Log = Callable[[dict[str, float], int], None]


def fit(run: Run, out: Path, scratch: Path, machine: Machine, log: Log) -> None:
    """Train, and replace the folder `out` with model.pt, loss.csv and config.yaml. Repeat an
    interrupted call to resume it.

    `scratch` must outlive the call and may be shared: each run has a folder in it (`Run.folder`),
    which is deleted when the run has finished. `log(metrics, step)` gets the loss, the learning
    rate and the speeds of `Clock` at every step, and validation.iou and validation.mse after a
    validation.

    If the data has a validation split, the model has the weights that scored best on it, and
    validation.csv is also written; otherwise the model has the last weights.

    Raises ConfigError or DataError if the data does not suit the run, and DataError if another
    process trains the same run, a file cannot be written, or the training diverges. On SIGTERM,
    saves a checkpoint and raises Stopped. Call it from the main thread.
    """
    reuse_memory()
    steps, held_out = _open_data(run, machine)
    checkpoints = Checkpoints(run.folder(scratch), machine.processes)
    with checkpoints.locked(), catch_sigterm() as sigterm:
        trainer = Trainer(run, machine, steps, held_out)
        _resume(trainer, checkpoints)
        _train(trainer, checkpoints, sigterm, log)
        if machine.processes.is_main:
            write_results(trainer, out)
            checkpoints.delete()


def _open_data(run: Run, machine: Machine) -> tuple[TrainingSteps, Windows | None]:
    """The training steps, and the validation split if there is one. Raises ConfigError if the
    trained model could not be evaluated on the held-out splits."""
    data, train = run.data, run.train
    windows = Windows(data, "train", run.model)
    windows.require_points("train.points", train.points)
    shares = machine.parts * machine.processes.world_size
    steps = TrainingSteps(windows, train, run.seed, shares)
    held_out = None
    if train.validate_every and "validation" in windows.points.index["split"]:
        held_out = Windows(data, "validation", run.model)
    for split in HELD_OUT:
        if split in windows.points.index["split"]:
            Windows(data, split, run.model)
    camera = windows.views.metadata
    if problem := run.model.hourglass.size_error(camera["size"]):
        raise ConfigError(f"{data.views}: images of {camera['size']} px, but {problem}")
    if train.flip and camera["light"] == "fixed":
        raise ConfigError(
            f"train.flip is {train.flip:g}, but {data.views} has light fixed, which is not "
            "left-right symmetric: set train.flip to 0"
        )
    return steps, held_out


def _resume(trainer: Trainer, checkpoints: Checkpoints) -> None:
    """Load the last checkpoint; if there is none, choose the precision."""
    machine = trainer.machine
    if state := checkpoints.load():
        trainer.load_state_dict(state)
        _print(machine, f"resuming after step {trainer.steps_done} of {trainer.run.train.steps}")
        if machine.precision not in (trainer.precision, "fastest"):
            _print(machine, f"keeping precision {trainer.precision}, not {machine.precision}")
    elif machine.precision == "fastest":
        (first,) = read_batches(trainer.steps, 0, 1, machine)
        trainer.choose_precision(first)
        _print(machine, f"precision {trainer.precision} is faster on this machine")


def _train(trainer: Trainer, checkpoints: Checkpoints, sigterm: threading.Event, log: Log) -> None:
    """Take the remaining steps; validate and save at the configured steps."""
    machine, train = trainer.machine, trainer.run.train
    processes = machine.processes
    bar = tqdm.tqdm(
        initial=trainer.steps_done,
        total=train.steps,
        desc="train",
        unit="step",
        disable=None if processes.is_main else True,  # None: no bar unless stderr is a terminal
    )
    batches = read_batches(trainer.steps, trainer.steps_done, train.steps, machine)
    with closing(batches), bar:
        clock = Clock(processes.world_size)
        for step, parts in enumerate(batches, trainer.steps_done):
            clock.data_arrived()
            metrics = trainer.step(parts)
            bar.set_postfix(loss=f"{metrics['loss']:.4f}", refresh=False)
            bar.update()
            log({**metrics, **clock.step_done(parts)}, step)
            if trainer.validation_due:
                found = trainer.validate()
                log({f"validation.{name}": value for name, value in found.items()}, step)
                clock.restart()
            stopped = processes.any(sigterm.is_set(), machine.device)
            if stopped or trainer.steps_done % train.checkpoint_every == 0:
                checkpoints.save(trainer.state_dict())
            if stopped:
                raise Stopped(
                    f"stopped by SIGTERM after step {trainer.steps_done} of {train.steps}; repeat "
                    "the command to resume"
                )
    trainer.check_weights()


def _print(machine: Machine, message: str) -> None:
    if machine.processes.is_main:
        tqdm.tqdm.write(message, file=sys.stderr)
