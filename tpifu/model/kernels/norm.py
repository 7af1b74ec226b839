"""Fused norm, ReLU and convolution, which store fewer activations for the backward pass."""

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def plain_norm_relu_conv(
    x: Float[Tensor, "b c h w"], norm: nn.Module, conv: nn.Conv2d | None
) -> Float[Tensor, "b o h w"]:
    y = F.relu(norm(x), inplace=True)
    return y if conv is None else conv(y)


def norm_relu_conv(
    x: Float[Tensor, "b c h w"], norm: nn.Module, conv: nn.Conv2d | None
) -> Float[Tensor, "b o h w"]:
    """`plain_norm_relu_conv`, fused for group norm in CPU training: Table 1's float32 step then
    peaks below 1.2 GB. `conv` has stride 1, "same" padding and no bias."""
    eager_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
    if isinstance(norm, nn.GroupNorm) and eager_cpu and torch.is_grad_enabled():
        kernel = None if conv is None else conv.weight
        fused = _GroupNormReLU.apply
        return fused(x, norm.weight, norm.bias, norm.num_groups, norm.eps, kernel)
    return plain_norm_relu_conv(x, norm, conv)


class _GroupNormReLU(torch.autograd.Function):
    """Group norm, ReLU and, if a kernel is given, a convolution.

    Only the input is stored; the backward pass recomputes the activations.
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
        cells = x.movedim(1, -1).reshape(b, h * w, c)  # a view if x is channels-last
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
        # The gradient through each group's mean and variance.
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
    """Gradients of the channels-last input and of the kernel."""

    def backward(grad: Tensor, x: Tensor, of_input: bool, of_kernel: bool) -> tuple[Any, Any, Any]:
        pad, mask = [kernel.shape[-1] // 2] * 2, [of_input, of_kernel, False]
        return torch.ops.aten.convolution_backward(
            grad, x, kernel, None, [1, 1], pad, [1, 1], False, [0, 0], 1, mask
        )

    _, c, h, w = x.shape
    if _SLOW_CHANNELS_LAST and kernel.shape[-1] > 1 and h * w * c >= 64**3:
        inputs, _, _ = backward(grad, x, True, False)
        _, kernels, _ = backward(grad.contiguous(), x.contiguous(), False, True)
    else:
        inputs, kernels, _ = backward(grad, x, True, True)
    return inputs, kernels


_SLOW_CHANNELS_LAST = torch.backends.cpu.get_cpu_capability() == "AVX2"
"""Without AVX-512, oneDNN takes up to 1.8 times as long for kernel gradients of large layers in
channels-last order as for contiguous copies, including the copying."""


@functools.cache
def _spread(channels: int, groups: int, device: torch.device) -> Float[Tensor, "g c"]:
    """The matrix that maps group values to channels: 1 where the channel is in the group."""
    with torch.inference_mode(False):
        return torch.eye(groups, device=device).repeat_interleave(channels // groups, dim=1)
