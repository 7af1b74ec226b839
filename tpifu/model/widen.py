"""Widen a single-frame model to a neighborhood of frames."""

from dataclasses import replace

import torch

from tpifu.errors import ConfigError
from tpifu.model.folder import TrainedModel, network_of


def widen(model: TrainedModel, neighborhood: int) -> TrainedModel:
    """A copy of a single-frame model that sees `neighborhood` frames, an odd number, and starts as
    their average: k equal frames give the output of the one frame.

    The last columns of every layer of the classifier belong to its input: features, then depth. The
    columns of the features are divided equally among the frames.
    """
    if model.config.neighborhood != 1:
        raise ConfigError(
            f"neighborhood: this model sees {model.config.neighborhood} frames already: "
            "only a model of 1 can be widened"
        )
    if neighborhood < 1 or neighborhood % 2 == 0:
        raise ConfigError(
            f"neighborhood: is {neighborhood}: must be odd: the window is centred on one frame"
        )
    config = model.config.with_window(neighborhood)
    inputs = config.hourglass.dim + 1
    weights = model.network.state_dict()
    for name, value in weights.items():
        if name.startswith("classifier.") and name.endswith(".weight"):
            before, features, depth = value.split([value.shape[1] - inputs, inputs - 1, 1], dim=1)
            spread = (features / neighborhood).repeat(1, neighborhood)
            weights[name] = torch.cat([before, spread, depth], dim=1)
    return replace(model, network=network_of(config, model.window, weights), config=config)
