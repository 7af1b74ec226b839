"""An ordered parallel map: the same results in the same order on one worker or many."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import joblib
import tqdm
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], *, jobs: int, label: str
) -> Iterator[Result]:
    """Results of `function` in the order of `items`, computed by `jobs` processes; a progress bar
    on a terminal."""
    tasks = (joblib.delayed(_single_threaded)(function, item) for item in items)
    # Ten results a worker may wait for the consumer: memory stays flat however many items there
    # are.
    results = joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="4*n_jobs")(tasks)
    # disable=None: quiet where stderr is not a terminal.
    yield from tqdm.tqdm(results, desc=label, total=len(items), unit="clip", disable=None)


def _single_threaded(function: Callable[[Item], Result], item: Item) -> Result:
    # One thread a worker inside native libraries: both levels of parallelism together oversubscribe
    # the cores.
    with threadpool_limits(1):
        return function(item)
