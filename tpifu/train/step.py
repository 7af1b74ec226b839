"""One training step: the loss of every stack (Sec. 3.3), gradients, precision."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from tpifu.config import Loss, Precision
from tpifu.dataset.windows import Batch
from tpifu.model.pifu import PIFu

_MIN_SPEEDUP = 1.15
"""bfloat16 must be at least this much faster to be worth its rounding error."""


_LEAST = 1e-4
"""Cross entropy treats occupancies below this as this, and likewise above 1 - this, so that a
single wrong point does not dominate a step."""


def loss_of_stacks(
    occupancies: Float[Tensor, "s b n"], labels: Float[Tensor, "b n"], loss: Loss = "squared"
) -> Float[Tensor, ""]:
    """Mean loss over all stacks. Sec. 3.3: every stack is trained, not only the last."""
    labels = labels.expand_as(occupancies)
    if loss == "squared":
        return F.mse_loss(occupancies, labels)
    return F.binary_cross_entropy(occupancies.clamp(_LEAST, 1 - _LEAST), labels)


def surface_level(inside_share: float) -> float:
    """The occupancy at which a point of the pool is as likely inside as outside. `inside_share`:
    share of the pool that is inside.

    Half of the training points are inside, so the network learns the probability under that draw.
    By Bayes' rule, an even chance in the pool is then 1 - inside_share. At a level of 0.5,
    reconstructions would be too thick where the network is unsure, especially in depth.
    """
    return 1 - inside_share


def training_step(
    network: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    parts: Sequence[Batch],
    rate: float,
    precision: Precision = "float32",
    loss: Loss = "squared",
) -> Float[Tensor, ""]:
    """Update the weights once, on a batch split into equal parts. Returns its loss, on the
    device."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    network.zero_grad(set_to_none=True)
    found = add_gradients(network, parts, precision, loss)
    for optimizer in optimizers:
        optimizer.step()
    return found


def add_gradients(
    network: nn.Module, parts: Sequence[Batch], precision: Precision, loss: Loss = "squared"
) -> Float[Tensor, ""]:
    """Add the gradients of a batch split into equal parts to the network's gradients. Returns its
    loss."""
    losses = []
    for number, batch in enumerate(parts, 1):
        autocast = torch.autocast(batch.images.device.type, torch.bfloat16, precision == "bfloat16")
        # Ranks reduce gradients once per step, with the last part.
        waits = isinstance(network, DistributedDataParallel) and number < len(parts)
        with cast(DistributedDataParallel, network).no_sync() if waits else nullcontext():
            with autocast:
                occupancies = network(batch.images, batch.frames, batch.points, batch.calib)
            of_part = loss_of_stacks(occupancies.float(), batch.labels, loss) / len(parts)
            of_part.backward()
        losses.append(of_part.detach())
    return torch.stack(losses).sum()


def fastest_precision(network: PIFu, parts: Sequence[Batch]) -> Precision:
    """bfloat16 if it computes the batch's gradients clearly faster on this machine, else float32.
    Leaves the network unchanged."""
    seconds: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for _ in range(3):  # alternating; the first round also warms up
        for precision, times in seconds.items():
            start = time.perf_counter()
            # float() waits for the device.
            float(add_gradients(network, parts, precision))
            times.append(time.perf_counter() - start)
    network.zero_grad(set_to_none=True)
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
    faster = min(seconds["float32"]) > _MIN_SPEEDUP * min(seconds["bfloat16"])
    return "bfloat16" if faster else "float32"
