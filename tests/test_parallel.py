import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tpifu.config import Sample
from tpifu.errors import ConfigError, DataError
from tpifu.parallel import cluster, parallel_map
from tpifu.prepare.points import write_points

REPOSITORY = Path(__file__).parent.parent


def square(number: int) -> int:
    return number * number


def touch(number: int, *, folder: Path) -> int:
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


class Cluster:
    """A Dask scheduler and workers on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self.processes: list[subprocess.Popen] = []

    def scheduler(self) -> None:
        file = self.folder / "scheduler"
        self._start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        while not (file.exists() and file.read_text()):
            time.sleep(0.1)
        self.address = json.loads(file.read_text())["address"]

    def worker(self, threads: int = 1) -> subprocess.Popen:
        started = self._start(
            "worker", self.address, "--nthreads", str(threads), "--no-nanny", "--no-dashboard"
        )
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(len(self.processes) - 1)
        return started

    def _start(self, *command: str) -> subprocess.Popen:
        started = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + command[0], *command[1:]],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"},
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(started)
        return started


@pytest.fixture
def dask(tmp_path, ends):
    pytest.importorskip("distributed")
    folder = tmp_path / "dask"
    folder.mkdir()
    own = Cluster(folder)
    own.scheduler()
    yield own
    for process in own.processes:
        process.kill()
        process.wait()


def test_a_cluster_writes_what_one_process_writes(dask, tiny, tmp_path):
    dask.worker()
    dask.worker()
    pool = Sample(near_surface=300, uniform=100, grid=12)
    with cluster(dask.address):
        write_points(tiny / "meshes", tmp_path / "points", pool, half=1.28, seed=0, jobs=1)
    shards = sorted((tiny / "points").iterdir())
    assert [path.name for path in sorted((tmp_path / "points").iterdir())] == [
        path.name for path in shards
    ]
    for path in shards:
        assert (tmp_path / "points" / path.name).read_bytes() == path.read_bytes()


def slow(number: int, *, folder: Path) -> int:
    (folder / f"{number}-{os.getpid()}").touch()
    time.sleep(0.1)
    return number**2


def test_results_are_complete_when_a_worker_dies(dask, tmp_path):
    first = dask.worker()
    dask.worker()
    folder = tmp_path / "log"
    folder.mkdir()
    found = []
    with cluster(dask.address):
        for result in parallel_map(
            partial(slow, folder=folder), list(range(30)), jobs=1, label="x"
        ):
            found.append(result)
            if len(found) == 8:
                first.kill()
    assert found == [number**2 for number in range(30)]
    # Both workers computed.
    pids = {int(path.name.split("-")[1]) for path in folder.iterdir()}
    assert len(pids) == 2
    assert first.pid in pids


def test_a_cluster_raises_the_error_of_one_item(dask):
    dask.worker()
    with cluster(dask.address), pytest.raises(DataError, match="clip 3: broken"):
        list(parallel_map(fail_at_3, list(range(6)), jobs=1, label="x"))


def test_unusable_clusters_are_rejected_in_one_line(dask, monkeypatch):
    def rejected(address, message):
        with pytest.raises(ConfigError, match=message) as caught, cluster(address):
            pass
        assert "\n" not in str(caught.value)

    rejected(dask.address, "has no workers; start some with dask worker")
    dask.worker(threads=2)
    rejected(dask.address, "has workers with several threads")
    monkeypatch.setattr("tpifu.parallel._TIMEOUT", 1)
    rejected("tcp://127.0.0.1:9", "no answer; is it running")
    rejected("nonsense", "no answer")
    monkeypatch.setitem(sys.modules, "distributed", None)
    rejected(dask.address, r"pip install '\.\[dask\]'")
