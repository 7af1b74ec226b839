"""Muon (K. Jordan, 2024): momentum with updates close to orthogonal matrices.

A layer then learns all directions of its input at one rate.

Muon is for the weights between hidden layers; a convolution's kernel is a matrix of shape (outputs,
inputs * height * width). Adam updates biases, norms, and the first and last layers.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_STEPS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
# Adam's updates have a root mean square of about 0.2 (Liu et al. 2025, Sec. 2.2). Muon's are scaled
# to match, so that both optimisers share one learning rate.
_ADAM_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """For weights with two or more dimensions; `lr` as for Adam."""

    def __init__(self, weights: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the weights. Weights of equal shape form one batch, because each is small."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape.setdefault(weight.shape, []).append(weight)
            for weights in by_shape.values():
                self._update(weights, group["lr"], group["momentum"])

    def _update(self, weights: list[Tensor], rate: float, decay: float) -> None:
        updates = []
        for weight in weights:
            assert weight.grad is not None
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            momentum = state["momentum"].lerp_(weight.grad, 1 - decay)
            # Nesterov momentum.
            updates.append(weight.grad.lerp(momentum, decay).flatten(1))
        directions = orthogonalise(torch.stack(updates))
        outputs, inputs = directions.shape[1:]
        scale = _ADAM_RMS * max(outputs, inputs) ** 0.5
        for weight, direction in zip(weights, directions, strict=True):
            weight.add_(direction.view_as(weight), alpha=-rate * scale)


def orthogonalise(matrices: Float[Tensor, "b o i"]) -> Float[Tensor, "b o i"]:
    """Map the singular values of each matrix to about 0.7 .. 1.2; very small ones stay below.

    Five Newton-Schulz iterations, which need matrix products only.
    """
    transposed = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if transposed else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if transposed else x
