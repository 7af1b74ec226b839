import os
import signal
import sys
import time
from contextlib import ExitStack
from functools import partial

import pytest
from helpers.checks import contents, one_line

from tpifu.config import Sample
from tpifu.errors import ConfigError, DataError
from tpifu.parallel import cluster, parallel_map
from tpifu.prepare.points import write_points


def square(number: int) -> int:
    return number * number


def touch(number: int, *, folder) -> int:
    (folder / str(number)).touch()
    return number


def fail_at_3(number: int) -> int:
    if number == 3:
        raise DataError("clip 3: broken")
    return number


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("count", [0, 6, 10])
def test_results_are_in_order(jobs, count, monkeypatch):
    monkeypatch.setattr("tpifu.parallel._ROUND_ITEMS", 2)
    found = list(parallel_map(square, list(range(count)), jobs=jobs, label="x"))
    assert found == [number**2 for number in range(count)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_slow_consumer_bounds_the_results_in_memory(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.parallel._ROUND_ITEMS", 4)
    results = parallel_map(partial(touch, folder=tmp_path), list(range(100)), jobs=jobs, label="x")
    for taken, _ in enumerate(results, start=1):
        time.sleep(0.01)
        assert len(list(tmp_path.iterdir())) < taken + 4 * jobs + 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_one_item_is_raised(jobs):
    with pytest.raises(DataError, match="clip 3: broken"):
        list(parallel_map(fail_at_3, list(range(6)), jobs=jobs, label="x"))


@pytest.fixture
def dask(ends):
    """A function that starts a Dask cluster on this machine and returns its address."""
    distributed = pytest.importorskip("distributed")
    with ExitStack() as clusters:

        def start(workers: int, threads: int = 1) -> str:
            local = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=threads, dashboard_address=":0"
            )
            return clusters.enter_context(local).scheduler_address

        yield start


def test_a_cluster_writes_what_one_process_writes(dask, tiny, tmp_path):
    pool = Sample(near_surface=300, uniform=100, grid=12)
    with cluster(dask(workers=2)):
        write_points(tiny / "meshes", tmp_path / "points", pool, half=1.28, seed=0, jobs=1)
    assert contents(tmp_path / "points") == contents(tiny / "points")


def slow(number: int) -> tuple[int, int]:
    time.sleep(0.1)
    return number**2, os.getpid()


def test_results_are_complete_when_a_worker_dies(dask):
    found = []
    with cluster(dask(workers=2)):
        for result in parallel_map(slow, list(range(30)), jobs=1, label="x"):
            found.append(result)
            if len(found) == 8:
                os.kill(result[1], signal.SIGKILL)
    assert [value for value, _ in found] == [number**2 for number in range(30)]
    assert len({pid for _, pid in found}) > 1


def test_a_cluster_raises_the_error_of_one_item(dask):
    with cluster(dask(workers=1)), pytest.raises(DataError, match="clip 3: broken"):
        list(parallel_map(fail_at_3, list(range(6)), jobs=1, label="x"))


def test_unusable_clusters_are_rejected_in_one_line(dask, monkeypatch):
    def rejected(address, message):
        with one_line(ConfigError, message), cluster(address):
            pass

    rejected(dask(workers=0), "has no workers; start some with dask worker")
    rejected(dask(workers=1, threads=2), "has workers with several threads")
    monkeypatch.setattr("tpifu.parallel._TIMEOUT", 1)
    rejected("tcp://127.0.0.1:9", "no answer; is it running")
    rejected("nonsense", "no answer")
    monkeypatch.setitem(sys.modules, "distributed", None)
    rejected("127.0.0.1:9", r"pip install '\.\[dask\]'")
