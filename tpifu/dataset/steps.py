"""The endless sequence of training batches. Every draw is a function of seed and position."""

from functools import partial
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Dataset

from tpifu.config import Train
from tpifu.dataset.augment import augmented
from tpifu.dataset.windows import Batch, Windows
from tpifu.errors import ConfigError


class TrainingSteps(Dataset[Batch]):
    """Item i is share i % shares of step i // shares.

    An epoch visits every centre frame once, in random order, with a random view and random points.
    None of them depends on the neighborhood: all models train on the same centres, views and
    points. With `train.windows_per_clip` > 1, up to that many neighbouring centres of a clip form
    a run: they are visited in sequence, in one view, and share their images. Every epoch cuts the
    clips into runs at other places.

    Augmentation changes the images and the camera of a run together. Its margin is that of the
    whole clip in this view, so that all models and ranks change a run alike.
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
                "number of processes times that of parts"
            )
        self.windows, self.train, self.seed, self.shares = windows, train, seed, shares
        self._epoch_order = -1, np.zeros((0, 2), dtype=int)

    def __getitem__(self, item: int) -> Batch:
        windows = self.windows
        size = self.train.batch_size // self.shares
        positions = range(item * size, (item + 1) * size)
        images, frames, calibs, points, labels = [], [], [], [], []
        offset = 0
        for start, run in groupby(positions, key=lambda position: self._centre(position)[1]):
            rng = np.random.default_rng([self.seed, 1, start])
            centres = [(position, *windows.centres[self._centre(position)[0]]) for position in run]
            clip = centres[0][1]
            view = int(rng.integers(windows.view_count(clip)))
            clip_windows = windows.frames(len(windows.clips[clip][1]))
            centre_frames = [frame for _, _, frame in centres]
            distinct, places = np.unique(clip_windows[centre_frames], return_inverse=True)
            pixels, calib = windows.pixels(clip, view, distinct)
            # A separate generator, so that augmentation does not change the points.
            changes = np.random.default_rng([self.seed, 2, start])
            margin = partial(windows.margin, clip, view)
            pixels, calib = augmented(pixels, calib, margin, self.train, changes)
            images.append(pixels)
            frames.append(offset + places.reshape(len(centres), -1))
            offset += len(distinct)
            rngs = [
                rng if position == start else np.random.default_rng([self.seed, 1, position])
                for position, _, _ in centres
            ]
            drawn, inside = windows.draw(clip, centre_frames, self.train.points, rngs)
            calibs += [calib] * len(centres)
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
        """Names of the clips in a step's batch."""
        size = self.train.batch_size
        positions = range(step * size, (step + 1) * size)
        numbers = [self.windows.centres[self._centre(position)[0]][0] for position in positions]
        return [self.windows.clips[number][0] for number in dict.fromkeys(numbers)]

    def _centre(self, position: int) -> tuple[int, int]:
        """The centre at a position, and the position where its run starts."""
        epoch, place = divmod(position, len(self.windows))
        cached, order = self._epoch_order
        if epoch != cached:
            order = self._shuffle(epoch)
            self._epoch_order = epoch, order  # one assignment: threads share this object
        centre, start = order[place].tolist()
        return centre, epoch * len(self.windows) + start

    def _shuffle(self, epoch: int) -> Int[np.ndarray, "n 2"]:
        """The centres in the order of an epoch, and the place where the run of each starts."""
        rng = np.random.default_rng([self.seed, 0, epoch])
        width, runs, start = self.train.windows_per_clip, [], 0
        for _, rows in self.windows.clips:
            centres = np.arange(start, start + len(rows))
            cuts = range(0 if width == 1 else int(rng.integers(width)), len(rows), width)
            runs += [run for run in np.split(centres, cuts) if len(run)]
            start += len(rows)
        shuffled = [runs[number] for number in rng.permutation(len(runs))]
        starts = np.cumsum([0, *(len(run) for run in shuffled[:-1])])
        lengths = [len(run) for run in shuffled]
        return np.stack([np.concatenate(shuffled), np.repeat(starts, lengths)], axis=1)
