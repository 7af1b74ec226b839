"""Training: the mean squared error of every stack's occupancy (Sec. 3.3), one batch of windows a
step.

Everything random is a function of the seed and the step, so a run that was interrupted and resumed
gives the same weights and losses, bit for bit on a CPU, as one that was not.
"""

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import torch
import tqdm

from tpifu.dataset.augment import Augmentation
from tpifu.dataset.steps import Share, TrainingSteps
from tpifu.dataset.windows import Windows
from tpifu.errors import ConfigError, DataError
from tpifu.shards.reader import has_split
from tpifu.train.batches import read_batches
from tpifu.train.checkpoints import Checkpoints
from tpifu.train.optimizers import learning_rate
from tpifu.train.process import asked_to_stop, reuse_memory
from tpifu.train.run import Machine, Run
from tpifu.train.state import Training, write_results
from tpifu.train.step import training_step

EXPLODED = 1.0
"""A loss beyond it is worse than any constant answer between 0 and 1: always 0 and always 1 cost
0.5 where half the points are inside."""


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
    if problem := run.model.hourglass.size_error(size):
        raise ConfigError(f"{run.views}: images of {size} px, but {problem}")
    if run.train.flip and windows.views.metadata["light"] == "fixed":
        raise ConfigError(
            f"train.flip is {run.train.flip:g}, but {run.views} has light fixed, which is not "
            "left-right symmetric: set train.flip to 0 (in the profile, if one sets it)"
        )
    checkpoints = Checkpoints(run.folder(scratch))
    with checkpoints.locked() if team.leads else nullcontext(), asked_to_stop() as asked:
        training = Training(run, machine, windows, held_out, checkpoints)
        training.begin(steps)
        joined = team.joined(training.network)
        progress = tqdm.tqdm(
            initial=len(training.losses),
            total=run.train.steps,
            desc="train",
            unit="step",
            disable=None if team.leads else True,
        )
        following = read_batches(steps, len(training.losses), run.train.steps, machine)
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
                write_results(training, out)
            except OSError as error:
                raise DataError(
                    f"{out}: cannot be written ({error.strerror}); the same command goes on from "
                    "the last checkpoint"
                ) from error
            checkpoints.delete()
