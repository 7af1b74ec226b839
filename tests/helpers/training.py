"""Short training runs, interrupted or not."""

import csv

import torch

from tpifu.config import Model, Train
from tpifu.dataset.windows import Windows
from tpifu.shards.folder import DataFolder
from tpifu.train.fit import fit
from tpifu.train.run import Machine, Run

CPU = Machine(device=torch.device("cpu"))

SHORT = Train(
    batch_size=3,
    points=20,
    steps=6,
    learning_rate=1e-2,
    checkpoint_every=2,
    validate_every=3,
)


class Interrupted(Exception):
    """Ends training as abruptly as a kill."""


def run(tiny, model, neighborhood=3, train=SHORT, seed=0, **changes) -> Run:
    """A run on the tiny data; `changes` replace values of `train`."""
    return Run(
        data=DataFolder(tiny),
        model=model.with_window(neighborhood),
        train=train.model_copy(update=changes),
        seed=seed,
    )


def ignore(metrics, step):
    pass


def train(settings, out, machine=CPU, log=ignore) -> list[int]:
    """Train into `out`, with checkpoints in `scratch` beside it. Returns every logged step."""
    steps = []

    def record(metrics, step):
        steps.append(step)
        log(metrics, step)

    fit(settings, out, out.parent / "scratch", machine, record)
    return steps


def windows(tiny, split="train", neighborhood=3, stride=1) -> Windows:
    return Windows(DataFolder(tiny), split, Model(neighborhood=neighborhood, stride=stride))


def losses(folder):
    with (folder / "loss.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_at(wanted):
    def log(metrics, step):
        if step == wanted:
            raise Interrupted

    return log
