"""A whole training step of Table 1's network at 256 px: ours against the plain one, one JSON line.

python benchmarks/train_step.py   (batch 2, 1000 points, all cores; two to six minutes)

Fast is ours with the precision that is faster on this machine (TPIFU_PRECISION=fastest). Plain is
the same network in eager float32 as three layers for each of ours: PyTorch's own group norm, ReLU,
bicubic upsampling and feature lookup, contiguous tensors and an unfused Adam. float32_s: ours
without 16-bit arithmetic. peak_mb: of a process that takes four fast steps. flop_share:
multiply-adds of the convolutions and the MLP (backward counted twice), as a share of what one of
the hourglass's convolutions alone reaches here in float32.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from unittest import mock

import torch
from memory import peak_mb
from torch import Tensor, nn
from torch.nn import functional as F

from tpifu import hourglass, pifu
from tpifu.config import Model, Precision, Train
from tpifu.dataset import Batch
from tpifu.field import network_input
from tpifu.pifu import PIFu
from tpifu.train import fastest_precision, loss_of_stacks, optimizers, reuse_memory, training_step

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


def plain_norm_relu(layer: hourglass.NormReLU, x: Tensor) -> Tensor:
    y = F.relu(layer.norm(x))
    return y if layer.conv is None else layer.conv(y)


def plain_lookup(maps: list[Tensor], frames: Tensor, xy: Tensor, align_corners: bool) -> Tensor:
    """Of windows of one frame."""
    grid = (xy * xy.new_tensor([1.0, -1.0]))[:, None]
    found = [F.grid_sample(m[frames[:, 0]], grid, align_corners=align_corners) for m in maps]
    return torch.stack(found)[:, :, :, 0].mT


@contextmanager
def plain_layers() -> Iterator[None]:
    with (
        mock.patch.object(hourglass, "upsample", plain_upsample),
        mock.patch.object(hourglass.NormReLU, "forward", plain_norm_relu),
        mock.patch.object(pifu, "lookup", plain_lookup),
        mock.patch.object(pifu, "dense", F.linear),
    ):
        yield


def plain_step(network: PIFu, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    with plain_layers():
        optimizer.zero_grad()
        found = network(network_input(batch.images), batch.frames, batch.points, batch.calib)
        loss_of_stacks(found, batch.labels).backward()
        optimizer.step()


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


def print_peak(precision: Precision) -> None:
    """Of this process alone, in MB, after four steps."""
    reuse_memory()
    torch.manual_seed(0)
    network = PIFu(Model(), 1, 2.56).train()
    network.image_filter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ours, batch = optimizers("adam", network), draw_batch()
    for _ in range(4):
        training_step(network, ours, [batch], Train().learning_rate, precision)
    print(peak_mb())


def main() -> None:
    reuse_memory()
    batch, rate = draw_batch(), Train().learning_rate
    torch.manual_seed(0)
    fast = PIFu(Model(), 1, 2.56).train()
    plain = PIFu(Model(), 1, 2.56).train()
    plain.load_state_dict(fast.state_dict())
    fast.image_filter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ours = optimizers("adam", fast)
    adam = torch.optim.Adam(plain.parameters(), lr=rate, foreach=False, fused=False)
    precision = fastest_precision(fast, [batch])
    with plain_layers():
        expected = loss_of(plain, batch)
    difference = abs(float(expected) - float(loss_of(fast, batch)))
    seconds: dict[str, list[float]] = {"fast": [], "float32": [], "plain": []}
    for _ in range(ROUNDS):  # in turns: the machine's moods hit all
        for name in seconds:
            start = time.perf_counter()
            if name == "plain":
                plain_step(plain, adam, batch)
            else:
                kind = precision if name == "fast" else "float32"
                training_step(fast, ours, [batch], rate, kind)
            seconds[name].append(time.perf_counter() - start)
    result = {f"{name}_s": min(found) for name, found in seconds.items()}
    result |= {f"{name}_median_s": statistics.median(found) for name, found in seconds.items()}
    result["ratio"] = result["plain_s"] / result["fast_s"]
    for kind in dict.fromkeys([precision, "float32"]):
        command = [sys.executable, __file__, kind]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        result["peak_mb" if kind == precision else f"peak_{kind}_mb"] = peak
    work = 3 * multiply_adds(fast, batch)
    result["flop_share"] = work / peak_multiply_adds() / result["fast_s"]
    result["ratio_float32"] = result["plain_s"] / result["float32_s"]
    result["loss_differs"] = difference
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    print(json.dumps({"threads": torch.get_num_threads(), "precision": precision, **rounded}))


def loss_of(network: PIFu, batch: Batch) -> Tensor:
    images = network_input(batch.images).to(memory_format=torch.channels_last)
    found = network(images, batch.frames, batch.points, batch.calib)
    return loss_of_stacks(found, batch.labels).detach()


if __name__ == "__main__":
    print_peak(cast(Precision, sys.argv[1])) if sys.argv[1:] else main()
