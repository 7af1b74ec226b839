"""A split as tensors on the training device, and training steps drawn there.

`tpifu.dataset.steps` reads each step from shards. A GPU that trains on thousands of windows per
second needs the whole split in its memory. Steps follow the rules of `TrainingSteps`, with random
numbers drawn on the device.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int16, UInt8
from torch import Tensor

from tpifu.config import Model, Train
from tpifu.dataset.windows import Batch, Windows
from tpifu.parallel import parallel_map
from tpifu.shards.coding import POINT_STEP, unpack_bits, unpack_codes


@dataclass(frozen=True)
class Resident:
    """All frames of a split: frame i of clip c is mesh `first[c] + i`."""

    images: UInt8[Tensor, "m v h w c"]
    codes: Int16[Tensor, "m pool 3"]
    """Stored point codes, in steps of POINT_STEP metres."""
    inside: Bool[Tensor, "m pool"]
    calib: Float[Tensor, "clips v 3 4"]
    first: Int[Tensor, " clips"]
    length: Int[Tensor, " clips"]

    @property
    def inside_share(self) -> float:
        """Share of all stored points that lie inside."""
        return float(self.inside.float().mean(dtype=torch.float64))


def read_resident(windows: Windows, device: torch.device, *, jobs: int) -> Resident:
    """Decode every view and point pool of a split with `jobs` processes. All clips must have the
    same number of views."""
    lengths = [len(rows) for _, rows in windows.clips]
    first = np.cumsum([0, *lengths])
    size, views = windows.views.metadata["size"], windows.view_count(0)
    pool = windows.pool
    images = torch.zeros((first[-1], views, size, size, 2), dtype=torch.uint8, device=device)
    codes = torch.zeros((first[-1], pool, 3), dtype=torch.int16, device=device)
    inside = torch.zeros((first[-1], pool), dtype=torch.bool, device=device)
    calib = torch.zeros((len(lengths), views, 3, 4), device=device)
    clips = range(len(lengths))
    found = parallel_map(partial(_decoded, windows=windows), clips, jobs=jobs, label="load")
    for clip, arrays in enumerate(found):
        meshes = slice(first[clip], first[clip + 1])
        own = images[meshes], codes[meshes], inside[meshes], calib[clip]
        for whole, part in zip(own, arrays, strict=True):
            whole.copy_(torch.from_numpy(part))
    return Resident(
        images=images,
        codes=codes,
        inside=inside,
        calib=calib,
        first=torch.from_numpy(first[:-1]).to(device),
        length=torch.tensor(lengths, device=device),
    )


def _decoded(clip: int, *, windows: Windows) -> tuple[np.ndarray, ...]:
    """Images, codes and labels of a clip's frames, and its cameras."""
    rows = windows.clips[clip][1]
    frames = np.arange(len(rows))
    seen = [windows.pixels(clip, view, frames) for view in range(windows.view_count(clip))]
    images, calibs = zip(*seen, strict=True)
    stored = windows.points.read(rows.tolist(), ["points", "inside"])
    codes = np.stack([unpack_codes(row["points"]) for row in stored])
    inside = np.stack([unpack_bits(row["inside"], codes.shape[1]) for row in stored])
    return np.stack(images, axis=1), codes, inside, np.stack(calibs)


def balanced_choice(
    inside: Bool[Tensor, "b pool"], count: int, generator: torch.Generator
) -> Int[Tensor, "b n"]:
    """Indices of `count` distinct points per row, half of them inside. If one half has too few
    points, the other replaces them, as in `balanced_draw`."""
    pool = inside.shape[1]
    keys = torch.rand(inside.shape, generator=generator, device=inside.device)
    order = (keys + ~inside).argsort(dim=1)  # inside points first, each kind in random order
    within = inside.sum(dim=1, keepdim=True)
    first = within.clamp(max=count // 2).maximum(count - (pool - within))
    place = torch.arange(count, device=inside.device)[None]
    return order.gather(1, torch.where(place < first, place, within + place - first))


class ResidentSteps:
    """The endless sequence of training batches of a resident split.

    An epoch visits each centre frame once. Neither the centres nor their views, mirroring and
    points depend on the neighborhood: with the same seed, the baseline and the temporal model see
    the same steps.
    """

    def __init__(self, data: Resident, train: Train, model: Model, seed: int) -> None:
        """`train` sets the batch size, the number of points and the share of windows whose images
        and camera are mirrored left-right; `model` sets the neighborhood and the stride."""
        assert train.points <= data.codes.shape[1], "more points than stored"
        self.data, self.train = data, train
        device = data.images.device
        reach = model.stride * (model.neighborhood // 2)
        self._offsets = torch.arange(-reach, reach + 1, model.stride, device=device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._centres = torch.zeros(0, dtype=torch.long, device=device)
        self._clip = torch.arange(len(data.length), device=device).repeat_interleave(data.length)

    @property
    def images(self) -> int:
        """Number of images in a step."""
        return self.train.batch_size * len(self._offsets)

    def draw(self, parts: int = 1) -> list[Batch]:
        """The next step, in equal parts."""
        data, train, generator = self.data, self.train, self._generator
        device, size = data.images.device, train.batch_size
        assert size % parts == 0, f"{size} windows cannot be split into {parts} equal parts"
        meshes = self._next()
        clip = self._clip[meshes]
        view = torch.randint(data.images.shape[1], (size,), generator=generator, device=device)
        mirrored = torch.rand(size, generator=generator, device=device) < train.flip

        first = data.first[clip, None]
        last = first + data.length[clip, None] - 1
        seen = (meshes[:, None] + self._offsets).maximum(first).minimum(last)
        images = data.images[seen, view[:, None]]
        images = torch.where(mirrored[:, None, None, None, None], images.flip(3), images)
        calib = data.calib[clip, view]
        sign = torch.where(mirrored, -1.0, 1.0)
        calib = torch.cat([calib[:, :1] * sign[:, None, None], calib[:, 1:]], dim=1)

        labels = data.inside[meshes]
        chosen = balanced_choice(labels, train.points, generator)
        points = data.codes[meshes[:, None], chosen].float() * POINT_STEP
        labels = labels.gather(1, chosen).float()

        frames = torch.arange(self.images // parts, device=device).view(size // parts, -1)
        whole = images.flatten(0, 1), calib, points, labels
        chunks = [values.chunk(parts) for values in whole]
        return [
            Batch(images=images, frames=frames, calib=calib, points=points, labels=labels)
            for images, calib, points, labels in zip(*chunks, strict=True)
        ]

    def _next(self) -> Int[Tensor, "b"]:
        """Meshes at the centres of the next windows."""
        device, generator = self.data.images.device, self._generator
        while len(self._centres) < self.train.batch_size:
            order = torch.randperm(len(self._clip), generator=generator, device=device)
            self._centres = torch.cat([self._centres, order])
        taken = self._centres[: self.train.batch_size]
        self._centres = self._centres[self.train.batch_size :]
        return taken
