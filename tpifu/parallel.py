"""An ordered parallel map. Results and their order depend neither on the number of processes nor on
the machines."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import joblib
import tqdm
from threadpoolctl import threadpool_limits

from tpifu.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

_ROUND_ITEMS = 32
"""Maximum number of items per process that are computed ahead of the consumer."""
_TIMEOUT = 20
"""Seconds to wait for a Dask scheduler."""


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int,
    label: str,
) -> Iterator[Result]:
    """Results of `function` in the order of `items`.

    Runs in `jobs` processes, or on the workers of `cluster`. Shows a progress bar on terminals.
    """
    # joblib does not wait for the consumer. Rounds bound the results in memory.
    size = _ROUND_ITEMS * joblib.effective_n_jobs(jobs)
    with (
        tqdm.tqdm(desc=label, total=len(items), unit="clip", disable=None) as bar,
        joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="4*n_jobs") as pool,
    ):
        for start in range(0, len(items), size):
            for result in pool(
                joblib.delayed(_single_threaded)(function, item)
                for item in items[start : start + size]
            ):
                yield result
                bar.update()


@contextmanager
def cluster(scheduler: str | None) -> Iterator[None]:
    """Run each `parallel_map` in the block on the Dask cluster at `scheduler`, HOST:PORT, or on
    this machine if it is None.

    The workers must see the same folders under the same paths. Raises ConfigError if Dask is not
    installed, the scheduler does not answer, or the cluster has no workers or multi-threaded ones.
    """
    if scheduler is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError("Dask is not installed; run pip install '.[dask]'") from error
    try:
        client = Client(scheduler, timeout=_TIMEOUT)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Dask scheduler {scheduler}: no answer; is it running? (dask scheduler)"
        ) from error
    with client:
        threads = client.nthreads().values()
        # Threads of one worker cannot share an OpenGL context or a limit on native threads.
        if set(threads) != {1}:
            found = "workers with several threads" if threads else "no workers"
            raise ConfigError(
                f"Dask scheduler {scheduler}: has {found}; start some with dask worker {scheduler} "
                "--nthreads 1 --nworkers -1"
            )
        with joblib.parallel_config(backend="dask"):
            yield


def _single_threaded(function: Callable[[Item], Result], item: Item) -> Result:
    # Native threads inside every process would oversubscribe the cores.
    with threadpool_limits(1):
        return function(item)
