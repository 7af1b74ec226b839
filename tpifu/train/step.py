"""One training step: the loss of every stack (Sec. 3.3), gradients, the arithmetic."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from tpifu.config import Precision
from tpifu.dataset.windows import Batch
from tpifu.model.pifu import PIFu

_WORTHWHILE = 1.15
"""So many times as fast must bfloat16 be, for its rounding."""


def loss_of_stacks(
    occupancies: Float[Tensor, "s b n"], labels: Float[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Sec. 3.3: the loss is taken at every stack, not only the last; the mean over stacks."""
    return F.mse_loss(occupancies, labels.expand_as(occupancies))


def surface_level(inside_share: float) -> float:
    """The occupancy at which a point is as likely inside as outside, where points lie as in the
    pool, of which `inside_share` is inside.

    Training draws half its points inside, and what a squared error teaches is the probability under
    that draw: 0.5 means an even chance only where points are balanced. By Bayes' rule an even
    chance in the pool is 1 - inside_share: at 0.5, reconstructions would be too fat wherever the
    network is unsure, above all along the line of sight.
    """
    return 1 - inside_share


def training_step(
    network: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    parts: Sequence[Batch],
    rate: float,
    precision: Precision = "float32",
    *,
    compiled: bool = False,
) -> Float[Tensor, ""]:
    """One step of all optimisers on a batch in equal parts; returns its loss, still on the
    device. `compiled` says that the network is."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    network.zero_grad(set_to_none=True)
    loss = add_gradients(network, parts, precision, compiled=compiled)
    for optimizer in optimizers:
        optimizer.step()
    return loss


def add_gradients(
    network: nn.Module, parts: Sequence[Batch], precision: Precision, *, compiled: bool = False
) -> Float[Tensor, ""]:
    """Add the gradients of a batch in equal parts to the network's; returns its loss."""
    losses = []
    for number, batch in enumerate(parts, 1):
        if compiled and batch.frames.shape[1] > 1:
            # Where clips begin and end windows have fewer images: one graph for any number.
            torch._dynamo.maybe_mark_dynamic(batch.images, 0)
        half = torch.autocast(batch.images.device.type, torch.bfloat16, precision == "bfloat16")
        # Processes exchange gradients once a step, with the last part.
        waits = isinstance(network, DistributedDataParallel) and number < len(parts)
        with cast(DistributedDataParallel, network).no_sync() if waits else nullcontext():
            with half:
                occupancies = network(batch.images, batch.frames, batch.points, batch.calib)
            loss = loss_of_stacks(occupancies.float(), batch.labels) / len(parts)
            loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def fastest_precision(
    network: PIFu, parts: Sequence[Batch], *, compiled: bool = False
) -> Precision:
    """bfloat16 if gradients of the batch come clearly faster with it on this machine, else
    float32; the network is left as it was."""
    seconds: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for _ in range(3):  # in turns; the first of each also warms up
        for precision, found in seconds.items():
            start = time.perf_counter()
            # float() waits for the device.
            float(add_gradients(network, parts, precision, compiled=compiled))
            found.append(time.perf_counter() - start)
    network.zero_grad(set_to_none=True)
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    faster = min(seconds["float32"]) > _WORTHWHILE * min(seconds["bfloat16"])
    return "bfloat16" if faster else "float32"
