"""The endless sequence of training batches. Every draw is a function of seed and position."""

from functools import partial

import numpy as np
import torch
from torch.utils.data import Dataset

from tpifu.config import Train
from tpifu.dataset.augment import augmented
from tpifu.dataset.windows import Batch, Windows
from tpifu.errors import ConfigError


class TrainingSteps(Dataset[Batch]):
    """Item i is share i % shares of step i // shares.

    An epoch visits every centre frame once, in random order, with a random view and random points.
    None of these depends on the neighborhood: all models train on the same centres, views and
    points. Augmentation uses the margin of the whole clip in the view, so all models and ranks
    change an image alike.
    """

    def __init__(self, windows: Windows, train: Train, seed: int, shares: int = 1) -> None:
        """Raises ConfigError if the batch size exceeds the number of windows or is not divisible
        by `shares`."""
        if train.batch_size > len(windows):
            raise ConfigError(
                f"train.batch_size is {train.batch_size}, but the data has {len(windows)} meshes"
            )
        if train.batch_size % shares:
            raise ConfigError(
                f"train.batch_size is {train.batch_size}; it must be divisible by {shares}, the "
                "number of processes times the number of parts"
            )
        self.windows, self.train, self.seed, self.shares = windows, train, seed, shares
        self._epoch_order = -1, np.zeros(0, dtype=int)

    def __getitem__(self, item: int) -> Batch:
        windows = self.windows
        size = self.train.batch_size // self.shares
        images, frames, calibs, points, labels = [], [], [], [], []
        offset = 0
        for position in range(item * size, (item + 1) * size):
            clip, centre = windows.centres[self._centre(position)]
            rng = np.random.default_rng([self.seed, 1, position])
            view = int(rng.integers(windows.view_count(clip)))
            window = windows.frames(len(windows.clips[clip][1]))[centre]
            distinct, places = np.unique(window, return_inverse=True)
            pixels, calib = windows.pixels(clip, view, distinct)
            # A separate generator, so that augmentation does not change the points.
            changes = np.random.default_rng([self.seed, 2, position])
            margin = partial(windows.margin, clip, view)
            pixels, calib = augmented(pixels, calib, margin, self.train, changes)
            images.append(pixels)
            frames.append(offset + places)
            offset += len(distinct)
            drawn, inside = windows.draw(clip, [centre], self.train.points, [rng])
            calibs.append(calib)
            points.append(drawn)
            labels.append(inside)
        return Batch(
            images=torch.from_numpy(np.concatenate(images)),
            frames=torch.from_numpy(np.stack(frames)),
            calib=torch.from_numpy(np.stack(calibs)),
            points=torch.from_numpy(np.concatenate(points)),
            labels=torch.from_numpy(np.concatenate(labels)),
        )

    def clips_of(self, step: int) -> list[str]:
        """Names of the clips in a step's batch."""
        size = self.train.batch_size
        positions = range(step * size, (step + 1) * size)
        numbers = [self.windows.centres[self._centre(position)][0] for position in positions]
        return [self.windows.clips[number][0] for number in dict.fromkeys(numbers)]

    def _centre(self, position: int) -> int:
        """Index of the centre frame at a position."""
        epoch, place = divmod(position, len(self.windows))
        cached, order = self._epoch_order
        if epoch != cached:
            order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.windows))
            self._epoch_order = epoch, order  # one assignment: threads share this object
        return int(order[place])
