"""Widen a single-frame model to a neighborhood of frames."""

from dataclasses import replace

import torch

from tpifu.model.folder import TrainedModel, network_of


def widen(model: TrainedModel, neighborhood: int) -> TrainedModel:
    """A copy of a single-frame model for an odd number of frames, initialised as their average: k
    equal frames give the output for the single frame.

    The last columns of each classifier layer belong to the classifier's input: features, then
    depth. The weights of the features are divided equally among the frames.
    """
    assert model.config.neighborhood == 1
    config = model.config.with_window(neighborhood)
    inputs = config.hourglass.dim + 1
    weights = model.network.state_dict()
    for name, value in weights.items():
        if name.startswith("classifier.") and name.endswith(".weight"):
            before, features, depth = value.split([value.shape[1] - inputs, inputs - 1, 1], dim=1)
            spread = (features / neighborhood).repeat(1, neighborhood)
            weights[name] = torch.cat([before, spread, depth], dim=1)
    return replace(model, network=network_of(config, model.window, weights), config=config)
