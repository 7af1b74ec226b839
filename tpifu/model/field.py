"""A network over the frames of a clip: images -> the occupancy field of each frame."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tpifu.model.pifu import PIFu, network_input

Field = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]
"""World points (metres, float32, on the CPU) -> occupancy, on any device."""

AT_ONCE = 8
"""Images that are filtered together."""


def window_fields(
    network: PIFu,
    images: UInt8[Tensor, "m h w c"],
    frames: Int[Tensor, "b k"],
    calib: Float[Tensor, "b 3 4"],
) -> Iterator[Field]:
    """The field of each window in turn, at the network's last stack.

    `frames` are the images of each window, oldest first; windows come in order of time. Each image
    is filtered once and its feature map kept no longer than windows need it, so that memory does
    not grow with the clip.
    """
    windows = frames.tolist()
    device = next(network.parameters()).device
    ahead = list(dict.fromkeys(number for window in windows for number in window))
    held: dict[int, Tensor] = {}
    for window, camera in zip(windows, calib.to(device), strict=True):
        while not held.keys() >= set(window):
            numbers, ahead = ahead[:AT_ONCE], ahead[AT_ONCE:]
            held |= zip(numbers, _last_maps(network, images[numbers].to(device)), strict=True)
        yield partial(_query, network, torch.stack([held[number] for number in window]), camera)
        held = {number: held[number] for number in held if number >= min(window)}


@torch.no_grad()
def _last_maps(
    network: PIFu, images: UInt8[Tensor, "m h w c"]
) -> tuple[Float[Tensor, "d h4 w4"], ...]:
    filtered = network_input(images).to(memory_format=torch.channels_last)
    return network.filter(filtered)[-1].unbind()


@torch.no_grad()
def _query(
    network: PIFu,
    maps: Float[Tensor, "k d h w"],
    calib: Float[Tensor, "3 4"],
    points: Float[Tensor, "n 3"],
) -> Float[Tensor, " n"]:
    window = torch.arange(len(maps), device=maps.device)[None]
    pieces = points.split(network.classifier.at_once(maps.device))
    found = [network.query(maps, window, piece[None].to(maps), calib[None]) for piece in pieces]
    return torch.cat(found, dim=1)[0]
