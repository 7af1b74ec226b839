"""The learning rate schedule and the optimisers."""

import math
from functools import partial

import torch
from torch import nn

from tpifu.config import Train
from tpifu.model.pifu import PIFu
from tpifu.train.muon import Muon


def learning_rate(config: Train, step: int, progress: float | None = None) -> float:
    """Learning rate at step 0, 1, ...: a linear warm-up, then constant, or a cosine that reaches 0
    after the last step. `progress`, from 0 to 1, replaces the share of completed steps in the
    cosine."""
    rate = config.learning_rate * min(1.0, (step + 1) / (config.warmup + 1))
    if config.schedule == "cosine":
        if progress is None:
            progress = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
        rate *= 0.5 * (1 + math.cos(math.pi * progress))
    return rate


def optimizers(name: str, network: PIFu) -> list[torch.optim.Optimizer]:
    """Optimisers that together update every parameter once."""
    if name == "rmsprop":
        return [torch.optim.RMSprop(network.parameters())]
    # Fused: one kernel updates all parameters.
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
    hidden_set = set(hidden)
    rest = [parameter for parameter in network.parameters() if parameter not in hidden_set]
    return [Muon(hidden), adam(rest)]
