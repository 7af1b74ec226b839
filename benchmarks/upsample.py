"""Bicubic upsampling of feature maps, forward and backward: ours against torch's, one JSON line.

python benchmarks/upsample.py   (laptop sizes: 12 images, 64 channels, 16x16 -> 32x32)
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tpifu.hourglass import upsample

ROUNDS = 40


def main() -> None:
    x = torch.randn(12, 64, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn(12, 64, 32, 32).to(memory_format=torch.channels_last)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "torch": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True),
        "ours": upsample,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):  # in turns: the machine's moods hit both
        for name, way in ways.items():
            start = time.perf_counter()
            way(x).backward(gradient)
            seconds[name].append(time.perf_counter() - start)
    result = {f"{name}_min_s": min(found) for name, found in seconds.items()}
    result |= {f"{name}_median_s": statistics.median(found) for name, found in seconds.items()}
    result["ratio"] = result["torch_min_s"] / result["ours_min_s"]
    error = (ways["torch"](x) - ways["ours"](x)).abs().max().item()
    result["largest_difference"] = error
    print(json.dumps({key: float(f"{value:.3g}") for key, value in result.items()}))


if __name__ == "__main__":
    main()
