"""Several processes on the CPU of this machine, with torchrun's environment variables."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from tpifu.errors import DataError
from tpifu.model.folder import LOSS_NAME, load_model
from tpifu.train.distributed import start_distributed

# One rank; its arguments are the data, the output and the number of steps.
PROGRAM = """
import sys
from pathlib import Path

import torch

from tpifu.config import Hourglass, Model, Train
from tpifu.errors import exit_on_error
from tpifu.shards.folder import DataFolder
from tpifu.train.distributed import start_distributed
from tpifu.train.fit import fit
from tpifu.train.run import Machine, Run

torch.set_num_threads(1)
data, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
model = Model(hourglass=Hourglass(stacks=2, depth=1, dim=8), mlp=(16, 8), z_normalization=0.3)
train = Train(batch_size=4, points=20, steps=steps, learning_rate=1e-2, checkpoint_every=2)
run = Run(data=DataFolder(data), model=model, train=train, seed=0)
with exit_on_error(), start_distributed(torch.device("cpu")) as (processes, device):
    machine = Machine(device=device, processes=processes)
    fit(run, out / "model", out / "scratch", machine, lambda m, step: print(step, flush=True))
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(data: Path, out: Path, world_size: int, steps: int) -> list[subprocess.Popen[str]]:
    port = free_port()
    processes = []
    for rank in range(world_size):
        names = {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": rank, "MASTER_PORT": port}
        environment = {name: str(value) for name, value in names.items()} if world_size > 1 else {}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, data, out, str(steps)],
                env={**os.environ, **environment, "MASTER_ADDR": "127.0.0.1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def wait(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit status and stderr of each process."""
    found = []
    for process in processes:
        _, errors = process.communicate(timeout=100)
        found.append((process.returncode, errors))
    return found


def wait_for(process: subprocess.Popen[str], step: int) -> None:
    for line in process.stdout:
        if int(line) >= step:
            return
    raise AssertionError(f"ended before step {step}: {process.stderr.read()}")


def losses(out: Path) -> np.ndarray:
    return np.loadtxt(out / "model" / LOSS_NAME, delimiter=",", skiprows=1)[:, 1]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny, tmp_path):
    one = start(tiny, tmp_path / "one", 1, 8)
    two = start(tiny, tmp_path / "two", 2, 8)
    assert [status for status, _ in wait(one) + wait(two)] == [0, 0, 0]
    # Gradients are summed in another order. Adam's first steps magnify the rounding in single
    # weights, but not in the losses.
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)
    assert load_model(tmp_path / "two" / "model", torch.device("cpu")).config.neighborhood == 3


@pytest.mark.slow
def test_when_a_process_dies_the_others_end_and_the_run_can_be_resumed(tiny, tmp_path):
    main, other = processes = start(tiny, tmp_path / "out", 2, 500)
    wait_for(main, 5)
    other.kill()
    died = time.monotonic()
    (status, errors), _ = wait(processes)
    assert time.monotonic() - died < 60
    assert status == 2
    assert errors.splitlines()[-1].startswith("error: rank 0 of 2 lost the other processes")
    assert not (tmp_path / "out" / "model").exists()
    (alone,) = start(tiny, tmp_path / "out", 1, 500)
    wait_for(alone, 0)
    alone.send_signal(signal.SIGTERM)
    ((status, errors),) = wait([alone])
    assert status == 128 + signal.SIGTERM
    assert "resuming after step" in errors
    assert "stopped by SIGTERM after step" in errors


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(tiny, tmp_path):
    main, other = processes = start(tiny, tmp_path / "out", 2, 500)
    wait_for(main, 3)
    other.send_signal(signal.SIGTERM)
    found = wait(processes)
    assert [status for status, _ in found] == [128 + signal.SIGTERM] * 2
    (message,) = {errors.splitlines()[-1] for _, errors in found}
    assert message.startswith("stopped by SIGTERM after step ")


@pytest.fixture
def first_of_two(monkeypatch):
    """torchrun's variables for rank 0 of 2; the other process never starts."""
    names = {"RANK": 0, "WORLD_SIZE": 2, "MASTER_PORT": free_port(), "MASTER_ADDR": "127.0.0.1"}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.usefixtures("first_of_two")
def test_an_error_of_this_process_is_not_reported_as_a_lost_process(monkeypatch):
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *_, **options: None)
    for error in (RuntimeError("mat1 and mat2"), torch.OutOfMemoryError("CUDA out of memory")):
        with pytest.raises(type(error), match=str(error)), start_distributed(torch.device("cpu")):
            raise error
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    with (
        pytest.raises(DataError, match="rank 0 of 2 lost the other processes"),
        start_distributed(torch.device("cpu")),
    ):
        raise gone


@pytest.mark.usefixtures("first_of_two")
def test_a_process_that_never_starts_is_one_line(monkeypatch):
    monkeypatch.setattr("tpifu.train.distributed.TIMEOUT", timedelta(seconds=1))
    with (
        pytest.raises(DataError, match="rank 0 of 2 lost the other processes or never found them"),
        start_distributed(torch.device("cpu")),
    ):
        pass
