import copy
import itertools
import math

import numpy as np
import pytest
import torch
from helpers.training import windows
from release_resident import ResidentSteps, read_resident
from release_timed import Average, Limit, fit_timed, update, validated

from tpifu.config import DataRecord, Model, Train
from tpifu.model.folder import TrainedModel, load_model, save_model
from tpifu.model.pifu import PIFu
from tpifu.train.optimizers import optimizers

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def resident(tiny):
    return read_resident(windows(tiny, neighborhood=1), CPU, jobs=1)


def steps(resident, points=40):
    return ResidentSteps(
        resident, TRAIN.model_copy(update={"points": points}), Model(neighborhood=3), seed=0
    )


TRAIN = Train(
    learning_rate=3e-3,
    optimizer="muon",
    schedule="cosine",
    warmup=4,
    batch_size=4,
)


def test_a_limit_is_time_or_steps_whichever_ends_first():
    assert Limit(seconds=10.0).progress(5.0, 1000) == 0.5
    assert Limit(seconds=10.0, steps=100).progress(5.0, 80) == 0.8


def test_timed_training_learns_and_its_float16_model_can_be_loaded(resident, tiny_model, tmp_path):
    torch.manual_seed(0)
    network = PIFu(tiny_model, 2.56)
    reports = []
    drawn = steps(resident, points=100)
    average, curve = fit_timed(
        network, drawn, Limit(seconds=600.0, steps=60), reports.append, parts=2
    )
    assert len(curve.losses) == len(curve.rates) == 60
    assert curve.dropped == 0
    assert np.mean(curve.losses[-10:]) < 0.8 * np.mean(curve.losses[:10])
    assert [report.step for report in reports] == [50, 60]
    found = validated(average, drawn.draw(2))
    assert found["iou"] > 0.5
    half = copy.deepcopy(average).half()
    save_model(tmp_path, TrainedModel(half, tiny_model, 2.56, 32, 0.5, DataRecord()))
    loaded = load_model(tmp_path, CPU)
    assert all(value.dtype == torch.float32 for value in loaded.network.parameters())
    assert validated(loaded.network, drawn.draw(2))["iou"] == pytest.approx(found["iou"], abs=0.1)


def test_training_ends_when_its_time_is_over(resident, tiny_model, monkeypatch):
    """Training reads its clock at most twice per step: 3 s of this clock are at least 30 steps."""
    clock = itertools.count(step=0.05)
    monkeypatch.setattr("release_timed.time.perf_counter", lambda: next(clock))
    limit = Limit(seconds=3.0)
    _, curve = fit_timed(PIFu(tiny_model, 2.56), steps(resident), limit, lambda _: None)
    assert 30 <= len(curve.losses) == len(curve.rates) <= 60
    assert curve.rates[-1] < 0.02 * max(curve.rates)


def test_gradients_that_are_not_finite_are_dropped_and_counted(resident, tiny_model):
    network = PIFu(tiny_model, 2.56)
    before = copy.deepcopy(network.state_dict())
    (batch,) = steps(resident).draw()
    batch.labels[0, 0] = math.nan
    _, finite = update(network, optimizers("muon", network), [batch], 1e-2, "float32")
    assert not finite
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_averaged_weights_follow_the_network(tiny_model):
    network = PIFu(tiny_model, 2.56)
    average = Average(network, 0.9)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(1.0)
    for _ in range(100):
        average.update()
    for ours, theirs in zip(average.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
