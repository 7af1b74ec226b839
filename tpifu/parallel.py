"""An ordered parallel map: the same results in the same order on one worker, many, or a cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import joblib
import tqdm
from threadpoolctl import threadpool_limits

from tpifu.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

_ROUND = 32
"""Items a worker that are under way or wait for the consumer, at most."""
_PATIENCE = 20
"""Seconds in which a Dask scheduler must answer."""


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int,
    label: str,
    done: int = 0,
) -> Iterator[Result]:
    """Results of `function` in the order of `items`, without the first `done`; a progress bar on a
    terminal. Computed by `jobs` processes, or inside `cluster` by its workers."""
    left = items[done:]
    # joblib computes on, however few results have been taken. In rounds, memory stays flat.
    size = _ROUND * joblib.effective_n_jobs(jobs)
    with (
        # disable=None: quiet where stderr is not a terminal.
        tqdm.tqdm(desc=label, initial=done, total=len(items), unit="clip", disable=None) as bar,
        joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="4*n_jobs") as pool,
    ):
        for start in range(0, len(left), size):
            for result in pool(
                joblib.delayed(_single_threaded)(function, item)
                for item in left[start : start + size]
            ):
                yield result
                bar.update()


@contextmanager
def cluster(scheduler: str | None) -> Iterator[None]:
    """Let the workers of the Dask scheduler at `scheduler` (HOST:PORT) compute every `parallel_map`
    of the block; None: processes of this machine do.

    The workers must see the same folders under the same paths. Raises ConfigError if Dask is not
    installed, if the scheduler does not answer, or if its workers are none or run threads.
    """
    if scheduler is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            "a Dask cluster was asked for, but Dask is missing: pip install '.[dask]' here"
        ) from error
    try:
        client = Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Dask scheduler {scheduler}: does not answer; is it running? (dask scheduler)"
        ) from error
    with client:
        threads = client.nthreads().values()
        # Neither OpenGL's context nor a limit on threads can be shared by a worker's threads.
        if set(threads) != {1}:
            found = "workers of several threads" if threads else "no workers"
            raise ConfigError(
                f"Dask scheduler {scheduler}: has {found}; start some with dask worker {scheduler} "
                "--nthreads 1 --nworkers -1"
            )
        with joblib.parallel_config(backend="dask"):
            yield


def _single_threaded(function: Callable[[Item], Result], item: Item) -> Result:
    # One thread a worker inside native libraries: both levels of parallelism together oversubscribe
    # the cores.
    with threadpool_limits(1):
        return function(item)
