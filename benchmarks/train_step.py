"""Compare a fast training step of Table 1's network with a plain one; prints one JSON line.

python benchmarks/train_step.py   (256 px, batch 2, 1,000 points, all cores; two to six minutes)
python benchmarks/train_step.py --device cuda --size 512 --compile --precision bfloat16

Fast: this project's step, in the faster precision on this machine (TPIFU_PRECISION=fastest) or in
the given one. Plain: the same network in eager float32, with the plain equivalent of every kernel
(tpifu/model/kernels), contiguous tensors and unfused Adam.

float32_s: time of the fast step in float32, not compiled.
peak_mb: peak memory of a process that runs four fast steps; on a GPU, peak of its allocations.
flop_share: multiply-adds per second of the convolutions and the MLP (backward counted twice),
relative to the fastest run of one convolution of the hourglass: in float32 on a CPU, in the fast
step's precision on a GPU.
compile_s: time until the first fast step has finished, including the choice of precision, minus the
time of one step.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import get_args
from unittest import mock

import torch
from memory import peak_mb
from torch import Tensor, nn

from tpifu.config import Model, Precision, Train
from tpifu.dataset.windows import Batch
from tpifu.model import hourglass, pifu
from tpifu.model.kernels.lookup import plain_lookup
from tpifu.model.kernels.norm import plain_norm_relu_conv
from tpifu.model.kernels.upsample import plain_upsample
from tpifu.model.pifu import PIFu, network_input
from tpifu.train.optimizers import optimizers
from tpifu.train.process import reuse_memory
from tpifu.train.step import fastest_precision, loss_of_stacks, training_step

WINDOWS, POINTS, ROUNDS = 2, 1000, 7


def draw_batch(size: int, device: torch.device) -> Batch:
    torch.manual_seed(0)
    batch = Batch(
        images=torch.randint(0, 256, (WINDOWS, size, size, 2), dtype=torch.uint8),
        frames=torch.arange(WINDOWS)[:, None],
        calib=torch.eye(3, 4).expand(WINDOWS, -1, -1),
        points=torch.rand(WINDOWS, POINTS, 3) * 2 - 1,
        labels=(torch.rand(WINDOWS, POINTS) > 0.5).float(),
    )
    return batch.to(device)


def our_network(device: torch.device) -> PIFu:
    torch.manual_seed(0)
    return PIFu(Model(neighborhood=1), 2.56).to(device).train()


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """Time until the device has finished the work."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


@contextmanager
def plain_layers() -> Iterator[None]:
    with (
        mock.patch.object(hourglass, "norm_relu_conv", plain_norm_relu_conv),
        mock.patch.object(hourglass, "upsample", plain_upsample),
        mock.patch.object(pifu, "lookup", plain_lookup),
        mock.patch.object(pifu, "network_input", contiguous_input),
    ):
        yield


def contiguous_input(images: Tensor) -> Tensor:
    return network_input(images).contiguous()


def plain_step(network: PIFu, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    with plain_layers():
        optimizer.zero_grad()
        found = network(batch.images, batch.frames, batch.points, batch.calib)
        loss_of_stacks(found, batch.labels).backward()
        optimizer.step()


def multiply_adds(network: PIFu, batch: Batch) -> int:
    """Multiply-adds of one forward pass."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        total += output.numel() * weight[0].numel()

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(count) for module in convolutions]
    with torch.no_grad():
        found = network(batch.images, batch.frames, batch.points, batch.calib)
    for hook in hooks:
        hook.remove()
    of_point = sum(weight.numel() for weight in network.classifier.parameters() if weight.ndim > 1)
    return total + found.numel() * of_point


def peak_multiply_adds(size: int, device: torch.device, precision: Precision) -> float:
    """Multiply-adds per second, the best of twenty runs of one convolution of the hourglass. Matrix
    products may reach less than half of this (108 versus 258 G/s on one AMD machine)."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    layer = nn.Conv2d(256, 128, 3, padding=1).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    cells = torch.rand(WINDOWS, 256, size // 4, size // 4, device=device, dtype=dtype)
    cells = cells.to(memory_format=torch.channels_last)
    with torch.no_grad():
        best = min(seconds_of(device, lambda: layer(cells)) for _ in range(20))
    return cells[:, 0].numel() * layer.weight.numel() / best


def print_peak(options: argparse.Namespace, precision: Precision) -> None:
    """Print the peak memory of this process after four steps, in MB."""
    reuse_memory()
    network, batch = our_network(options.device), draw_batch(options.size, options.device)
    ours = optimizers("adam", network)
    if options.compile:
        network.compile()
    for _ in range(4):
        training_step(network, ours, [batch], Train().learning_rate, precision)
    on_gpu = options.device.type == "cuda"
    print(torch.cuda.max_memory_allocated(options.device) / 2**20 if on_gpu else peak_mb())


def measured(options: argparse.Namespace) -> None:
    reuse_memory()
    device, rate = options.device, Train().learning_rate
    batch = draw_batch(options.size, device)
    fast, float32, plain = (our_network(device) for _ in range(3))
    plain.image_filter.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    fast_updaters, float32_updaters = optimizers("adam", fast), optimizers("adam", float32)
    adam = torch.optim.Adam(plain.parameters(), lr=rate, foreach=False, fused=False)
    work = 3 * multiply_adds(plain, batch)
    with plain_layers():
        expected = loss_of(plain, batch)
    difference = abs(float(expected) - float(loss_of(fast, batch)))
    began = time.perf_counter()
    if options.compile:
        fast.compile()
    precision = options.precision
    if precision == "fastest":
        precision = fastest_precision(fast, [batch])
    steps = {
        "fast": lambda: training_step(fast, fast_updaters, [batch], rate, precision),
        "float32": lambda: training_step(float32, float32_updaters, [batch], rate),
        "plain": lambda: plain_step(plain, adam, batch),
    }
    seconds_of(device, steps["fast"])
    first = time.perf_counter() - began
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):  # alternate, so that noise affects all equally
        for name, step in steps.items():
            seconds[name].append(seconds_of(device, step))
    result = {f"{name}_s": min(found) for name, found in seconds.items()}
    result |= {f"{name}_median_s": statistics.median(found) for name, found in seconds.items()}
    result["ratio"] = result["plain_s"] / result["fast_s"]
    if options.compile:
        result["compile_s"] = first - result["fast_s"]
    for kind in dict.fromkeys([precision, "float32"]):
        alike = [word for word in sys.argv if kind == precision or word != "--compile"]
        command = [sys.executable, *alike, "--peak", kind]
        peak = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        result["peak_mb" if kind == precision else f"peak_{kind}_mb"] = peak
    reached = peak_multiply_adds(
        options.size, device, precision if device.type == "cuda" else "float32"
    )
    result["flop_share"] = work / reached / result["fast_s"]
    result["ratio_float32"] = result["plain_s"] / result["float32_s"]
    result["loss_differs"] = difference
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    where = (
        {"gpu": torch.cuda.get_device_name(device)}
        if device.type == "cuda"
        else {"threads": torch.get_num_threads()}
    )
    print(json.dumps({**where, "size": options.size, "precision": precision, **rounded}))


def loss_of(network: PIFu, batch: Batch) -> Tensor:
    found = network(batch.images, batch.frames, batch.points, batch.calib)
    return loss_of_stacks(found, batch.labels).detach()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--precision", choices=get_args(Precision), default="fastest")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peak", choices=get_args(Precision), help=argparse.SUPPRESS)
    options = parser.parse_args()
    print_peak(options, options.peak) if options.peak else measured(options)


if __name__ == "__main__":
    main()
