import copy
import itertools
import math

import numpy as np
import pytest
import torch

from tpifu.config import Lighting, Train
from tpifu.dataset.resident import ResidentSteps, read_resident
from tpifu.dataset.windows import Windows
from tpifu.measures.points import point_metrics
from tpifu.model.folder import TrainedModel, load_model, save_model
from tpifu.model.pifu import PIFu
from tpifu.train.optimizers import optimizers
from tpifu.train.timed import Average, Limit, fit_timed, learning_rate, speed, update, validated

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def resident(tiny):
    return read_resident(Windows(tiny / "views", tiny / "points", "train", 1), CPU, jobs=1)


def steps(resident, batch=4, points=40):
    return ResidentSteps(resident, batch, points, 0, neighborhood=3, windows_per_clip=2)


TRAIN = Train(learning_rate=3e-3, optimizer="muon", warmup=4)


def test_the_rate_warms_up_and_ends_at_0():
    assert learning_rate(TRAIN, 0, 0.0) == pytest.approx(3e-3 / 5)
    assert learning_rate(TRAIN, 50, 0.5) == pytest.approx(1.5e-3)
    assert learning_rate(TRAIN, 50, 1.2) == pytest.approx(0, abs=1e-9)


def test_a_limit_is_time_or_steps_whichever_comes_first():
    assert Limit(seconds=10.0).progress(5.0, 1000) == 0.5
    assert Limit(seconds=10.0, steps=100).progress(5.0, 80) == 0.8


def test_a_timed_training_learns_and_its_float16_model_is_read_back(resident, tiny_model, tmp_path):
    torch.manual_seed(0)
    network = PIFu(tiny_model, 2.56)
    reports = []
    drawn = steps(resident, points=100)
    average, curve = fit_timed(
        network, drawn, TRAIN, Limit(seconds=600.0, steps=60), reports.append, parts=2
    )
    assert len(curve.losses) == len(curve.rates) == 60
    assert curve.dropped == 0
    assert np.mean(curve.losses[-10:]) < 0.8 * np.mean(curve.losses[:10])
    assert [report.step for report in reports] == [50, 60]
    found = validated(average, drawn.draw(2))
    assert found["iou"] > 0.5
    half = copy.deepcopy(average).half()
    save_model(tmp_path, TrainedModel(half, tiny_model, 2.56, 32, 0.5, Lighting()))
    loaded = load_model(tmp_path, CPU)
    assert all(value.dtype == torch.float32 for value in loaded.network.parameters())
    assert validated(loaded.network, drawn.draw(2))["iou"] == pytest.approx(found["iou"], abs=0.1)


def test_a_training_ends_when_its_time_is_over(resident, tiny_model, monkeypatch):
    """Training reads its clock at most twice per step: 3 s of this clock are at least 30 steps."""
    clock = itertools.count(step=0.05)
    monkeypatch.setattr("tpifu.train.timed.time.perf_counter", lambda: next(clock))
    limit = Limit(seconds=3.0)
    _, curve = fit_timed(PIFu(tiny_model, 2.56), steps(resident), TRAIN, limit, lambda _: None)
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


def test_speed_is_windows_a_second(resident, tiny_model):
    assert speed(PIFu(tiny_model, 2.56), steps(resident), TRAIN, 0.2) > 1


def test_point_measures_are_those_of_evaluation(resident, tiny_model):
    torch.manual_seed(3)
    network = PIFu(tiny_model, 2.56).eval()
    with torch.no_grad():
        network.classifier.layers[-1].bias.fill_(0.55)
    (batch,) = steps(resident).draw()
    with torch.no_grad():
        occupancy = network(batch.images, batch.frames, batch.points, batch.calib)
    rows = [
        point_metrics(own.numpy(), labels.numpy() > 0)
        for own, labels in zip(occupancy[-1], batch.labels, strict=True)
    ]
    found = validated(network, [batch])
    for name in ("iou", "mse"):
        assert found[name] == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-5)
