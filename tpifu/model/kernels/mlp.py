"""The point classifier's layers as one function."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Layers(torch.autograd.Function):
    """What the last layer of the MLP gives, before its activation.

    What the input adds to all layers is one product, and so are its gradients: nothing is
    concatenated for each point. Only the input and the activations are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "n i"],
        of_input: Float[Tensor, "o i"],
        biases: Float[Tensor, " o"],
        *between: Float[Tensor, "_ _"],
    ) -> Float[Tensor, "n last"]:
        widths = [weight.shape[1] for weight in between]
        last = len(biases) - sum(widths)
        y, *extras = _dense(x, of_input, biases).split([*widths, last], dim=1)
        activations = []
        for weight, extra in zip(between, extras, strict=True):
            activations.append(F.leaky_relu(y, _SLOPE))
            y = _dense(activations[-1], weight, None).add_(extra)
        ctx.save_for_backward(x, of_input, *between, *activations)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "n last"]) -> tuple[Tensor | None, ...]:
        x, of_input, *rest = ctx.saved_tensors
        between, activations = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        of_layers, of_between = [grad], []
        for weight, y in zip(reversed(between), reversed(activations), strict=True):
            of_y, of_weight, _ = _dense_backward(of_layers[-1], y, weight)
            of_between.append(of_weight)
            of_layers.append(torch.ops.aten.leaky_relu_backward(of_y, y, _SLOPE, True))
        together = torch.cat(of_layers[::-1], dim=1)
        return *_dense_backward(together, x, of_input), *of_between[::-1]


_SLOPE = 0.01
"""Of the leaky ReLU."""


def _dense(
    x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None
) -> Float[Tensor, "n o"]:
    """A linear layer."""
    if not _convolves(x):
        return F.linear(x, weight, bias)
    return F.conv2d(_as_image(x), weight[:, :, None, None], bias).movedim(1, -1)[0, 0]


def _dense_backward(
    grad: Float[Tensor, "n o"], x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"]
) -> tuple[Float[Tensor, "n i"], Float[Tensor, "o i"], Float[Tensor, " o"]]:
    """Gradients of a linear layer's input, weight and bias."""
    kept, weight = weight.dtype, weight.to(x.dtype)
    if not _convolves(x):
        return grad @ weight, (grad.mT @ x).to(kept), grad.sum(dim=0, dtype=kept)
    of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
        _as_image(grad),
        _as_image(x),
        weight[:, :, None, None],
        [len(weight)],
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        [True, True, True],
    )
    return of_x.movedim(1, -1)[0, 0], of_weight[:, :, 0, 0].to(kept), of_bias.to(kept)


def _convolves(x: Tensor) -> bool:
    """Whether linear layers are convolutions of size 1: on many CPUs that library has the faster
    matrix product."""
    return x.device.type == "cpu"


def _as_image(x: Float[Tensor, "n i"]) -> Float[Tensor, "1 i 1 n"]:
    """Of one row, channels-last."""
    return x[None, None].movedim(-1, 1)
