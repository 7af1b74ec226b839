"""Pixel-aligned implicit function: filter images, then query points (Sec. 3.2). neighborhood 1 is
PIFu, k Temporal PIFu.

`frames` says which images make up a window: row w holds the image numbers of frames t-k/2 .. t+k/2,
oldest first, so windows that overlap share the filtering of their frames. Points are in world
metres; `calib` takes them to ndc.
"""

from typing import cast

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from tpifu.config import Model
from tpifu.geometry.camera import depth_feature, project
from tpifu.model.hourglass import StackedHourglass
from tpifu.model.kernels.lookup import lookup
from tpifu.model.kernels.mlp import Layers


def network_input(images: UInt8[Tensor, "m h w c"]) -> Float[Tensor, "m 3 h w"]:
    """(grey, mask) or (r, g, b, mask) pixels -> colours in [-1, 1] times the mask: the background
    is exactly 0."""
    pixels = images.movedim(-1, 1).float() / 255
    colour, mask = pixels[:, :-1], pixels[:, -1:]
    return ((colour * 2 - 1) * mask).expand(-1, 3, -1, -1).contiguous()


INIT_STD = 0.02
"""PIFu draws all weights from N(0, 0.02), biases 0."""

CPU_MEMORY, GPU_MEMORY = 2**26, 2**30
"""Bytes of what is made of points that go through the MLP together. A CPU's queries are twice as
fast where they stay in its caches and take no fresh pages from the system."""


class PointClassifier(nn.Module):
    """The MLP: leaky ReLU between layers, and the input fed to every layer again."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], last_activation: str) -> None:
        super().__init__()
        before = [inputs, *(width + inputs for width in hidden)]
        self.layers = nn.ModuleList(
            [nn.Linear(i, o) for i, o in zip(before, [*hidden, 1], strict=True)]
        )
        self.last = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}[last_activation]

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, " n"]:
        layers = cast(list[nn.Linear], list(self.layers))
        # A layer's columns are those of the layer before, then the input's.
        i = x.shape[1]
        of_input = torch.cat([layer.weight[:, -i:] for layer in layers])
        biases = torch.cat([layer.bias for layer in layers])
        between = [layer.weight[:, :-i] for layer in layers[1:]]
        pieces = x.split(self.at_once(x.device))
        y = torch.cat([Layers.apply(piece, of_input, biases, *between) for piece in pieces])
        return self.last(y[:, 0])

    def at_once(self, device: torch.device) -> int:
        """Points that go through together, by what is made of one: its input and all layers,
        before and after the activation, in float32, and in training their gradients."""
        layers = cast(list[nn.Linear], list(self.layers))
        of_point = 8 * (layers[0].in_features + sum(layer.out_features for layer in layers))
        if torch.is_grad_enabled():
            of_point *= 2
        return max(1, (CPU_MEMORY if device.type == "cpu" else GPU_MEMORY) // of_point)


class PIFu(nn.Module):
    """One network for both models; the neighborhood sets the classifier's input width alone."""

    def __init__(self, config: Model, window: float) -> None:
        """`window`: metres across the image, which turns ndc depth into metres."""
        super().__init__()
        self.window = window
        self.z_normalization = config.z_normalization
        self.align_corners = config.align_corners
        # The filter comes first: with one seed it starts equal whatever the neighborhood.
        self.image_filter = StackedHourglass(config.hourglass, config.norm)
        _initialise(self.image_filter)
        inputs = config.neighborhood * config.hourglass.dim + 1
        self.classifier = PointClassifier(inputs, config.mlp, config.last_activation)
        _initialise(self.classifier)

    def filter(self, images: Float[Tensor, "m 3 h w"]) -> list[Float[Tensor, "m c h4 w4"]]:
        """A feature map for each image and stack, last stack last. Images: [-1, 1] times the
        mask."""
        return self.image_filter(images)

    def query(
        self,
        features: Float[Tensor, "m c h w"],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "b n"]:
        """Occupancy of `points` from one stack's features; 0 outside the box [-1, 1]^3, which no
        image covers."""
        return self._occupancy([features], frames, points, calib)[0]

    def forward(
        self,
        images: Float[Tensor, "m 3 h w"],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "s b n"]:
        """Occupancy after each stack, for the loss at every stack."""
        return self._occupancy(self.filter(images), frames, points, calib)

    def _occupancy(
        self,
        maps: list[Float[Tensor, "m c h w"]],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "s b n"]:
        b, n = points.shape[:2]
        ndc = project(calib, points)
        depth = depth_feature(ndc[..., 2], self.window, self.z_normalization)
        inputs = lookup(maps, frames, ndc[..., :2], depth, self.align_corners)
        occupancy = self.classifier(inputs.flatten(0, 2)).view(len(maps), b, n)
        return occupancy * (ndc.abs() <= 1).all(dim=-1)


def _initialise(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
