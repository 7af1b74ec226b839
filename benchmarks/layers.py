"""Compare fast layers of the network with plain ones, forward and backward; prints one JSON line.

python benchmarks/layers.py            (Table 1's sizes, as in benchmarks/train_step.py)
python benchmarks/layers.py --laptop   (8 windows of the laptop profile)

ratio_NAME: time of the plain layer divided by that of the fast one, minima over all rounds.
NAME_s, NAME_plain_s: these times in seconds.
NAME_differs: largest difference between the outputs, relative to the largest value.

norm_relu_conv: group norm, ReLU and a 3x3 convolution, all channels-last.
upsample: bicubic upsampling.
lookup: features of points at one stack.
adam: update of all weights, fused versus one tensor at a time.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from train_step import POINTS, WINDOWS, seconds_of

from tpifu.config import Model
from tpifu.model.hourglass import NormReLU
from tpifu.model.kernels.lookup import lookup, plain_lookup
from tpifu.model.kernels.norm import norm_relu_conv, plain_norm_relu_conv
from tpifu.model.kernels.upsample import plain_upsample, upsample
from tpifu.model.pifu import PIFu
from tpifu.params_file import load
from tpifu.train.optimizers import optimizers
from tpifu.train.process import reuse_memory

ROUNDS = 30
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sizes:
    model: Model
    images: int
    """Number of images per filter pass, for windows of one frame."""
    size: int
    """Cells per side of a feature map."""
    points: int
    """Points per window."""


TABLE_1 = Sizes(Model(neighborhood=1), images=WINDOWS, size=64, points=POINTS)


def laptop() -> Sizes:
    params = load(Path(__file__).parents[1] / "params.yaml")
    train, size = params.train, params.render.size // 4
    return Sizes(
        params.model.with_window(1), images=train.batch_size, size=size, points=train.points
    )


def channels_last(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last)


def pairs(sizes: Sizes) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]:
    """Our version and PyTorch's of each layer. Each returns its output after a backward pass."""
    torch.manual_seed(0)
    images, size, dim = sizes.images, sizes.size, sizes.model.hourglass.dim
    network = PIFu(sizes.model, 2.56)
    x = channels_last(images, dim, size, size).requires_grad_()
    wide = channels_last(images, dim, 2 * size, 2 * size)
    narrow = channels_last(images, dim // 2, size, size)
    layer = NormReLU("group", dim, nn.Conv2d(dim, dim // 2, 3, padding=1, bias=False))
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frames = torch.arange(images)[:, None]
    place = frames, torch.rand(images, sizes.points, 2) * 2 - 1, False
    of_points = torch.randn(images, sizes.points, dim)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    [fused] = optimizers("adam", network)
    plain = torch.optim.Adam(network.parameters(), foreach=False, fused=False)

    def back(y: Tensor, grad: Tensor) -> Tensor:
        y.backward(grad, retain_graph=True)
        return y.detach()

    def updated(optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.step()
        return torch.zeros(1)  # the weights are not compared

    return {
        "norm_relu_conv": (
            lambda: back(norm_relu_conv(x, layer.norm, layer.conv), narrow),
            lambda: back(plain_norm_relu_conv(x, layer.norm, layer.conv), narrow),
        ),
        "upsample": (lambda: back(upsample(x), wide), lambda: back(plain_upsample(x), wide)),
        "lookup": (
            lambda: back(lookup(x, *place), of_points),
            lambda: back(plain_lookup(x, *place), of_points),
        ),
        "adam": (lambda: updated(fused), lambda: updated(plain)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--laptop", action="store_true")
    sizes = laptop() if parser.parse_args().laptop else TABLE_1
    reuse_memory()
    result: dict[str, float] = {}
    for name, (ours, plain) in pairs(sizes).items():
        one, other = ours(), plain()
        differs = (one - other).abs().max() / one.abs().max().clamp(min=1e-9)
        seconds: dict[str, list[float]] = {"s": [], "plain_s": []}
        for _ in range(ROUNDS):  # alternate, so that noise affects both equally
            seconds["s"].append(seconds_of(CPU, ours))
            seconds["plain_s"].append(seconds_of(CPU, plain))
        least = {kind: min(found) for kind, found in seconds.items()}
        result[f"ratio_{name}"] = least["plain_s"] / least["s"]
        result |= {f"{name}_{kind}": value for kind, value in least.items()}
        result[f"{name}_differs"] = float(differs)
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    print(json.dumps({"threads": torch.get_num_threads(), **rounded}))


if __name__ == "__main__":
    main()
