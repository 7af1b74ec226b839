"""Pixel-aligned implicit function: filter images, then query points (Sec. 3.2). neighborhood 1 is
PIFu, k Temporal PIFu.

`frames` says which images make up a window: row w holds the image numbers of frames t-k/2 .. t+k/2,
oldest first, so windows that overlap share the filtering of their frames. Points are in world
metres; `calib` takes them to ndc.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tpifu.camera import depth_feature, project
from tpifu.config import Model
from tpifu.hourglass import StackedHourglass

INIT_STD = 0.02
"""PIFu draws all weights from N(0, 0.02), biases 0."""


class PointClassifier(nn.Module):
    """The MLP: leaky ReLU between layers, and the input fed to every layer again."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], last_activation: str) -> None:
        super().__init__()
        before = [inputs, *(width + inputs for width in hidden)]
        self.layers = nn.ModuleList(
            [nn.Linear(i, o) for i, o in zip(before, [*hidden, 1], strict=True)]
        )
        self.last = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}[last_activation]

    def forward(self, x: Float[Tensor, "b n i"]) -> Float[Tensor, "b n"]:
        y = self.layers[0](x)
        for layer in list(self.layers)[1:]:
            y = layer(torch.cat([F.leaky_relu(y), x], dim=-1))
        return self.last(y[..., 0])


class PIFu(nn.Module):
    """One network for both models; only the classifier's input width depends on `neighborhood`."""

    def __init__(self, config: Model, neighborhood: int, window: float) -> None:
        """`window`: metres across the image, which turns ndc depth into metres."""
        super().__init__()
        self.window = window
        self.z_normalization = config.z_normalization
        self.align_corners = config.align_corners
        # The filter comes first: with one seed it starts equal whatever the neighborhood.
        self.image_filter = StackedHourglass(config.hourglass, config.norm)
        _initialise(self.image_filter)
        inputs = neighborhood * config.hourglass.dim + 1
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
        b, k = frames.shape
        n = points.shape[1]
        ndc = project(calib, points)
        grid = (ndc[:, :, :2] * ndc.new_tensor([1.0, -1.0]))[:, None, None].expand(b, k, 1, n, 2)
        looked_up = F.grid_sample(
            features[frames.reshape(-1)],
            grid.reshape(b * k, 1, n, 2),
            align_corners=self.align_corners,
        )
        pixel_aligned = looked_up.reshape(b, -1, n).mT  # oldest frame first
        depth = depth_feature(ndc[:, :, 2], self.window, self.z_normalization)
        occupancy = self.classifier(torch.cat([pixel_aligned, depth[..., None]], dim=-1))
        return occupancy * (ndc.abs() <= 1).all(dim=-1)

    def forward(
        self,
        images: Float[Tensor, "m 3 h w"],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "s b n"]:
        """Occupancy after each stack, for the loss at every stack."""
        return torch.stack(
            [self.query(features, frames, points, calib) for features in self.filter(images)]
        )


def _initialise(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
