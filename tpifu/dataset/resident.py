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

    A step takes windows in runs of exactly `train.windows_per_clip` neighbours in one view.
    An epoch visits each clip once, from a random first frame; frames that fill no whole run are
    left out, so that every step has tensors of the same shape. Neither the runs nor their
    views, mirroring and points depend on the neighborhood: with one seed the baseline and the
    temporal model see the same steps.
    """

    def __init__(self, data: Resident, train: Train, model: Model, seed: int) -> None:
        """`train` sets the batch size, the run length, the number of points and the share of runs
        whose images and camera are mirrored left-right; `model` sets the neighborhood and the
        stride."""
        width = train.windows_per_clip
        assert train.batch_size % width == 0, "a batch must consist of whole runs"
        assert train.points <= data.codes.shape[1], "more points than stored"
        assert (data.length >= width).any(), "no clip is as long as a run"
        self.data, self.train, self.seed = data, train, seed
        device = data.images.device
        reach = model.stride * (model.neighborhood // 2)
        seen = np.arange(width)[:, None] + np.arange(-reach, reach + 1, model.stride)
        offsets, places = np.unique(seen, return_inverse=True)
        self._offsets = torch.from_numpy(offsets).to(device)
        """Frames that the windows of a run contain, relative to its first centre."""
        self._places = torch.from_numpy(places.reshape(seen.shape)).to(device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._lengths = data.length.cpu().numpy()
        self._epoch = 0
        self._runs = torch.zeros((0, 2), dtype=torch.long, device=device)

    @property
    def images(self) -> int:
        """Number of images that a step filters."""
        return self.train.batch_size // self.train.windows_per_clip * len(self._offsets)

    def draw(self, parts: int = 1) -> list[Batch]:
        """The next step, in equal parts."""
        data, train, generator = self.data, self.train, self._generator
        device, width = data.images.device, train.windows_per_clip
        runs = train.batch_size // width
        assert runs % parts == 0, f"{runs} runs cannot be split into {parts} equal parts"
        clip, centre = self._next(runs).T
        view = torch.randint(data.images.shape[1], (runs,), generator=generator, device=device)
        mirrored = torch.rand(runs, generator=generator, device=device) < train.flip

        last = data.length[clip] - 1
        seen = torch.minimum((centre[:, None] + self._offsets).clamp(min=0), last[:, None])
        images = data.images[data.first[clip, None] + seen, view[:, None]]
        images = torch.where(mirrored[:, None, None, None, None], images.flip(3), images)
        calib = data.calib[clip, view]
        sign = torch.where(mirrored, -1.0, 1.0)
        calib = torch.cat([calib[:, :1] * sign[:, None, None], calib[:, 1:]], dim=1)

        meshes = (data.first[clip] + centre)[:, None] + torch.arange(width, device=device)
        meshes = meshes.flatten()
        labels = data.inside[meshes]
        chosen = balanced_choice(labels, train.points, generator)
        codes = data.codes[meshes[:, None], chosen]
        points = codes.float() * POINT_STEP
        labels = labels.gather(1, chosen).float()

        slots = len(self._offsets) * torch.arange(runs // parts, device=device)
        frames = (slots[:, None, None] + self._places).flatten(0, 1)
        whole = images.flatten(0, 1), calib.repeat_interleave(width, 0), points, labels
        chunks = [values.chunk(parts) for values in whole]
        return [
            Batch(images=images, frames=frames, calib=calib, points=points, labels=labels)
            for images, calib, points, labels in zip(*chunks, strict=True)
        ]

    def _next(self, count: int) -> Int[Tensor, "runs 2"]:
        """Clip and first centre of the next runs."""
        while len(self._runs) < count:
            self._runs = torch.cat([self._runs, self._shuffled(self._epoch)])
            self._epoch += 1
        taken, self._runs = self._runs[:count], self._runs[count:]
        return taken

    def _shuffled(self, epoch: int) -> Int[Tensor, "runs 2"]:
        rng = np.random.default_rng([self.seed, 0, epoch])
        width = self.train.windows_per_clip
        start = rng.integers(width, size=len(self._lengths))
        counts = np.maximum(0, (self._lengths - start) // width)
        clip = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
        runs = np.stack([clip, start[clip] + width * number], axis=1)
        return torch.from_numpy(rng.permutation(runs)).to(self._runs.device)
