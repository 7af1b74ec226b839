"""Pixel-aligned implicit function (Sec. 3.2): filter the images, then query points.

The neighborhood k is the number of frames that the classifier sees: 1 is PIFu, more is Temporal
PIFu. `frames` (b k) lists the images of each window, oldest first; overlapping windows share the
feature maps of their images. Points are in world metres; `calib` maps them to ndc.

Fusion of frames: "concat", as in the paper, gives the classifier the features of all frames side by
side. "attention" gives it one weighted mean over the frames. "early" filters a window in one pass,
with its images as channels, at the cost of a single frame.
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from tpifu.config import Model
from tpifu.geometry.camera import depth_feature, project
from tpifu.model.attention import FrameAttention
from tpifu.model.hourglass import StackedHourglass
from tpifu.model.kernels.lookup import lookup

INIT_STD = 0.02
"""As in PIFu, weights are drawn from N(0, 0.02) and biases are 0."""


class PIFu(nn.Module):
    """Both models of the paper. With the paper's fusion, they differ only in the classifier's input
    width."""

    def __init__(self, config: Model, window: float) -> None:
        """`window`: width of the images, metres."""
        super().__init__()
        self.window = window
        self.z_normalization = config.z_normalization
        self.align_corners = config.align_corners
        frames, dim = config.neighborhood, config.hourglass.dim
        self.early = config.fusion == "early"
        # The filter is initialised first, so its weights do not depend on the classifier.
        self.image_filter = StackedHourglass(
            config.hourglass, config.norm, frames * 3 if self.early else 3
        )
        _initialise(self.image_filter)
        # Convolutions are faster in this layout, on CPUs and on tensor cores.
        self.image_filter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        width = frames * dim if config.fusion == "concat" else dim
        self.classifier = PointClassifier(width + 1, config.mlp, config.last_activation)
        _initialise(self.classifier)
        self.fuse: nn.Module = nn.Identity()
        if config.fusion == "attention":
            self.fuse = FrameAttention(dim, frames)
            _initialise(self.fuse)

    def forward(
        self,
        images: UInt8[Tensor, "m h w c"],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "s b n"]:
        """Occupancy after each stack, because the loss is taken at every stack (Sec. 3.3)."""
        if self.early:
            images = images[frames]
            frames = torch.arange(len(frames), device=frames.device)[:, None]
        else:
            images = images[:, None]
        maps = self.filter(images)
        return torch.stack([self.query(features, frames, points, calib) for features in maps])

    def passes(self, window: list[int]) -> list[tuple[int, ...]]:
        """The passes of the filter that a window needs, each a list of image numbers."""
        return [tuple(window)] if self.early else [(number,) for number in window]

    def filter(self, passes: UInt8[Tensor, "m i h w c"]) -> list[Float[Tensor, "m d h4 w4"]]:
        """F(I): the feature maps of each pass after each stack. A pass has one image, or with early
        fusion the images of a window."""
        pixels = network_input(passes.flatten(0, 1))
        channels = pixels.unflatten(0, passes.shape[:2]).flatten(1, 2)
        return self.image_filter(channels.contiguous(memory_format=torch.channels_last))

    def query(
        self,
        features: Float[Tensor, "m d h w"],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "b n"]:
        """P(F(I)_x, z(X)): occupancy of `points` from the feature maps of one stack; 0 outside the
        box [-1, 1]^3, the region the images cover. `frames` lists the maps of each window."""
        with torch.autocast(points.device.type, enabled=False):
            ndc = project(calib, points)  # bfloat16 would move points by up to 6 mm
        at_points = self.fuse(lookup(features, frames, ndc[..., :2], self.align_corners))
        depth = depth_feature(ndc[..., 2:], self.window, self.z_normalization)
        occupancy = self.classifier(torch.cat([at_points, depth.to(at_points.dtype)], dim=-1))
        return occupancy * (ndc.abs() <= 1).all(dim=-1)


class PointClassifier(nn.Module):
    """The classifier P: an MLP with leaky ReLU and a skip connection from its input to every
    layer."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], last_activation: str) -> None:
        super().__init__()
        before = [inputs, *(width + inputs for width in hidden)]
        self.layers = nn.ModuleList(
            [nn.Linear(i, o) for i, o in zip(before, [*hidden, 1], strict=True)]
        )
        self.last = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}[last_activation]

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n"]:
        y, inputs = self.layers[0](x), x.shape[-1]
        for layer in self.layers[1:]:
            assert isinstance(layer, nn.Linear)
            # W [y; x] + b as two products, so that the concatenation is never stored.
            from_y, from_x = layer.weight[:, :-inputs], layer.weight[:, -inputs:]
            y = F.linear(F.leaky_relu_(y), from_y) + F.linear(x, from_x, layer.bias)
        return self.last(y[..., 0])


def network_input(images: UInt8[Tensor, "m h w c"]) -> Float[Tensor, "m 3 h w"]:
    """(grey, mask) or (r, g, b, mask) pixels -> colours in [-1, 1] times the mask, in channels-last
    order. The background is exactly 0."""
    pixels = images.movedim(-1, 1).float() / 255
    colour, mask = pixels[:, :-1], pixels[:, -1:]
    masked = ((colour * 2 - 1) * mask).expand(-1, 3, -1, -1)
    return masked.contiguous(memory_format=torch.channels_last)


def _initialise(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
