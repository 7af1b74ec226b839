"""Stacked hourglass (Newell 2016) as PIFu uses it: an image -> one feature map a stack, a quarter
of its size."""

import functools
import math
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tpifu.config import Hourglass


class _GroupNormReLU(torch.autograd.Function):
    """Group norm, ReLU and, given a kernel, a convolution of stride 1 that keeps the size.

    Values and gradients are those of the three layers, in about their time; but only what goes in
    is kept, the rest is computed again, so that training needs half the memory.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "b c h w"],
        scale: Float[Tensor, " c"],
        shift: Float[Tensor, " c"],
        groups: int,
        epsilon: float,
        kernel: Float[Tensor, "o c s s"] | None,
    ) -> Float[Tensor, "b o h w"]:
        b, c, h, w = x.shape
        y, mean, rstd = torch.native_group_norm(x, scale, shift, b, c, h * w, groups, epsilon)
        y.relu_()
        if kernel is not None:
            kernel = kernel.to(x.dtype)
            y = F.conv2d(y, kernel, padding=kernel.shape[-1] // 2)
        ctx.save_for_backward(x, scale, shift, mean, rstd, kernel)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "b o h w"]) -> tuple[Tensor | None, ...]:
        x, scale, shift, mean, rstd, kernel = ctx.saved_tensors
        b, c, h, w = x.shape
        cells = x.movedim(1, -1).reshape(b, h * w, c)  # a view where x is channels-last
        spread = _spread(c, mean.shape[1], x.device)
        mean, rstd = (torch.stack([mean, rstd]) @ spread)[:, :, None]  # each (b, 1, c)
        factor = rstd * scale
        offset = torch.addcmul(shift, mean, factor, value=-1)
        factor_x = factor.to(x.dtype)
        y = torch.addcmul(offset.to(x.dtype), cells, factor_x).relu_()
        grad_kernel = None
        if kernel is not None:
            grad, grad_kernel = _convolution_backward(
                grad, y.view(b, h, w, c).movedim(-1, 1), kernel
            )
            grad_kernel = grad_kernel.float()
        grad = grad.movedim(1, -1).reshape(b, h * w, c)
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
        work = torch.mul(grad, cells, out=y)
        alone = grad.sum(dim=1, keepdim=True, dtype=torch.float32)
        with_x = work.sum(dim=1, keepdim=True, dtype=torch.float32)
        normalised = torch.addcmul(with_x, alone, mean, value=-1) * rstd
        both = torch.cat([normalised, alone], dim=1)
        grad_scale, grad_shift = both.sum(dim=0)
        # A group's mean and variance depend on all of its cells.
        of_group = (both * scale) @ spread.mT @ spread
        slope, constant = (of_group * (rstd / (-h * w * c // spread.shape[0]))).split(1, dim=1)
        slope = slope * rstd
        constant = torch.addcmul(constant, slope, mean, value=-1)
        torch.addcmul(constant.to(x.dtype), cells, slope.to(x.dtype), out=work)
        work.addcmul_(grad, factor_x)
        grad_x = work.view(b, h, w, c).movedim(-1, 1)
        return grad_x, grad_scale, grad_shift, None, None, grad_kernel


def _convolution_backward(
    grad: Float[Tensor, "b o h w"], x: Float[Tensor, "b c h w"], kernel: Float[Tensor, "o c s s"]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "o c s s"]]:
    """Gradients of a channels-last input and of the kernel of a convolution that keeps the size."""

    def backward(
        grad: Tensor, x: Tensor, kernel: Tensor, of_input: bool, of_kernel: bool
    ) -> tuple[Any, Any, Any]:
        pad = [kernel.shape[-1] // 2] * 2
        wanted = [of_input, of_kernel, False]
        return torch.ops.aten.convolution_backward(
            grad, x, kernel, None, [1, 1], pad, [1, 1], False, [0, 0], 1, wanted
        )

    _, c, h, w = x.shape
    if _SLOW_CHANNELS_LAST and kernel.shape[-1] > 1 and h * w * c >= 64**3:
        inputs, _, _ = backward(grad, x, kernel, True, False)
        _, kernels, _ = backward(grad.contiguous(), x.contiguous(), kernel, False, True)
    else:
        inputs, kernels, _ = backward(grad, x, kernel, True, True)
    return inputs, kernels


_SLOW_CHANNELS_LAST = torch.backends.cpu.get_cpu_capability() == "AVX2"
"""Without AVX-512, oneDNN's gradients of kernels over many cells and channels are up to 1.8 times
as slow in channels-last order as in contiguous order, copies included."""


@functools.cache
def _spread(channels: int, groups: int, device: torch.device) -> Float[Tensor, "g c"]:
    """What takes a value of each group to its channels: 1 where a channel is of the group."""
    with torch.inference_mode(False):
        return torch.eye(groups, device=device).repeat_interleave(channels // groups, dim=1)


class NormReLU(nn.Module):
    """A norm and a ReLU, then a convolution if there is one."""

    def __init__(self, kind: str, channels: int, then: nn.Conv2d | None = None) -> None:
        super().__init__()
        assert then is None or then.bias is None, "a fused convolution adds none"
        # Group norm has PIFu's 32 groups; layers of fewer channels have a group for each.
        self.norm = (
            nn.BatchNorm2d(channels)
            if kind == "batch"
            else nn.GroupNorm(math.gcd(32, channels), channels)
        )
        self.conv = then

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h w"]:
        norm, conv = self.norm, self.conv
        eager_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
        if isinstance(norm, nn.GroupNorm) and eager_cpu and torch.is_grad_enabled():
            kernel = None if conv is None else conv.weight
            fused = _GroupNormReLU.apply
            return fused(x, norm.weight, norm.bias, norm.num_groups, norm.eps, kernel)
        y = F.relu(norm(x), inplace=True)
        return y if conv is None else conv(y)


def upsample(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the size, bicubic with aligned corners, as PIFu has it.

    Bicubic interpolation is linear and separable: two small matrix products give what
    `F.interpolate` gives, many times faster on a CPU (benchmarks/layers.py).
    """
    b, _, h, w = x.shape
    # The compiler looks through a cache; in its graphs the matrices are made once a step.
    matrix = _bicubic if torch.compiler.is_compiling() else _bicubic_once
    rows, columns = (matrix(size, x.device, x.dtype) for size in (h, w))
    y = rows @ x.movedim(1, -1).reshape(b, h, -1)  # channels last: b, 2h, w c
    return (columns @ y.reshape(b, 2 * h, w, -1)).movedim(-1, 1)


def _bicubic(size: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "size2 size"]:
    """The matrix that interpolates `size` values to twice as many."""
    with torch.inference_mode(False):
        basis = torch.eye(size, device=device)[None, None]
        wide = F.interpolate(basis, size=(size, 2 * size), mode="bicubic", align_corners=True)
        return wide[0, 0].mT.contiguous().to(dtype)


_bicubic_once = functools.cache(_bicubic)


class ConvBlock(nn.Module):
    """Three pre-activated 3x3 convolutions to 1/2, 1/4, 1/4 of the channels, concatenated, plus a
    shortcut."""

    def __init__(self, inputs: int, outputs: int, kind: str) -> None:
        super().__init__()
        widths = [inputs, outputs // 2, outputs // 4, outputs // 4]
        self.layers = nn.ModuleList(
            [
                NormReLU(kind, before, nn.Conv2d(before, after, 3, padding=1, bias=False))
                for before, after in pairwise(widths)
            ]
        )
        # PIFu registers the shortcut's norm even when it is unused: 16,640 parameters without a
        # gradient at Table 1.
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = NormReLU(kind, inputs, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        parts, y = [], x
        for layer in self.layers:
            y = layer(y)
            parts.append(y)
        return torch.cat(parts, dim=1).add_(self.shortcut(x))


class HourglassLevels(nn.Module):
    """One hourglass: `depth` times down by average pooling and up again (bicubic), with a branch at
    each level."""

    def __init__(self, depth: int, dim: int, kind: str, *, skip: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [ConvBlock(dim, dim, kind) for _ in range(depth if skip else 0)]
        )
        self.down = nn.ModuleList([ConvBlock(dim, dim, kind) for _ in range(depth)])
        self.bottom = ConvBlock(dim, dim, kind)
        self.up = nn.ModuleList([ConvBlock(dim, dim, kind) for _ in range(depth)])

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


class StackedHourglass(nn.Module):
    """The image filter F of Sec. 3.2."""

    def __init__(self, config: Hourglass, kind: str) -> None:
        super().__init__()
        dim = config.dim
        # PIFu's stem is 64 and 128 wide under 256 features; a narrow network narrows all of it.
        narrow, half = dim // 4, dim // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, narrow, 7, stride=2, padding=3),
            NormReLU(kind, narrow),
            ConvBlock(narrow, half, kind),
        )
        self.stem_low = nn.Sequential(ConvBlock(half, half, kind), ConvBlock(half, dim, kind))
        self.hourglasses = nn.ModuleList(
            [
                HourglassLevels(config.depth, dim, kind, skip=config.skip)
                for _ in range(config.stacks)
            ]
        )
        self.heads = nn.ModuleList(
            [
                nn.Sequential(
                    ConvBlock(dim, dim, kind), nn.Conv2d(dim, dim, 1), NormReLU(kind, dim)
                )
                for _ in range(config.stacks)
            ]
        )
        self.outputs = nn.ModuleList([nn.Conv2d(dim, dim, 1) for _ in range(config.stacks)])
        between = range(config.stacks - 1)
        self.feature_back = nn.ModuleList([nn.Conv2d(dim, dim, 1) for _ in between])
        self.output_back = nn.ModuleList([nn.Conv2d(dim, dim, 1) for _ in between])

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c h4 w4"]]:
        x = self.stem_low(F.avg_pool2d(self.stem(images), 2))
        maps: list[Tensor] = []
        for stack, (hourglass, head) in enumerate(zip(self.hourglasses, self.heads, strict=True)):
            feature = head(hourglass(x))
            maps.append(self.outputs[stack](feature))
            if stack < len(self.feature_back):
                x = x + self.feature_back[stack](feature) + self.output_back[stack](maps[-1])
        return maps
