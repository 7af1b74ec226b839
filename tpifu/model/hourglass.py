"""Stacked hourglass (Newell 2016) as in PIFu: an image -> a feature map per stack, at a quarter of
the image's size."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tpifu.config import Hourglass
from tpifu.model.kernels.norm import norm_relu_conv
from tpifu.model.kernels.upsample import upsample


class StackedHourglass(nn.Module):
    """The image filter F of Sec. 3.2."""

    def __init__(self, config: Hourglass, kind: str, channels: int = 3) -> None:
        """`channels` of the input."""
        super().__init__()
        dim = config.dim
        # PIFu's stem has 64, then 128 channels, for a width of 256. Other widths keep the ratios.
        narrow, half = dim // 4, dim // 2
        self.stem = nn.Sequential(
            nn.Conv2d(channels, narrow, 7, stride=2, padding=3),
            NormReLU(kind, narrow),
            ConvBlock(narrow, half, kind),
        )
        self.stem_low = nn.Sequential(ConvBlock(half, half, kind), ConvBlock(half, dim, kind))
        self.hourglasses = nn.ModuleList(
            HourglassLevels(config.depth, dim, kind, skip=config.skip) for _ in range(config.stacks)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(ConvBlock(dim, dim, kind), nn.Conv2d(dim, dim, 1), NormReLU(kind, dim))
            for _ in range(config.stacks)
        )
        self.outputs = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in range(config.stacks))
        between = range(config.stacks - 1)
        self.feature_back = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in between)
        self.output_back = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in between)

    def forward(self, images: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b c h4 w4"]]:
        x = self.stem_low(F.avg_pool2d(self.stem(images), 2))
        maps: list[Tensor] = []
        for stack, (hourglass, head) in enumerate(zip(self.hourglasses, self.heads, strict=True)):
            feature = head(hourglass(x))
            maps.append(self.outputs[stack](feature))
            if stack < len(self.feature_back):
                x = x + self.feature_back[stack](feature) + self.output_back[stack](maps[-1])
        return maps


class HourglassLevels(nn.Module):
    """One hourglass: `depth` levels of average pooling, then bicubic upsampling, with a skip branch
    at each level."""

    def __init__(self, depth: int, dim: int, kind: str, *, skip: bool) -> None:
        super().__init__()
        branches = depth if skip else 0
        self.branches = nn.ModuleList(ConvBlock(dim, dim, kind) for _ in range(branches))
        self.down = nn.ModuleList(ConvBlock(dim, dim, kind) for _ in range(depth))
        self.bottom = ConvBlock(dim, dim, kind)
        self.up = nn.ModuleList(ConvBlock(dim, dim, kind) for _ in range(depth))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        branches = []
        for level, down in enumerate(self.down):
            branches.append(self.branches[level](x) if len(self.branches) else None)
            x = down(F.avg_pool2d(x, 2))
        x = self.bottom(x)
        for up, branch in zip(self.up, reversed(branches), strict=True):
            x = upsample(up(x))
            x = x if branch is None else x + branch
        return x


class ConvBlock(nn.Module):
    """Three pre-activated 3x3 convolutions to 1/2, 1/4, 1/4 of the channels, concatenated, plus a
    shortcut."""

    def __init__(self, inputs: int, outputs: int, kind: str) -> None:
        super().__init__()
        widths = [inputs, outputs // 2, outputs // 4, outputs // 4]
        self.layers = nn.ModuleList(
            NormReLU(kind, before, nn.Conv2d(before, after, 3, padding=1, bias=False))
            for before, after in pairwise(widths)
        )
        # PIFu also registers the norms of unused shortcuts: 16,640 parameters without a gradient
        # in Table 1's network.
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = NormReLU(kind, inputs, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        parts, y = [], x
        for layer in self.layers:
            y = layer(y)
            parts.append(y)
        return torch.cat(parts, dim=1).add_(self.shortcut(x))


class NormReLU(nn.Module):
    """A norm, a ReLU and, if given, a convolution without bias."""

    def __init__(self, kind: str, channels: int, conv: nn.Conv2d | None = None) -> None:
        super().__init__()
        # PIFu's group norm has 32 groups. Layers with fewer channels have one channel per group.
        self.norm = (
            nn.BatchNorm2d(channels)
            if kind == "batch"
            else nn.GroupNorm(math.gcd(32, channels), channels)
        )
        self.conv = conv

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h w"]:
        return norm_relu_conv(x, self.norm, self.conv)
