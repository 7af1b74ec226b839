"""Training batches, prefetched by a thread or by processes."""

import signal
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.data import DataLoader, Dataset

from tpifu.dataset.steps import TrainingSteps
from tpifu.dataset.windows import Batch
from tpifu.errors import TpifuError
from tpifu.train.run import Machine


class BatchesOrErrors(Dataset[Batch | TpifuError]):
    """Batches. A TpifuError is returned, not raised, because DataLoader adds a traceback to the
    message of an exception raised in a worker."""

    def __init__(self, steps: TrainingSteps) -> None:
        self._steps = steps

    def __getitem__(self, item: int) -> Batch | TpifuError:
        try:
            return self._steps[item]
        except TpifuError as error:
            return error


def read_batches(
    steps: TrainingSteps, start: int, stop: int, machine: Machine
) -> Generator[list[Batch]]:
    """This rank's parts of each step start .. stop-1, on the device, prefetched during
    computation."""
    parts, processes = machine.parts, machine.processes
    own = range(start * steps.shares, stop * steps.shares)[processes.rank :: processes.world_size]
    loader: DataLoader[Batch | TpifuError] = DataLoader(
        BatchesOrErrors(steps),
        batch_size=None,
        sampler=own,
        num_workers=machine.readers,
        worker_init_fn=_ignore_sigterm,
        pin_memory=machine.device.type == "cuda",
    )
    iterator = iter(loader)
    with ThreadPoolExecutor(max_workers=1) as thread:
        queue = deque(thread.submit(next, iterator) for _ in range(parts + 1))
        try:
            for _ in range(start, stop):
                batches = []
                for _ in range(parts):
                    batch = queue.popleft().result()
                    queue.append(thread.submit(next, iterator))
                    if isinstance(batch, TpifuError):
                        raise batch
                    batch = batch.to(machine.device)
                    if machine.compiled and batch.frames.shape[1] > 1:
                        # Windows at the ends of clips have fewer images: compile one graph for any
                        # number of images.
                        torch._dynamo.maybe_mark_dynamic(batch.images, 0)
                    batches.append(batch)
                yield batches
        finally:
            thread.shutdown(cancel_futures=True)


def _ignore_sigterm(_worker: int) -> None:
    # A scheduler signals the whole process group, but the trainer still needs its readers to save.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
