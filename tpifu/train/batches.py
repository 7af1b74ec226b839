"""Training batches read ahead, by a thread or by processes."""

import signal
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch.utils.data import DataLoader, Dataset

from tpifu.dataset.steps import TrainingSteps
from tpifu.dataset.windows import Batch
from tpifu.errors import TpifuError
from tpifu.train.run import Machine


class ReadBatches(Dataset[Batch | TpifuError]):
    """Steps, or what is wrong with one: an error that a reading process raises comes out of the
    DataLoader with that process's whole traceback for its message."""

    def __init__(self, steps: TrainingSteps) -> None:
        self._steps = steps

    def __getitem__(self, item: int) -> Batch | TpifuError:
        try:
            return self._steps[item]
        except TpifuError as error:
            return error


def read_batches(
    steps: TrainingSteps, start: int, stop: int, machine: Machine
) -> Generator[tuple[int, list[Batch]]]:
    """The parts of steps start .. stop-1 on the device, read ahead while the network computes."""
    parts = machine.parts
    loader: DataLoader[Batch | TpifuError] = DataLoader(
        ReadBatches(steps),
        batch_size=None,
        sampler=range(start * parts, stop * parts),
        num_workers=machine.workers,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_signals,
        pin_memory=machine.device.type == "cuda",
    )
    found = iter(loader)
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = deque(reader.submit(next, found) for _ in range(parts + 1))
        try:
            for step in range(start, stop):
                batches = []
                for _ in range(parts):
                    batch = ahead.popleft().result()
                    ahead.append(reader.submit(next, found))
                    if isinstance(batch, TpifuError):
                        raise batch
                    batches.append(batch.to(machine.device))
                yield step, batches
        finally:
            reader.shutdown(cancel_futures=True)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_signals(_worker: int) -> None:
    """A reading process goes on when its group is asked to stop: the trainer saves first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
