import os
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from helpers.clip import RENDER
from helpers.command import done, refused, settings, tpifu
from ruamel.yaml import YAML

from tpifu.tracking import TrackedRun

TINY_NETWORK = settings(
    *("model.hourglass.stacks=1", "model.hourglass.depth=1", "model.hourglass.dim=8"),
    *("train.batch_size=2", "train.points=16", "train.steps=3"),
)


def test_train_uses_the_profile_of_the_params_file(trip):
    lines = (trip.model / "loss.csv").read_text().splitlines()
    assert len(lines) == 1 + 40
    assert trip.trained.endswith("model.pt: 40 steps\n")
    assert not (trip.model.parent / ".tpifu-train").exists()  # nothing is left to resume


def test_settings_override_the_params_file(trip, tmp_path):
    command = ["train", trip.shards, "-o", tmp_path, "--params", trip.root / "tiny.yaml"]
    changed = settings("model.neighborhood=1", "model.stride=2", "train.steps=2", "seed=7")
    done(*command, "--device", "cpu", *changed)
    text = (tmp_path / "config.yaml").read_text()
    for line in ("neighborhood: 1", "stride: 2", "steps: 2", "seed: 7", "batch_size: 4"):
        assert line in text


def test_an_interrupted_training_resumes(trip, tmp_path, monkeypatch):
    from tpifu.train.step import training_step

    command = ["train", trip.shards, "--params", trip.root / "tiny.yaml", "--device", "cpu"]
    command += settings("train.steps=6", "train.checkpoint_every=2")
    done(*command, "-o", tmp_path / "whole")
    calls = []

    def interrupt_fifth(*arguments, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return training_step(*arguments, **options)

    monkeypatch.setattr("tpifu.train.trainer.training_step", interrupt_fifth)
    result = tpifu(*command, "-o", tmp_path / "resumed")
    assert result.exit_code == 130
    assert not (tmp_path / "resumed" / "model.pt").exists()
    assert (tmp_path / ".tpifu-train").is_dir()
    done(*command, "-o", tmp_path / "resumed")
    assert len(calls) == 5 + 2  # steps 0 to 3 were saved
    whole, resumed = (tmp_path / name / "model.pt" for name in ("whole", "resumed"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_training_is_tracked_only_with_the_option(trip, tmp_path, monkeypatch):
    runs, steps = [], []

    class Recorder(TrackedRun):
        def log_metrics(self, metrics, step=None):
            steps.append(step)

    @contextmanager
    def start_run(name, *, root, params, tags, memory, recorded):
        if recorded:
            runs.append((name, params, tags, memory))
        yield Recorder() if recorded else TrackedRun()

    monkeypatch.setattr("tpifu.tracking.start_run", start_run)
    command = ["train", trip.shards, "--params", trip.root / "tiny.yaml", "--device", "cpu"]
    command += settings("train.steps=2")
    done(*command, "-o", tmp_path / "one")
    assert runs == []
    done(*command, "-o", tmp_path / "two", "--track")
    ((name, params, tags, memory),) = runs
    assert name == "train two"
    config = YAML(typ="safe").load((tmp_path / "two" / "config.yaml").read_text())
    assert tags == {"fingerprint": config["fingerprint"]}
    assert memory.parent == tmp_path / ".tpifu-train"
    assert memory.name.startswith(f"{tags['fingerprint']}-")
    assert params["train"]["steps"] == 2
    assert steps == [0, 1]


def test_training_starts_from_a_model_and_takes_its_network(trip, tmp_path):
    command = ["train", trip.shards, "--device", "cpu", "--start", trip.model]
    command += settings("train.steps=2", "train.batch_size=2", "train.points=20")
    line = refused(*command, "-o", tmp_path / "no")
    assert "loss is cross_entropy, but model.last_activation is tanh" in line
    command += settings("train.loss=squared")
    done(*command, "-o", tmp_path / "started")
    text = (tmp_path / "started" / "config.yaml").read_text()
    assert "start: " in text
    (dim,) = re.findall(r"dim: \d+", (trip.model / "config.yaml").read_text())
    assert dim in text
    stacked = settings("model.hourglass.stacks=3")
    line = refused(*command, "-o", tmp_path / "no", *stacked)
    assert "its hourglass is" in line
    line = refused(*command, "-o", tmp_path / "no", "--start", tmp_path / "nothing")
    assert "nothing" in line


def test_training_data_unlike_those_of_the_first_model_are_a_warning(trip, bodies, tmp_path):
    lit = settings("render.light=environment")
    done("render", *bodies, "-o", tmp_path / "lit", "--split", "train", *RENDER, *lit)
    warning = "lit: light environment (trained on camera): the model may do worse on these data"
    command = ["--device", "cpu", "--start", trip.model, *settings("train.steps=1")]
    command += settings("train.batch_size=2", "train.points=20", "train.loss=squared")
    for data, count in ((tmp_path / "lit", 1), (trip.shards, 0)):
        found = done("train", data, "-o", tmp_path / f"model{count}", *command)
        assert found.stderr.count(warning) == count
        assert found.stderr.count("warning") == count


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (settings("model.neighborhood=7"), "the longest train clip has 5 frames"),
        (settings("model.stride=3"), "the longest train clip has 5 frames"),
        (settings("train.batch_size=9"), "the data has 5 meshes"),
        (settings("model.hourglass.dim=6"), "model.hourglass.dim: is 6"),
        (["--device", "abacus"], "device 'abacus' is unknown"),
    ],
)
def test_wrong_options_of_train(options, words, trip, untouched):
    command = ["train", trip.shards, "-o", untouched]
    assert words in refused(*command, "--device", "cpu", *TINY_NETWORK, *options)


COMPILED = """
import torch
from torch._dynamo.utils import counters
from tpifu.cli.app import main
compile = torch.nn.Module.compile
# Trace the graphs only: generating machine code takes minutes.
torch.nn.Module.compile = lambda module: compile(module, backend="aot_eager")
try:
    main()
finally:
    print(counters["stats"]["unique_graphs"], sum(counters["graph_break"].values()))
"""


@pytest.mark.slow
def test_compiled_steps_are_whole_graphs_with_the_same_losses(tiny, tmp_path):
    losses = []
    for number, name in enumerate(("eager", "compiled")):
        # A separate process: the compiler cannot follow the shape checks of the tests.
        command = [sys.executable, "-c", COMPILED, "train", tiny, "-o", tmp_path / name]
        command += ["--device", "cpu", *TINY_NETWORK]
        environment = {**os.environ, "TPIFU_COMPILE": str(number)}
        process = subprocess.run(command, check=True, capture_output=True, env=environment)
        graphs, breaks = map(int, process.stdout.split()[-2:])
        rows = (tmp_path / name / "loss.csv").read_text().splitlines()[1:]
        losses.append([float(row.split(",")[1]) for row in rows])
        assert graphs == number  # one for any number of images
        assert breaks == 0
        done("eval", tmp_path / name, tiny, *settings("evaluate.points=20"))  # a usual model file
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
