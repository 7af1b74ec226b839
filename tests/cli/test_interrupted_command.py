"""Commands that fail, or that are stopped, name the user's folder and leave nothing hidden."""

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from helpers.clip import EVALUATE, RECONSTRUCT, RENDER
from helpers.command import settings, tpifu

COMMAND = [sys.executable, "-c", "from tpifu.cli.app import main; main()"]


@contextmanager
def full_disk(size: int):
    """Files may not grow beyond `size` bytes."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("render", "{out}/meshes/test-00000.parquet: Error writing bytes to file. Detail: "),
        ("eval", "{out}/meshes/fall_f002_v0.glb: File too large"),
        ("reconstruct", "{out}/meshes/0000_pose0.glb: File too large"),
        ("train", "/state.pt: cannot be written (File too large); the file written before is kept"),
    ],
    ids=["render", "eval", "reconstruct", "train"],
)
def test_a_full_disk_is_one_line_without_hidden_names(trip, bodies, tmp_path, command, line):
    out = tmp_path / "out"
    arguments = {
        "render": [*bodies, *RENDER],
        "eval": [trip.model, trip.shards, *EVALUATE],
        "reconstruct": [trip.model, trip.images[0].parent, *RECONSTRUCT],
        "train": [trip.shards, "--params", trip.root / "tiny.yaml", "--device", "cpu"],
    }[command]
    if command == "train":
        arguments += settings("train.checkpoint_every=5")
    with full_disk(500):
        result = tpifu(command, *arguments, "-o", out)
    assert result.exit_code == 2
    assert result.stderr.count("error: ") == 1
    assert line.format(out=out) in result.stderr.splitlines()[-1]
    assert ".part" not in result.stderr
    left = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert left == []
    assert out.exists() == (command == "reconstruct")  # which resumes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_leaves_nothing(bodies, tmp_path, number):
    # A shell that runs the tests in the background has them ignore Ctrl-C, and so their children.
    before = signal.signal(number, signal.default_int_handler)
    many = settings("render.views=2000", "render.size=256", "render.backend=embree")
    command = [*COMMAND, "render", *bodies, "-o", tmp_path / "out", *many]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ) as process:
        signal.signal(number, before)
        end = time.monotonic() + 60
        while not (tmp_path / ".out.part" / "meshes").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "eval", "reconstruct"])
@pytest.mark.parametrize("device", ["mps", "xpu", "cuda:77"])
def test_a_device_that_the_machine_lacks_is_one_line(trip, untouched, command, device):
    inputs = [trip.shards] if command == "train" else [trip.model, trip.shards]
    result = tpifu(command, *inputs, "-o", untouched, "--device", device)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: device {device!r}")
    assert "use cpu" in line
