"""Windows of frames with labelled points, read from shards as tensors.

A window is `neighborhood` frames of one clip and view around a centre frame, oldest first. At the
ends of a clip the first or last frame repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from tpifu.dataset.augment import Margin, margin_of
from tpifu.errors import ConfigError, DataError
from tpifu.shards.coding import decode_png, dequantise, unpack_bits, unpack_codes
from tpifu.shards.reader import Shards
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

    def __init__(
        self, views: Path, points: Path, split: str, neighborhood: int, stride: int = 1
    ) -> None:
        """Raises DataError if the folders are missing, empty or of different meshes, and
        ConfigError if a window is longer than every clip."""
        self.views, self.points = Shards(views, "views"), Shards(points, "points")
        self.neighborhood, self.stride = neighborhood, stride
        self._margins: dict[tuple[int, int], Margin] = {}
        view_index, point_index = self.views.index, self.points.index
        rows = np.flatnonzero(point_index["split"] == split)
        if not len(rows):
            raise DataError(f"{points}: no rows of split {split!r}")
        self.clips: list[tuple[str, Int[np.ndarray, " t"]]] = []
        """Name of each clip, and the rows of its points, one per frame."""
        starts = np.flatnonzero(point_index["frame"][rows] == 0)
        for clip_rows in np.split(rows, starts[1:]):
            self.clips.append((str(point_index["clip"][clip_rows[0]]), clip_rows))
        self.centres = [
            (clip, t)
            for clip, (_, clip_rows) in enumerate(self.clips)
            for t in range(len(clip_rows))
        ]
        """Clip number and frame at the centre of each window."""
        self._view_rows: dict[str, list[Int[np.ndarray, " t"]]] = {}
        image_rows = np.flatnonzero(view_index["split"] == split)
        starts = np.flatnonzero(view_index["frame"][image_rows] == 0)
        for view_rows in np.split(image_rows, starts[1:]):
            if len(view_rows):
                name = str(view_index["clip"][view_rows[0]])
                self._view_rows.setdefault(name, []).append(view_rows)
        for name, clip_rows in self.clips:
            if any(len(view) != len(clip_rows) for view in self._view_rows.get(name, [rows[:0]])):
                raise DataError(
                    f"{views} and {points} differ in clip {name} ({split}): "
                    "write both from the same meshes"
                )
        longest = max(len(clip_rows) for _, clip_rows in self.clips)
        if (span := (neighborhood - 1) * stride + 1) > longest:
            raise ConfigError(
                f"model.neighborhood is {neighborhood}, but the longest {split} clip has {longest} "
                f"frames, and a window spans {span} (model.stride is {stride})"
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
        return images, stored[0]["calib"].reshape(3, 4)

    def margin(self, clip: int, view: int) -> Margin:
        """The smallest margin around the body in all frames of one view."""
        if (clip, view) not in self._margins:
            images, _ = self.pixels(clip, view, np.arange(len(self.clips[clip][1])))
            self._margins[clip, view] = margin_of(images)
        return self._margins[clip, view]

    @cached_property
    def inside_share(self) -> float:
        """Share of the stored points that is inside."""
        inside = 0
        for _, rows in self.clips:
            for row in self.points.read(rows.tolist(), ["inside"]):
                inside += int.from_bytes(row["inside"]).bit_count()
        pool = self.points.metadata["near_surface"] + self.points.metadata["uniform"]
        return inside / (pool * len(self))

    def draw(
        self, clip: int, frames: Sequence[int], count: int, rngs: Sequence[np.random.Generator]
    ) -> tuple[Float[np.ndarray, "k n 3"], Float[np.ndarray, "k n"]]:
        """`count` points of each frame by `balanced_draw`, with one generator a frame, and their
        labels, 0 or 1. Raises ConfigError if fewer points are stored."""
        rows = self.clips[clip][1][list(frames)]
        codes, labels = [], []
        for stored, rng in zip(
            self.points.read(rows.tolist(), ["points", "inside"]), rngs, strict=True
        ):
            pool = unpack_codes(stored["points"])
            if count > len(pool):
                raise ConfigError(
                    f"{count} points a mesh are too many: {self.points.folder} has {len(pool)}"
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
