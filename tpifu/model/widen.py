"""A one-frame model's weights widened to a neighbourhood of frames."""

from dataclasses import replace

import torch
from torch import Tensor

from tpifu.config import Model
from tpifu.errors import ConfigError
from tpifu.model.folder import TrainedModel
from tpifu.model.pifu import PIFu


def widen(model: TrainedModel, neighborhood: int) -> TrainedModel:
    """A copy of a single-frame model that sees `neighborhood` frames, an odd number, and starts as
    their average: k equal frames give what the one frame gives.

    Every layer of the classifier ends with the input's columns, features then depth: those of the
    features are shared out equally among the frames.
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
    config = model.config.seeing(neighborhood)
    inputs = config.hourglass.dim + 1
    weights = model.network.state_dict()
    for name, value in weights.items():
        if name.startswith("classifier.") and name.endswith(".weight"):
            before, features, depth = value.split([value.shape[1] - inputs, inputs - 1, 1], dim=1)
            spread = (features / neighborhood).repeat(1, neighborhood)
            weights[name] = torch.cat([before, spread, depth], dim=1)
    return replace(model, network=network(config, model.window, weights), config=config)


def network(config: Model, window: float, weights: dict[str, Tensor]) -> PIFu:
    """A network with copies of `weights`, on their device; nothing random is drawn for it."""
    with torch.device("meta"):
        network = PIFu(config, window)
    network.to_empty(device=next(iter(weights.values())).device).load_state_dict(weights)
    return network.eval()
