"""A whole training step of Table 1's network at 256 px: ours against the plain one, one JSON line.

python benchmarks/train_step.py   (batch 2, 1000 points, all cores; about two minutes)

Plain is the same network in eager float32 with PyTorch's own bicubic upsampling, contiguous
tensors and an unfused Adam. flop_share: multiply-adds of the convolutions and the MLP (backward
counted twice), as a share of what one of the hourglass's convolutions alone reaches here.
"""

import json
import resource
import statistics
import time
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tpifu import hourglass
from tpifu.config import Model, Train
from tpifu.dataset import Batch, network_input
from tpifu.pifu import PIFu
from tpifu.train import loss_of_stacks, optimizers, training_step

SIZE, WINDOWS, POINTS, ROUNDS = 256, 2, 1000, 7


def draw_batch() -> Batch:
    torch.manual_seed(0)
    return Batch(
        images=torch.randint(0, 256, (WINDOWS, SIZE, SIZE, 2), dtype=torch.uint8),
        frames=torch.arange(WINDOWS)[:, None],
        calib=torch.eye(3, 4).expand(WINDOWS, -1, -1),
        points=torch.rand(WINDOWS, POINTS, 3) * 2 - 1,
        labels=(torch.rand(WINDOWS, POINTS) > 0.5).float(),
    )


def plain_upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True)


def plain_step(network: PIFu, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    with mock.patch.object(hourglass, "upsample", plain_upsample):
        optimizer.zero_grad()
        found = network(network_input(batch.images), batch.frames, batch.points, batch.calib)
        loss = loss_of_stacks(found, batch.labels)
        loss.backward()
        optimizer.step()
    return loss.detach()


def multiply_adds(network: PIFu, batch: Batch) -> int:
    """Of one forward pass."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        per_output = weight[0].numel()
        total += output.numel() * per_output

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        network(network_input(batch.images), batch.frames, batch.points, batch.calib)
    for hook in hooks:
        hook.remove()
    return total


def peak_multiply_adds() -> float:
    """Per second, in the best of twenty convolutions as the hourglass has them; matrix products
    may reach less than half of it (108 against 258 G/s on one AMD machine)."""
    layer = nn.Conv2d(256, 128, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(WINDOWS, 256, 64, 64).to(memory_format=torch.channels_last)
    best = float("inf")
    with torch.no_grad():
        for _ in range(20):
            start = time.perf_counter()
            layer(images)
            best = min(best, time.perf_counter() - start)
    return images.shape[0] * 64 * 64 * layer.weight.numel() / best


def main() -> None:
    batch, rate = draw_batch(), Train().learning_rate
    torch.manual_seed(0)
    fast = PIFu(Model(), 1, 2.56).train()
    plain = PIFu(Model(), 1, 2.56).train()
    plain.load_state_dict(fast.state_dict())
    fast.image_filter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ours = optimizers("adam", fast)
    adam = torch.optim.Adam(plain.parameters(), lr=rate, foreach=False, fused=False)
    training_step(fast, ours, [batch], rate)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    plain_step(plain, adam, batch)
    difference = abs(float(loss_of(fast, batch)) - float(loss_of(plain, batch)))
    seconds: dict[str, list[float]] = {"fast": [], "plain": []}
    for _ in range(ROUNDS):  # in turns: the machine's moods hit both
        for name in seconds:
            start = time.perf_counter()
            if name == "fast":
                training_step(fast, ours, [batch], rate)
            else:
                plain_step(plain, adam, batch)
            seconds[name].append(time.perf_counter() - start)
    result = {f"{name}_s": min(found) for name, found in seconds.items()}
    result |= {f"{name}_median_s": statistics.median(found) for name, found in seconds.items()}
    result["ratio"] = result["plain_s"] / result["fast_s"]
    result["peak_mb"] = peak
    work = 3 * multiply_adds(fast, batch)
    result["flop_share"] = work / peak_multiply_adds() / result["fast_s"]
    result["loss_after_a_step_differs"] = difference
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    print(json.dumps({"threads": torch.get_num_threads(), **rounded}))


def loss_of(network: PIFu, batch: Batch) -> Tensor:
    images = network_input(batch.images).to(memory_format=torch.channels_last)
    with torch.no_grad():
        return loss_of_stacks(
            network(images, batch.frames, batch.points, batch.calib), batch.labels
        )


if __name__ == "__main__":
    main()
