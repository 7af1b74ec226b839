"""The endless sequence of training batches; every draw is a function of (seed, position)."""

from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Dataset

from tpifu.dataset.augment import Augmentation, augmented
from tpifu.dataset.windows import Batch, Windows
from tpifu.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Share:
    """The part of each step's batch that one process reads: a batch is split over `world` processes
    and, in each, over `parts` that follow each other."""

    rank: int = 0
    world_size: int = 1
    parts: int = 1


_ALL = Share()
_UNCHANGED = Augmentation()


class TrainingSteps(Dataset[Batch]):
    """The endless sequence of training batches; every draw is a function of (seed, position).

    Item i is part i % parts of step i // parts. Each epoch visits every centre frame once, in a new
    order; view and points are drawn anew each time. Neither depends on `neighborhood`: the baseline
    and the temporal model see the same centres, views and points.

    With `windows_per_clip` w > 1, up to w neighbouring centres of a clip follow each other in one
    view and share their images. Where such runs begin in a clip changes with the epoch.

    `augmentation` changes the images and the camera of each run alike. How far the body may move is
    measured on its whole clip and view, neither on the run's frames nor on its windows': so both
    models, and processes that share a run, change it alike, and no neighbouring frame is cut off.
    """

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        points: int,
        seed: int,
        *,
        windows_per_clip: int = 1,
        augmentation: Augmentation = _UNCHANGED,
        share: Share = _ALL,
    ) -> None:
        if batch_size > len(windows):
            raise ConfigError(
                f"train.batch_size is {batch_size}, the data has {len(windows)} meshes"
            )
        if batch_size % (share.world_size * share.parts):
            raise ConfigError(
                f"train.batch_size is {batch_size}: it cannot be split evenly into "
                f"{share.world_size * share.parts} parts"
            )
        self.windows, self.batch_size, self.points, self.seed = windows, batch_size, points, seed
        self.windows_per_clip, self.augmentation = windows_per_clip, augmentation
        self.share = share
        self._shuffle = -1, np.zeros((0, 2), dtype=int)

    def __getitem__(self, item: int) -> Batch:
        windows, share = self.windows, self.share
        step, part = divmod(item, share.parts)
        size = self.batch_size // (share.world_size * share.parts)
        first = step * self.batch_size + (part * share.world_size + share.rank) * size
        positions = range(first, first + size)
        images, frames, calibs, points, labels = [], [], [], [], []
        offset = 0
        for leader, run in groupby(positions, key=lambda position: self._centre(position)[1]):
            rng = np.random.default_rng([self.seed, 1, leader])
            own = [(position, *windows.centres[self._centre(position)[0]]) for position in run]
            clip = own[0][1]
            view = int(rng.integers(windows.view_count(clip)))
            every = windows.frames(len(windows.clips[clip][1]))
            centres = [frame for _, _, frame in own]
            distinct, places = np.unique(every[centres], return_inverse=True)
            pixels, calib = windows.pixels(clip, view, distinct)
            if self.augmentation != _UNCHANGED:
                # A generator of its own: points and views stay those of the unchanged images.
                chance = np.random.default_rng([self.seed, 2, leader])
                margin = partial(windows.margin, clip, view)
                pixels, calib = augmented(pixels, calib, margin, self.augmentation, chance)
            images.append(pixels)
            frames.append(offset + places.reshape(len(own), -1))
            offset += len(distinct)
            rngs = [
                rng if position == leader else np.random.default_rng([self.seed, 1, position])
                for position, _, _ in own
            ]
            drawn, inside = windows.drawn(clip, centres, self.points, rngs)
            calibs += [calib] * len(own)
            points.append(drawn)
            labels.append(inside)
        return Batch(
            images=torch.from_numpy(np.concatenate(images)),
            frames=torch.from_numpy(np.concatenate(frames)),
            calib=torch.from_numpy(np.stack(calibs)),
            points=torch.from_numpy(np.concatenate(points)),
            labels=torch.from_numpy(np.concatenate(labels)),
        )

    def clips_of(self, step: int) -> list[str]:
        """The clips whose windows a step takes."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        numbers = [self.windows.centres[self._centre(position)[0]][0] for position in positions]
        return [self.windows.clips[number][0] for number in dict.fromkeys(numbers)]

    def _centre(self, position: int) -> tuple[int, int]:
        """The centre at a position, and the position where its run of neighbours begins."""
        epoch, place = divmod(position, len(self.windows))
        known, order = self._shuffle
        if epoch != known:
            order = self._shuffled(epoch)
            self._shuffle = epoch, order  # at once: another thread may ask, too
        centre, begins = order[place].tolist()
        return centre, epoch * len(self.windows) + begins

    def _shuffled(self, epoch: int) -> Int[np.ndarray, "n 2"]:
        """Centres in the order of an epoch, and the place where the run of each begins."""
        rng = np.random.default_rng([self.seed, 0, epoch])
        width, runs, start = self.windows_per_clip, [], 0
        for _, rows in self.windows.clips:
            centres = np.arange(start, start + len(rows))
            cuts = range(0 if width == 1 else int(rng.integers(width)), len(rows), width)
            runs += [run for run in np.split(centres, cuts) if len(run)]
            start += len(rows)
        shuffled = [runs[number] for number in rng.permutation(len(runs))]
        begins = np.cumsum([0, *(len(run) for run in shuffled[:-1])])
        lengths = [len(run) for run in shuffled]
        return np.stack([np.concatenate(shuffled), np.repeat(begins, lengths)], axis=1)
