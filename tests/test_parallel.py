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


def noted(number: int, *, folder: Path) -> int:
    (folder / str(number)).touch()
    return number


def faulty(number: int) -> int:
    if number == 3:
        raise DataError("clip 3: broken")
    return number


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("done", [0, 4, 10])
def test_results_come_in_order_without_those_already_done(jobs, done, monkeypatch):
    monkeypatch.setattr("tpifu.parallel._ROUND", 2)
    found = list(parallel_map(square, list(range(10)), jobs=jobs, label="x", done=done))
    assert found == [number**2 for number in range(done, 10)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_do_not_run_ahead_of_a_slow_consumer(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.parallel._ROUND", 4)
    results = parallel_map(partial(noted, folder=tmp_path), list(range(100)), jobs=jobs, label="x")
    for taken, _ in enumerate(results, start=1):
        time.sleep(0.01)
        assert len(list(tmp_path.iterdir())) < taken + 4 * jobs + 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_for_people_comes_through(jobs):
    with pytest.raises(DataError, match="clip 3: broken"):
        list(parallel_map(faulty, list(range(6)), jobs=jobs, label="x"))


class Cluster:
    """A Dask scheduler, and workers that come and go: processes of this machine."""

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


def test_a_worker_that_dies_costs_no_result(dask, tmp_path):
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
    # Both took part, in processes other than this one.
    pids = {int(path.name.split("-")[1]) for path in folder.iterdir()}
    assert len(pids) == 2
    assert first.pid in pids


def test_a_cluster_passes_on_an_error_for_people(dask):
    dask.worker()
    with cluster(dask.address), pytest.raises(DataError, match="clip 3: broken"):
        list(parallel_map(faulty, list(range(6)), jobs=1, label="x"))


def test_a_cluster_that_cannot_work_is_refused_in_one_line(dask, monkeypatch):
    def refused(address, told):
        with pytest.raises(ConfigError, match=told) as caught, cluster(address):
            pass
        assert "\n" not in str(caught.value)

    refused(dask.address, "has no workers; start some with dask worker")
    dask.worker(threads=2)
    refused(dask.address, "has workers of several threads")
    monkeypatch.setattr("tpifu.parallel._PATIENCE", 1)
    refused("tcp://127.0.0.1:9", "does not answer; is it running")
    refused("nonsense", "does not answer|is no address")
    monkeypatch.setitem(sys.modules, "distributed", None)
    refused(dask.address, r"pip install '\.\[dask\]'")
