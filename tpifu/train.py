"""Training: the mean squared error of every stack's occupancy (Sec. 3.3), one batch of windows a
step.

Everything random is a function of the seed and the step, so a run that was interrupted and resumed
gives the same weights and losses, bit for bit on a CPU, as one that was not.
"""

import csv
import ctypes
import hashlib
import io
import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
import tqdm
from jaxtyping import Float
from ruamel.yaml import YAML
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from tpifu import shards
from tpifu.augment import Augmentation
from tpifu.checkpoint import (
    Checkpoints,
    TrainedModel,
    fingerprint,
    load_model,
    model_digest,
    save_model,
)
from tpifu.config import Model, Precision, Train
from tpifu.dataset import Batch, Share, TrainingSteps, Windows, has_split
from tpifu.errors import ConfigError, DataError, Stopped, TpifuError
from tpifu.field import network_input
from tpifu.muon import Muon
from tpifu.pifu import PIFu
from tpifu.pretrained import widen
from tpifu.team import Team
from tpifu.validate import validate

LOSS_NAME = "loss.csv"
VALIDATION_NAME = "validation.csv"
SETTINGS_NAME = "config.yaml"
EXPLODED = 1.0
"""A loss beyond it is worse than any constant answer between 0 and 1: always 0 and always 1 cost
0.5 where half the points are inside."""
_WORTHWHILE = 1.15
"""So many times as fast must bfloat16 be, for its rounding."""
CODE = (
    *("augment", "camera", "checkpoint", "dataset", "field", "hourglass", "mesh", "metrics"),
    *("muon", "pifu", "pretrained", "shards", "team", "train", "validate"),
)
"""Modules of this package that training's results follow from."""


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
        return fingerprint(self.settings(), shards.digest([self.views, self.points]))

    def folder(self, scratch: Path) -> Path:
        """The run's own in `scratch`. Changed code has another one: what it did not compute is not
        its result, and is there still if the change is taken back."""
        code = hashlib.sha256()
        for module in CODE:
            code.update((Path(__file__).parent / f"{module}.py").read_bytes())
        return scratch / f"{self.fingerprint}-{code.hexdigest()[:8]}"


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


def loss_of_stacks(
    occupancies: Float[Tensor, "s b n"], labels: Float[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Sec. 3.3: the loss is taken at every stack, not only the last; the mean over stacks."""
    return F.mse_loss(occupancies, labels.expand_as(occupancies))


def surface_level(inside_share: float) -> float:
    """The occupancy at which a point is as likely inside as outside, where points lie as in the
    pool, of which `inside_share` is inside.

    Training draws half its points inside, and what a squared error teaches is the probability under
    that draw: 0.5 means an even chance only where points are balanced. By Bayes' rule an even
    chance in the pool is 1 - inside_share: at 0.5, reconstructions would be too fat wherever the
    network is unsure, above all along the line of sight.
    """
    return 1 - inside_share


def learning_rate(config: Train, step: int) -> float:
    """The rate of step 0, 1, ...: linear warm-up, then constant, or a cosine that reaches 0 after
    the last step."""
    rate = config.learning_rate * min(1.0, (step + 1) / (config.warmup + 1))
    if config.schedule == "cosine":
        done = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
        rate *= 0.5 * (1 + math.cos(math.pi * done))
    return rate


def optimizers(name: str, network: PIFu) -> list[torch.optim.Optimizer]:
    """What updates the network, each parameter by one of them."""
    if name == "rmsprop":
        return [torch.optim.RMSprop(network.parameters())]
    # Fused: one kernel updates all parameters, instead of a dozen small ones for each.
    adam = partial(torch.optim.Adam, fused=True)
    if name == "adam":
        return [adam(network.parameters())]
    assert name == "muon"
    first, last = network.image_filter.stem[0].weight, network.classifier.layers[-1].weight
    hidden = [
        layer.weight
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
        and layer.weight is not first
        and layer.weight is not last
    ]
    of_muon = set(hidden)
    rest = [parameter for parameter in network.parameters() if parameter not in of_muon]
    return [Muon(hidden), adam(rest)]


def training_step(
    network: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    parts: Sequence[Batch],
    rate: float,
    precision: Precision = "float32",
    *,
    compiled: bool = False,
) -> Float[Tensor, ""]:
    """One step of all optimisers on a batch in equal parts; returns its loss, still on the
    device. `compiled` says that the network is."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    network.zero_grad(set_to_none=True)
    loss = add_gradients(network, parts, precision, compiled=compiled)
    for optimizer in optimizers:
        optimizer.step()
    return loss


def add_gradients(
    network: nn.Module, parts: Sequence[Batch], precision: Precision, *, compiled: bool = False
) -> Float[Tensor, ""]:
    """Add the gradients of a batch in equal parts to the network's; returns its loss."""
    losses = []
    for number, batch in enumerate(parts, 1):
        images = network_input(batch.images).to(memory_format=torch.channels_last)
        if compiled and batch.frames.shape[1] > 1:
            # Where clips begin and end windows have fewer images: one graph for any number.
            torch._dynamo.maybe_mark_dynamic(images, 0)
        half = torch.autocast(images.device.type, torch.bfloat16, precision == "bfloat16")
        # Processes exchange gradients once a step, with the last part.
        waits = isinstance(network, DistributedDataParallel) and number < len(parts)
        with cast(DistributedDataParallel, network).no_sync() if waits else nullcontext():
            with half:
                occupancies = network(images, batch.frames, batch.points, batch.calib)
            loss = loss_of_stacks(occupancies.float(), batch.labels) / len(parts)
            loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def fastest_precision(
    network: PIFu, parts: Sequence[Batch], *, compiled: bool = False
) -> Precision:
    """bfloat16 if gradients of the batch come clearly faster with it on this machine, else
    float32; the network is left as it was."""
    seconds: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for _ in range(3):  # in turns; the first of each also warms up
        for precision, found in seconds.items():
            start = time.perf_counter()
            # float() waits for the device.
            float(add_gradients(network, parts, precision, compiled=compiled))
            found.append(time.perf_counter() - start)
    network.zero_grad(set_to_none=True)
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    faster = min(seconds["float32"]) > _WORTHWHILE * min(seconds["bfloat16"])
    return "bfloat16" if faster else "float32"


def fit(
    run: Run,
    out: Path,
    scratch: Path,
    machine: Machine,
    log: Callable[[dict[str, float], int], None],
) -> None:
    """Train and write model.pt, loss.csv and config.yaml to `out`; an interrupted call goes on from
    `scratch` when repeated.

    `scratch` must outlive the call and may be shared: each run has a folder in it (`Run.folder`),
    deleted, with all that others put there, once the run has ended.
    `log(metrics, step)` is called at every step with the loss, the learning rate, the frames
    filtered and the points queried a second (by the whole team, if all processes were as fast as
    this one), and the share of the time spent waiting for data.

    Where the data has a validation split, the weights that did best on it are the model, and
    validation.csv is written too; else the last weights are.

    Raises ConfigError or DataError for what the data cannot give, and DataError when another
    process trains the same run, a checkpoint cannot be written, or the loss explodes.
    SIGTERM saves a checkpoint and raises Stopped.
    """
    reuse_memory()
    team = machine.team
    sees = run.model.neighborhood, run.model.stride
    windows = Windows(run.views, run.points, "train", *sees)
    steps = TrainingSteps(
        windows,
        run.train.batch_size,
        run.train.points,
        run.seed,
        windows_per_clip=run.train.windows_per_clip,
        augmentation=Augmentation(
            flip=run.train.flip, scale=run.train.scale, shift=run.train.shift
        ),
        share=Share(rank=team.rank, world=team.world, parts=machine.parts),
    )
    held_out = None
    if run.train.validate_every and has_split(run.points, "validation"):
        held_out = Windows(run.views, run.points, "validation", *sees)
    size = windows.views.metadata["size"]
    if fault := run.model.hourglass.fault(size):
        raise ConfigError(f"{run.views}: images of {size} px, but {fault}")
    checkpoints = Checkpoints(run.folder(scratch))
    with checkpoints.locked() if team.leads else nullcontext(), _asked_to_stop() as asked:
        training = _Training(run, machine, windows, held_out, checkpoints)
        training.begin(steps)
        joined = team.joined(training.network)
        progress = tqdm.tqdm(
            initial=len(training.losses),
            total=run.train.steps,
            desc="train",
            unit="step",
            disable=None if team.leads else True,
        )
        following = _batches(steps, len(training.losses), run.train.steps, machine)
        with closing(following) as batches, progress:
            training.validate_if_due(log, asked)  # before it was the run stopped
            ended = time.perf_counter()
            for step, batch in batches:
                began = time.perf_counter()
                rate = learning_rate(run.train, step)
                taken = training_step(
                    joined,
                    training.updaters,
                    batch,
                    rate,
                    training.precision,
                    compiled=machine.compiled,
                )
                stop = taken.new_tensor(float(bool(asked)))
                loss, stopping = team.mean(torch.stack([taken, stop])).tolist()
                if not loss <= EXPLODED:
                    clips = ", ".join(steps.clips_of(step))
                    raise training.diverged(f"the loss is {loss:.3g} on {clips}", step)
                training.losses.append(loss)
                progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
                progress.update()
                waited, ended = began - ended, time.perf_counter()
                lasted = waited + ended - began
                frames = team.world * sum(len(part.images) for part in batch)
                points = team.world * sum(part.labels.numel() for part in batch)
                speed = {
                    "frames_per_s": frames / lasted,
                    "points_per_s": points / lasted,
                    "waiting_share": waited / lasted,
                }
                log({"loss": loss, "learning_rate": rate, **speed}, step)
                if stopping:
                    raise training.stopped()
                if training.validate_if_due(log, asked):
                    ended = time.perf_counter()
                if len(training.losses) % run.train.checkpoint_every == 0:
                    training.save()
        training.check_weights(run.train.steps)
        if team.leads:
            try:
                _write_results(training, out)
            except OSError as error:
                raise DataError(
                    f"{out}: cannot be written ({error.strerror}); the same command goes on from "
                    "the last checkpoint"
                ) from error
            checkpoints.delete()


class _Training:
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
        # Channels-last is how the convolution kernels of CPUs and tensor cores want it; the values
        # are the same.
        self.network.image_filter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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


def reuse_memory() -> None:
    """Let the process keep what a step frees for the next one, where its memory is glibc's.

    By default glibc hands large blocks back to the system, which clears them page by page when
    they are asked for again: ten thousand times a step of the laptop's network, a tenth of its
    time. The peak stays the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_THRESHOLD, 2**30)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


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


def _write_results(training: _Training, out: Path) -> None:
    run, validations = training.run, training.validations
    if training.best:
        training.network.load_state_dict(training.best)
    save_model(out, training.model())
    _write_text(out / LOSS_NAME, _loss_table(training.losses, run.train))
    if validations:
        rows = [",".join(f"{value:.6g}" for value in row.values()) for row in validations]
        _write_text(out / VALIDATION_NAME, "\n".join([",".join(validations[0]), *rows, ""]))
    settings = io.StringIO()
    how = {"precision": training.precision, "fingerprint": run.fingerprint}
    YAML(typ="safe", pure=True).dump({**run.settings(), **how}, settings)
    _write_text(out / SETTINGS_NAME, settings.getvalue())


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that holds the signal once SIGTERM has come, in place of the process's end.

    Schedulers send it before they kill. Only the main thread may ask for signals.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


class _Told(Dataset[Batch | TpifuError]):
    """Steps, or what is wrong with one: an error that a reading process raises comes out of the
    DataLoader with that process's whole traceback for its message."""

    def __init__(self, steps: TrainingSteps) -> None:
        self._steps = steps

    def __getitem__(self, item: int) -> Batch | TpifuError:
        try:
            return self._steps[item]
        except TpifuError as error:
            return error


def _batches(
    steps: TrainingSteps, start: int, stop: int, machine: Machine
) -> Generator[tuple[int, list[Batch]]]:
    """The parts of steps start .. stop-1 on the device, read ahead while the network computes."""
    parts = machine.parts
    loader: DataLoader[Batch | TpifuError] = DataLoader(
        _Told(steps),
        batch_size=None,
        sampler=range(start * parts, stop * parts),
        num_workers=machine.workers,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_signals,
        pin_memory=machine.device.type == "cuda",
    )
    found = iter(loader)
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = deque(reader.submit(next, found) for _ in range(parts + 1))
        try:
            for step in range(start, stop):
                batches = []
                for _ in range(parts):
                    batch = ahead.popleft().result()
                    ahead.append(reader.submit(next, found))
                    if isinstance(batch, TpifuError):
                        raise batch
                    batches.append(batch.to(machine.device))
                yield step, batches
        finally:
            reader.shutdown(cancel_futures=True)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_signals(_worker: int) -> None:
    """A reading process goes on when its group is asked to stop: the trainer saves first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _loss_table(losses: list[float], config: Train) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["step", "loss", "learning_rate"])
    for step, loss in enumerate(losses):
        rows.writerow([step, f"{loss:.6g}", f"{learning_rate(config, step):.6g}"])
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)
