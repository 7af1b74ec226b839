"""Tests the functions of tools/release_models.py on tiny data. The whole command is tested by hand
(`--rehearse`), because making its data takes half a minute."""

import csv
import importlib
import json
import time
import warnings
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import release_log
import release_models
import release_outputs
import release_recipe
import release_tune
import torch
from helpers.training import windows
from release_resident import read_resident
from release_timed import Limit

from tpifu.config import Evaluate, Hourglass, Model, Render, Sample
from tpifu.model.folder import load_model
from tpifu.model.hourglass import StackedHourglass
from tpifu.shards.folder import DataFolder

CPU = torch.device("cpu")


@pytest.fixture
def recipe(tiny_model):
    whole = release_recipe.REHEARSAL
    train = whole.train.model_copy(update={"batch_size": 6, "points": 50})
    wide = Model.model_validate(
        tiny_model.model_dump() | {"hourglass": Hourglass(stacks=2, depth=1, dim=16)}
    )
    return replace(
        whole,
        render=Render(size=32, views=2),
        sample=Sample(near_surface=300, uniform=100, grid=12),
        networks=[wide, tiny_model],
        train=train,
        evaluate=Evaluate(
            points=100, frames=2, sequence=0, resolution=16, start=8, surface_points=200
        ),
        images=6,
        validation_windows=4,
        measuring=0.1,
    )


@pytest.mark.parametrize(
    ("windows", "speeds", "dim"),
    [(1, [10, 100], 16), (10**9, [10, 100], 8), (10**9, [95, 100], 16)],
)
def test_a_narrower_network_is_chosen_only_if_it_sees_more_windows(
    recipe, monkeypatch, windows, speeds, dim
):
    log = release_log.Log()
    measured = iter([*speeds, 50])
    monkeypatch.setattr(release_tune, "speed", lambda *arguments, **options: next(measured))
    how = {"training": 100.0, "compiling": 0.0}
    tuned = release_tune.tune(replace(recipe, windows=windows), CPU, "float32", **how, log=log)
    assert tuned.model.hourglass.dim == dim


def test_a_filter_that_takes_too_long_to_compile_stays_eager(recipe, monkeypatch):
    log = release_log.Log()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the compiler's first import
        importlib.import_module("torch._dynamo")
    monkeypatch.setattr(StackedHourglass, "compile", lambda image_filter, dynamic: None)
    monkeypatch.setattr(release_tune, "update", lambda *step: time.sleep(60))
    monkeypatch.setattr(release_tune, "speed", lambda *arguments, **options: 1.0)
    how = {"training": 100.0, "compiling": 0.1}
    tuned = release_tune.tune(recipe, CPU, "float32", **how, log=log)
    assert not tuned.compiled
    assert any("not compiled: TimeoutError" in line for line in log.lines)


def test_models_metrics_and_pictures_are_written(recipe, tiny, tmp_path):
    log = release_log.Log()
    how = {"training": 100.0, "compiling": 0.0}
    tuned = release_tune.tune(recipe, CPU, "float32", **how, log=log)
    assert tuned.speeds["temporal"] > 0
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "data").symlink_to(tiny)
    outputs = release_outputs.Outputs(tmp_path / "out", tmp_path / "work", recipe, {"card": "x"})
    outputs.out.mkdir()
    data = {
        split: read_resident(windows(tiny, split, neighborhood=1), CPU, jobs=1)
        for split in ("train", "validation")
    }
    for name in ("temporal", "baseline"):
        limit = Limit(seconds=600.0, steps=12)
        release_models.train(name, tuned, data, limit, outputs, "float32", 0, log)
        work = tmp_path / "work" / name
        release_models.measure(outputs.out / name, DataFolder(tiny), recipe.evaluate, 0, work, 1)
        outputs.measured.append(name)
    outputs.draw_losses()
    outputs.draw_sheet()
    outputs.write(log.seconds, log.lines)
    found = {str(path.relative_to(outputs.out)) for path in outputs.out.rglob("*.*")}
    assert found == {
        *("baseline/model.pt", "temporal/model.pt", "metrics.json", "per_mesh.parquet"),
        *("loss.csv", "loss.png", "sheet.png", "machine.json"),
    }
    metrics = json.loads((outputs.out / "metrics.json").read_text())
    assert metrics["temporal"]["nine"]["iou"] == metrics["temporal"]["iou"]
    assert metrics["validation"]["baseline"][-1]["step"] == 12
    assert set(pq.read_table(outputs.out / "per_mesh.parquet")["model"].to_pylist()) == {
        "baseline",
        "temporal",
    }
    with (outputs.out / "loss.csv").open() as file:
        assert len(list(csv.reader(file))) == 25
    model = load_model(outputs.out / "temporal", CPU)
    assert model.config.neighborhood == 3
    assert (model.size, model.data) == (32, recipe.record)


def test_a_failed_part_is_logged_and_stops_nothing():
    log = release_log.Log()
    with log.attempt("drawing"):
        raise ValueError("no ink")
    assert "drawing FAILED: ValueError: no ink" in log.lines[-1]
    assert "drawing" in log.seconds
    assert log.failed == ["drawing"]
