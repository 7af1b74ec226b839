"""Short training runs, interrupted or not."""

import csv

import torch

from tpifu.config import Train
from tpifu.shards.folder import DataFolder
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
    """What a kill looks like from inside."""


def run(tiny, model, neighborhood=3, train=SHORT, seed=0) -> Run:
    return Run(
        data=DataFolder(tiny),
        model=model.seeing(neighborhood),
        train=train,
        seed=seed,
    )


def ignore(metrics, step):
    pass


def losses(folder):
    with (folder / "loss.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def stop_at(wanted):
    def log(metrics, step):
        if step == wanted:
            raise Interrupted

    return log
