"""The endless sequence of training batches. Every draw is a function of seed and position."""

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
    """The share of one rank in each batch, which is read in `parts`."""

    rank: int = 0
    world_size: int = 1
    parts: int = 1


_WHOLE = Share()
_NO_AUGMENTATION = Augmentation()


class TrainingSteps(Dataset[Batch]):
    """Item i is part i % parts of step i // parts.

    An epoch visits every centre frame once, in random order, with a random view and random points.
    None of them depends on the neighborhood: all models train on the same centres, views and
    points. With `windows_per_clip` > 1, up to so many neighbouring centres of a clip form a run:
    they are visited in sequence, in one view, and share their images. Every epoch cuts the clips
    into runs at other places.

    `augmentation` changes the images and the camera of a run together. Its margin is that of the
    whole clip in this view, so that all models and ranks change a run alike.
    """

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        points: int,
        seed: int,
        *,
        windows_per_clip: int = 1,
        augmentation: Augmentation = _NO_AUGMENTATION,
        share: Share = _WHOLE,
    ) -> None:
        """`points` is the number of points per window. Raises ConfigError if `batch_size` exceeds
        the number of windows or cannot be shared evenly."""
        if batch_size > len(windows):
            raise ConfigError(
                f"train.batch_size is {batch_size}, but the data has {len(windows)} meshes"
            )
        shares = share.world_size * share.parts
        if batch_size % shares:
            raise ConfigError(
                f"train.batch_size is {batch_size}; it must be divisible by {shares}, the number "
                "of processes times that of parts"
            )
        self.windows, self.batch_size, self.points, self.seed = windows, batch_size, points, seed
        self.windows_per_clip, self.augmentation = windows_per_clip, augmentation
        self.share = share
        self._epoch_order = -1, np.zeros((0, 2), dtype=int)

    def __getitem__(self, item: int) -> Batch:
        windows, share = self.windows, self.share
        step, part = divmod(item, share.parts)
        size = self.batch_size // (share.world_size * share.parts)
        first = step * self.batch_size + (part * share.world_size + share.rank) * size
        positions = range(first, first + size)
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
            if self.augmentation != _NO_AUGMENTATION:
                # A separate generator, so that augmentation does not change the points.
                changes = np.random.default_rng([self.seed, 2, start])
                margin = partial(windows.margin, clip, view)
                pixels, calib = augmented(pixels, calib, margin, self.augmentation, changes)
            images.append(pixels)
            frames.append(offset + places.reshape(len(centres), -1))
            offset += len(distinct)
            rngs = [
                rng if position == start else np.random.default_rng([self.seed, 1, position])
                for position, _, _ in centres
            ]
            drawn, inside = windows.draw(clip, centre_frames, self.points, rngs)
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
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
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
        width, runs, start = self.windows_per_clip, [], 0
        for _, rows in self.windows.clips:
            centres = np.arange(start, start + len(rows))
            cuts = range(0 if width == 1 else int(rng.integers(width)), len(rows), width)
            runs += [run for run in np.split(centres, cuts) if len(run)]
            start += len(rows)
        shuffled = [runs[number] for number in rng.permutation(len(runs))]
        starts = np.cumsum([0, *(len(run) for run in shuffled[:-1])])
        lengths = [len(run) for run in shuffled]
        return np.stack([np.concatenate(shuffled), np.repeat(starts, lengths)], axis=1)
