"""Windows of frames with labelled points, read from shards as tensors.

A window is `neighborhood` frames of one clip and view around a centre frame, oldest first. At the
ends of a clip the first or last frame repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from tpifu.config import Model
from tpifu.dataset.augment import margin_of
from tpifu.errors import ConfigError, DataError
from tpifu.shards.coding import decode_png, dequantise, unpack_bits, unpack_codes
from tpifu.shards.folder import DataFolder
from tpifu.shards.reader import Shards, require_same_meshes
from tpifu.shards.schema import item_seed


@dataclass(frozen=True)
class Batch:
    """`b` windows of `k` frames, made of `m` distinct images, with `n` points each."""

    images: UInt8[Tensor, "m h w c"]
    frames: Int[Tensor, "b k"]
    """Image numbers of each window, oldest first."""
    calib: Float[Tensor, "b 3 4"]
    points: Float[Tensor, "b n 3"]
    """World metres."""
    labels: Float[Tensor, "b n"]
    """1 inside, 0 outside."""

    def to(self, device: torch.device) -> "Batch":
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items()}
        return replace(self, **moved)

    def pin_memory(self) -> "Batch":
        """A copy in pinned memory; DataLoader calls this for GPUs."""
        return replace(self, **{name: value.pin_memory() for name, value in vars(self).items()})


def window_frames(length: int, neighborhood: int, stride: int = 1) -> Int[np.ndarray, "t k"]:
    """Frames of the window around each frame of a clip, oldest first, `stride` frames apart."""
    reach = neighborhood // 2
    offsets = stride * np.arange(-reach, reach + 1)
    return np.clip(np.arange(length)[:, None] + offsets, 0, length - 1)


def balanced_draw(
    inside: Bool[np.ndarray, " pool"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Indices of `count` points, half of them inside. If one half has too few points, the other
    replaces them, as in PIFu."""
    inner, outer = np.flatnonzero(inside), np.flatnonzero(~inside)
    half = max(min(count // 2, len(inner)), count - len(outer))
    return np.concatenate(
        [rng.choice(inner, half, replace=False), rng.choice(outer, count - half, replace=False)]
    )


class Windows:
    """All windows of one split: every kept frame of every clip is a centre, in every view."""

    def __init__(self, data: DataFolder, split: str, model: Model) -> None:
        """`model` sets the neighborhood and the stride. Raises DataError if the folders are
        missing, empty or of different meshes, and ConfigError if a window is longer than every
        clip."""
        self.views, self.points = Shards(data.views, "views"), Shards(data.points, "points")
        require_same_meshes(self.views, self.points)
        self.neighborhood, self.stride = model.neighborhood, model.stride
        self._margins: dict[tuple[int, int], Int[np.ndarray, " 4"]] = {}
        rows_of = _rows_of_clips(self.points.index, split)
        for name, stored in rows_of.items():
            if len(stored) > 1:
                raise DataError(f"{data.points}: has two clips {name}; write the points again")
        self.clips = [(name, rows) for name, (rows,) in rows_of.items()]
        """Name of each clip, and the rows of its points, one per frame."""
        if not self.clips:
            raise DataError(f"{data.points}: no rows of split {split!r}")
        self.centres = [
            (clip, t) for clip, (_, rows) in enumerate(self.clips) for t in range(len(rows))
        ]
        """Clip number and frame at the centre of each window."""
        self._view_rows = _rows_of_clips(self.views.index, split)
        for name, rows in self.clips:
            if {len(view) for view in self._view_rows.get(name, [])} != {len(rows)}:
                raise DataError(
                    f"{data.views} and {data.points} differ in clip {name} ({split}): "
                    "write both from the same meshes"
                )
        longest = max(len(rows) for _, rows in self.clips)
        if (span := (self.neighborhood - 1) * self.stride + 1) > longest:
            raise ConfigError(
                f"model.neighborhood is {self.neighborhood}, but the longest {split} clip has "
                f"{longest} frames, and a window spans {span} (model.stride is {self.stride}): "
                "lower one of them"
            )

    def __len__(self) -> int:
        return len(self.centres)

    def frames(self, length: int) -> Int[np.ndarray, "t k"]:
        """Frames of each window of a clip of `length` frames."""
        return window_frames(length, self.neighborhood, self.stride)

    def view_count(self, clip: int) -> int:
        return len(self._view_rows[self.clips[clip][0]])

    def pixels(
        self, clip: int, view: int, frames: Int[np.ndarray, " m"]
    ) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
        """Images of some frames of one view, and its camera."""
        rows = self._view_rows[self.clips[clip][0]][view][frames]
        stored = self.views.read(rows.tolist(), ["image", "calib"])
        images = np.stack([decode_png(row["image"]) for row in stored])
        if len(calib := stored[0]["calib"]) != 12:
            raise DataError(f"{self.views.folder}: a camera is incomplete; write the views again")
        return images, calib.reshape(3, 4)

    def margin(self, clip: int, view: int) -> Int[np.ndarray, "4"]:
        """`margin_of` all frames of one view."""
        if (clip, view) not in self._margins:
            images, _ = self.pixels(clip, view, np.arange(len(self.clips[clip][1])))
            self._margins[clip, view] = margin_of(images)
        return self._margins[clip, view]

    @cached_property
    def inside_share(self) -> float:
        """Share of the stored points that are inside."""
        inside = 0
        for _, rows in self.clips:
            for row in self.points.read(rows.tolist(), ["inside"]):
                inside += int.from_bytes(row["inside"]).bit_count()
        return inside / (self.pool * len(self))

    @property
    def pool(self) -> int:
        """Number of stored points of each mesh."""
        return self.points.metadata["near_surface"] + self.points.metadata["uniform"]

    def require_points(self, key: str, count: int) -> None:
        """Raise ConfigError if the parameter `key` asks for more points than are stored."""
        if count > self.pool:
            raise ConfigError(
                f"{key} is {count}, but {self.points.folder} holds {self.pool} points per mesh: "
                f"set {key} to at most {self.pool}"
            )

    def draw(
        self, clip: int, frames: Sequence[int], count: int, rngs: Sequence[np.random.Generator]
    ) -> tuple[Float[np.ndarray, "k n 3"], Float[np.ndarray, "k n"]]:
        """`count` points of each frame by `balanced_draw`, with one generator per frame, and their
        labels, 0 or 1. Raises ConfigError if fewer points are stored."""
        rows = self.clips[clip][1][list(frames)]
        codes, labels = [], []
        for stored, rng in zip(
            self.points.read(rows.tolist(), ["points", "inside"]), rngs, strict=True
        ):
            pool = unpack_codes(stored["points"])
            if count > len(pool):
                raise ConfigError(
                    f"{count} points per mesh are too many: {self.points.folder} has {len(pool)}"
                )
            inside = unpack_bits(stored["inside"], len(pool))
            chosen = balanced_draw(inside, count, rng)
            codes.append(pool[chosen])
            labels.append(inside[chosen])
        return dequantise(np.stack(codes)), np.stack(labels).astype(np.float32)

    def clip_batch(self, clip: int, view: int, points: int, seed: int) -> Batch:
        """All windows of a clip in one view. A frame has the same points in every view and for
        every model."""
        name, rows = self.clips[clip]
        length = len(rows)
        images, calib = self.pixels(clip, view, np.arange(length))
        rngs = [np.random.default_rng(item_seed(seed, name, t)) for t in range(length)]
        drawn, labels = self.draw(clip, range(length), points, rngs)
        return Batch(
            images=torch.from_numpy(images),
            frames=torch.from_numpy(self.frames(length)),
            calib=torch.from_numpy(np.repeat(calib[None], length, axis=0)),
            points=torch.from_numpy(drawn),
            labels=torch.from_numpy(labels),
        )


def _rows_of_clips(
    index: dict[str, np.ndarray], split: str
) -> dict[str, list[Int[np.ndarray, " t"]]]:
    """Rows of each clip of a split, one per frame; for views, one array per view."""
    rows = np.flatnonzero(index["split"] == split)
    found: dict[str, list[Int[np.ndarray, " t"]]] = {}
    for own in np.split(rows, np.flatnonzero(index["frame"][rows] == 0))[1:]:
        found.setdefault(index["clip"][own[0]], []).append(own)
    return found
