"""Interrupted training resumes and ends with the same bytes as uninterrupted training."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from dataclasses import replace

import pytest
import torch
from helpers.training import CPU, Interrupted, losses, outputs, run, stop_at, train
from ruamel.yaml import YAML

from tpifu.errors import DataError, Stopped
from tpifu.files import PACKAGE


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def settings(tiny, tiny_model):
    return run(tiny, tiny_model)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("neighborhood", [1, 3])
@pytest.mark.parametrize("stopped", [0, 2, 3, 5])
def test_an_interrupted_run_ends_with_the_same_bytes(
    tiny, tiny_model, tmp_path, neighborhood, stopped, optimizer
):
    settings = run(tiny, tiny_model, neighborhood, optimizer=optimizer)
    train(settings, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "out", log=stop_at(stopped))
    assert not (tmp_path / "out").exists()
    resumed = train(settings, tmp_path / "out")
    assert resumed[0] == 2 * (stopped // 2)  # the last checkpoint
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_ends_with_the_same_bytes(tiny, tiny_model, tmp_path):
    settings = run(tiny, tiny_model, steps=60, checkpoint_every=3)
    start = time.monotonic()
    train(settings, tmp_path / "whole")
    whole = time.monotonic() - start
    context = multiprocessing.get_context("fork")
    rng = random.Random(0)
    kills, lifetime = 0, 0.06 * whole
    while kills < 10:
        process = context.Process(target=train, args=(settings, tmp_path / "out"))
        process.start()
        process.join(rng.uniform(0.3, 1.7) * lifetime)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        else:  # it finished: restart with earlier kills
            shutil.rmtree(tmp_path / "out")
            kills, lifetime = 0, lifetime / 2
    train(settings, tmp_path / "out")
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


@pytest.mark.parametrize("readers", [0, 2])
def test_sigterm_saves_even_if_readers_get_it_too(settings, tmp_path, readers):
    train(settings, tmp_path / "whole")

    def terminate_all(metrics, step):
        if step == 2:  # a validation is due, but no checkpoint
            for process in multiprocessing.active_children():
                process.terminate()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="stopped by SIGTERM after step 3 of 6; repeat"):
        train(settings, tmp_path / "out", replace(CPU, readers=readers), terminate_all)
    resumed = train(settings, tmp_path / "out", replace(CPU, readers=readers))
    assert resumed == [3, 4, 5, 5]  # the last one is a validation
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(settings, tmp_path):
    train(settings, tmp_path / "whole")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(metrics, step):
        if step == 3:  # the system then refuses to write, as it does on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, unlimited[1]))

    try:
        with pytest.raises(
            DataError, match=r"state.pt: cannot be written \(File too large\)"
        ) as caught:
            train(settings, tmp_path / "out", log=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.part"))
    assert train(settings, tmp_path / "out")[0] == 2
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_a_run_with_other_settings_does_not_resume_but_can_start_from_the_checkpoint(
    tiny, tiny_model, settings, tmp_path
):
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "out", log=stop_at(4))
    other = run(tiny, tiny_model, learning_rate=2e-2)
    assert train(other, tmp_path / "out")[0] == 0
    (state,) = tmp_path.glob("scratch/*/state.pt")
    assert train(replace(other, start=state), tmp_path / "started")[0] == 0
    assert losses(tmp_path / "started")[0] != losses(tmp_path / "out")[0]


def test_changed_code_does_not_resume_and_keeps_the_checkpoint_of_the_old_code(
    settings, tmp_path, monkeypatch
):
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "out", log=stop_at(4))
    package = tmp_path / "package"
    shutil.copytree(PACKAGE, package, ignore=lambda *_: ["web", "assets"])
    with (package / "model" / "pifu.py").open("a") as file:
        file.write("# changed\n")
    with monkeypatch.context() as patch:
        patch.setattr("tpifu.files.PACKAGE", package)
        assert train(settings, tmp_path / "new")[0] == 0
    assert train(settings, tmp_path / "out")[0] == 4


def test_a_resumed_run_keeps_its_precision_and_says_so(settings, tmp_path, capfd):
    bfloat16 = replace(CPU, precision="bfloat16")
    train(settings, tmp_path / "whole", bfloat16)
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "out", bfloat16, stop_at(4))
    train(settings, tmp_path / "out")
    assert "keeping precision bfloat16, not float32\n" in capfd.readouterr().err
    written = YAML(typ="safe").load((tmp_path / "out" / "config.yaml").read_text())
    assert written["precision"] == "bfloat16"
    assert losses(tmp_path / "out") == losses(tmp_path / "whole")
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
