"""Run a network over the frames of a clip: images -> the occupancy field of each frame."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tpifu.model.pifu import PIFu

Field = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]
"""World points (metres, float32, on the CPU) -> occupancy, on any device."""

PASSES = 8
"""Passes per call of the filter."""
CPU_POINTS, GPU_POINTS = 2**12, 2**16
"""Points per call of the classifier. On a CPU, the activations of 4,096 points fit in the caches,
which is 1.6 to 2 times as fast as 65,536 points."""


@runtime_checkable
class Images(Protocol):
    """Images by number: a tensor, or files that are read on demand."""

    def __getitem__(self, numbers: list[int], /) -> UInt8[Tensor, "m h w c"]: ...


@torch.no_grad()
def window_fields(
    network: PIFu,
    images: Images,
    frames: Int[Tensor, "b k"],
    calib: Float[Tensor, "b 3 4"],
) -> Iterator[Field]:
    """The field of each window at the network's last stack.

    `frames` lists the images of each window, oldest first; windows are in temporal order. Each
    pass of the filter is computed once. A feature map is dropped after the last window that needs
    it, so memory does not grow with the length of the clip.
    """
    windows = [network.passes(window) for window in frames.tolist()]
    device = next(network.parameters()).device
    pending = list(dict.fromkeys(passed for window in windows for passed in window))
    maps: dict[tuple[int, ...], Tensor] = {}
    for window, camera in zip(windows, calib.to(device), strict=True):
        while not maps.keys() >= set(window):
            passes, pending = pending[:PASSES], pending[PASSES:]
            filtered = torch.stack([images[list(numbers)] for numbers in passes]).to(device)
            maps |= zip(passes, network.filter(filtered)[-1], strict=True)
        yield partial(_query, network, torch.stack([maps[numbers] for numbers in window]), camera)
        maps = {numbers: maps[numbers] for numbers in maps if numbers >= min(window)}


@torch.no_grad()
def _query(
    network: PIFu,
    maps: Float[Tensor, "k d h w"],
    calib: Float[Tensor, "3 4"],
    points: Float[Tensor, "n 3"],
) -> Float[Tensor, " n"]:
    window = torch.arange(len(maps), device=maps.device)[None]
    batches = points.split(CPU_POINTS if maps.device.type == "cpu" else GPU_POINTS)
    found = [network.query(maps, window, batch[None].to(maps), calib[None]) for batch in batches]
    return torch.cat(found, dim=1)[0]
