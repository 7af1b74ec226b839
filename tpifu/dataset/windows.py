"""Shards -> windows of frames with labelled points, as tensors.

A window is `neighborhood` frames of one clip and view around a centre frame, oldest first; at the
ends of a clip the last frame repeats. Every draw is a function of (seed, position), so workers,
restarts and machines agree.
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
    """`b` windows of `k` frames over `m` distinct images, with `n` points each; a training step or
    one clip's test."""

    images: UInt8[Tensor, "m h w c"]
    frames: Int[Tensor, "b k"]
    """Which images make up each window."""
    calib: Float[Tensor, "b 3 4"]
    points: Float[Tensor, "b n 3"]
    """World metres."""
    labels: Float[Tensor, "b n"]
    """1 inside, 0 outside."""

    def to(self, device: torch.device) -> "Batch":
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items()}
        return replace(self, **moved)

    def pin_memory(self) -> "Batch":
        """In memory from which a GPU copies while it computes."""
        return replace(self, **{name: value.pin_memory() for name, value in vars(self).items()})


def window_frames(length: int, neighborhood: int, stride: int = 1) -> Int[np.ndarray, "t k"]:
    """For each frame of a clip, the frames of its window, oldest first, `stride` apart; clip ends
    repeat the last frame."""
    reach = neighborhood // 2
    offsets = stride * np.arange(-reach, reach + 1)
    return np.clip(np.arange(length)[:, None] + offsets, 0, length - 1)


def balanced_draw(
    inside: Bool[np.ndarray, " pool"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """`count` point numbers, half of them inside; where one kind is too few, the other fills up (as
    PIFu does)."""
    within, without = np.flatnonzero(inside), np.flatnonzero(~inside)
    first = min(count // 2, len(within))
    first = max(first, count - len(without))
    return np.concatenate(
        [
            rng.choice(within, first, replace=False),
            rng.choice(without, count - first, replace=False),
        ]
    )


class Windows:
    """All windows of one split: every kept frame of every clip is a centre, in every view."""

    def __init__(
        self, views: Path, points: Path, split: str, neighborhood: int, stride: int = 1
    ) -> None:
        """Raises DataError for missing, empty or mismatched folders, ConfigError for a window
        longer than any clip."""
        self.views, self.points = Shards(views, "views"), Shards(points, "points")
        self.neighborhood, self.stride = neighborhood, stride
        self._margins: dict[tuple[int, int], Margin] = {}
        seen, pool = self.views.index, self.points.index
        rows = np.flatnonzero(pool["split"] == split)
        if not len(rows):
            raise DataError(f"{points}: no rows of split {split!r}")
        self.clips: list[tuple[str, Int[np.ndarray, " t"]]] = []
        """Clip name and the rows of its points, frame by frame."""
        starts = np.flatnonzero(pool["frame"][rows] == 0)
        for clip_rows in np.split(rows, starts[1:]):
            self.clips.append((str(pool["clip"][clip_rows[0]]), clip_rows))
        self.centres = [
            (clip, t) for clip, (_, own) in enumerate(self.clips) for t in range(len(own))
        ]
        """(clip number, frame) of every window."""
        self._view_rows: dict[str, list[Int[np.ndarray, " t"]]] = {}
        of_split = np.flatnonzero(seen["split"] == split)
        for view_rows in np.split(of_split, np.flatnonzero(seen["frame"][of_split] == 0)[1:]):
            if len(view_rows):
                self._view_rows.setdefault(str(seen["clip"][view_rows[0]]), []).append(view_rows)
        for name, own in self.clips:
            if any(len(view) != len(own) for view in self._view_rows.get(name, [rows[:0]])):
                raise DataError(
                    f"{views} and {points} differ in clip {name} ({split}): "
                    "write both from the same meshes"
                )
        longest = max(len(own) for _, own in self.clips)
        if (span := (neighborhood - 1) * stride + 1) > longest:
            apart = f" and model.stride {stride}, together {span} frames" if stride > 1 else ""
            raise ConfigError(
                f"model.neighborhood is {neighborhood}{apart}, but the longest {split} clip has "
                f"{longest} frames: choose a smaller {'stride or ' if stride > 1 else ''}odd number"
            )

    def __len__(self) -> int:
        return len(self.centres)

    def frames(self, length: int) -> Int[np.ndarray, "t k"]:
        """The frames of each window of a clip."""
        return window_frames(length, self.neighborhood, self.stride)

    def view_count(self, clip: int) -> int:
        return len(self._view_rows[self.clips[clip][0]])

    def pixels(
        self, clip: int, view: int, frames: Int[np.ndarray, " m"]
    ) -> tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "3 4"]]:
        """Images of some frames of one view, and its camera."""
        rows = self._view_rows[self.clips[clip][0]][view][frames]
        found = self.views.read(rows.tolist(), ["image", "calib"])
        images = np.stack([decode_png(row["image"]) for row in found])
        return images, found[0]["calib"].reshape(3, 4)

    def margin(self, clip: int, view: int) -> Margin:
        """What the body leaves free of the image in all frames of one view."""
        if (clip, view) not in self._margins:
            images, _ = self.pixels(clip, view, np.arange(len(self.clips[clip][1])))
            self._margins[clip, view] = margin_of(images)
        return self._margins[clip, view]

    @cached_property
    def inside_share(self) -> float:
        """The share of all stored points that is inside; the same for every neighborhood."""
        inside = 0
        for _, rows in self.clips:
            for row in self.points.read(rows.tolist(), ["inside"]):
                inside += int.from_bytes(row["inside"]).bit_count()
        pool = self.points.metadata["near_surface"] + self.points.metadata["uniform"]
        return inside / (pool * len(self))

    def drawn(
        self, clip: int, frames: Sequence[int], count: int, rngs: Sequence[np.random.Generator]
    ) -> tuple[Float[np.ndarray, "k n 3"], Float[np.ndarray, "k n"]]:
        """A balanced draw of `count` points of each frame, by its own generator, and their labels 0
        or 1."""
        rows = self.clips[clip][1][list(frames)]
        codes, labels = [], []
        for stored, rng in zip(
            self.points.read(rows.tolist(), ["points", "inside"]), rngs, strict=True
        ):
            pool = unpack_codes(stored["points"])
            if count > len(pool):
                raise ConfigError(
                    f"{count} points a mesh asked for, {self.points.folder} has {len(pool)}: ask "
                    "for fewer, or sample more"
                )
            inside = unpack_bits(stored["inside"], len(pool))
            chosen = balanced_draw(inside, count, rng)
            codes.append(pool[chosen])
            labels.append(inside[chosen])
        return dequantise(np.stack(codes)), np.stack(labels).astype(np.float32)

    def clip_batch(self, clip: int, view: int, points: int, seed: int) -> Batch:
        """Every window of a clip in one view; a frame's points are the same in every view and for
        every model."""
        name, rows = self.clips[clip]
        length = len(rows)
        images, calib = self.pixels(clip, view, np.arange(length))
        rngs = [np.random.default_rng(item_seed(seed, name, t)) for t in range(length)]
        drawn, labels = self.drawn(clip, range(length), points, rngs)
        return Batch(
            images=torch.from_numpy(images),
            frames=torch.from_numpy(self.frames(length)),
            calib=torch.from_numpy(np.repeat(calib[None], length, axis=0)),
            points=torch.from_numpy(drawn),
            labels=torch.from_numpy(labels),
        )
