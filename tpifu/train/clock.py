"""The speed of training steps."""

import time
from collections.abc import Sequence

from tpifu.dataset.windows import Batch


class Clock:
    """Times each step: first the wait for its data, then its computation."""

    def __init__(self, world_size: int) -> None:
        self._world_size = world_size
        self.restart()

    def restart(self) -> None:
        """Start the wait for data now, so that the time since the last step is not counted."""
        self._waiting_since = time.perf_counter()

    def data_arrived(self) -> None:
        self._data_arrived = time.perf_counter()

    def step_done(self, parts: Sequence[Batch]) -> dict[str, float]:
        """Images filtered and points queried per second by all ranks, assuming that they are as
        fast as this rank, and the share of the time spent waiting for data."""
        waited, now = self._data_arrived - self._waiting_since, time.perf_counter()
        seconds = now - self._waiting_since
        self._waiting_since = now
        images = self._world_size * sum(len(part.images) for part in parts)
        points = self._world_size * sum(part.labels.numel() for part in parts)
        return {
            "frames_per_s": images / seconds,
            "points_per_s": points / seconds,
            "waiting_share": waited / seconds,
        }
