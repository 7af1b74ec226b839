import itertools
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from dataclasses import replace
from itertools import pairwise

import grimp
import pytest
import torch
from helpers.training import CPU, SHORT, Interrupted, ignore, losses, run, stop_at
from ruamel.yaml import YAML

from tpifu.config import Evaluate, Hourglass, Lighting, Render, Train
from tpifu.dataset.steps import TrainingSteps
from tpifu.dataset.windows import Windows
from tpifu.errors import ConfigError, DataError, Stopped
from tpifu.evaluate.measure import measure
from tpifu.files import PACKAGE
from tpifu.measures.points import point_metrics
from tpifu.model.field import window_fields
from tpifu.model.folder import load_model
from tpifu.model.pifu import PIFu
from tpifu.model.widen import widen
from tpifu.prepare.views import write_views
from tpifu.reconstruct.grid import evaluate_dense, evaluate_grid
from tpifu.shards.coding import unpack_bits, unpack_codes
from tpifu.train.distributed import Team
from tpifu.train.fit import fit
from tpifu.train.optimizers import learning_rate, optimizers
from tpifu.train.run import CODE, Machine
from tpifu.train.step import add_gradients, fastest_precision, loss_of_stacks, surface_level
from tpifu.train.validation import MEASURES, validate


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_loss_is_the_mean_squared_error_over_all_stacks():
    torch.manual_seed(0)
    occupancy, labels = torch.rand(3, 2, 5), torch.rand(2, 5)
    total = 0.0
    for stack in range(3):
        for window in range(2):
            for point in range(5):
                total += float(occupancy[stack, window, point] - labels[window, point]) ** 2
    assert float(loss_of_stacks(occupancy, labels)) == pytest.approx(total / 30)


def test_a_constant_rate_is_table_1s_and_a_cosine_warms_up_and_ends_at_zero():
    assert {learning_rate(Train(), step) for step in (0, 100, 44599)} == {1e-4}
    config = Train(learning_rate=1.0, steps=100, warmup=4, schedule="cosine")
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[52] == pytest.approx(0.5)  # half way from step 4 to step 100
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert 0 < rates[-1] < 1e-3


def test_it_writes_a_model_a_loss_table_and_its_settings(tiny, tiny_model, tmp_path):
    seen = []
    out = tmp_path / "model"
    fit(run(tiny, tiny_model), out, tmp_path / "scratch", CPU, lambda m, s: seen.append((s, m)))
    assert sorted(outputs(out)) == ["config.yaml", "loss.csv", "model.pt", "validation.csv"]
    steps = [(step, told["loss"]) for step, told in seen if "loss" in told]
    assert [step for step, _ in steps] == list(range(6))
    assert losses(out) == pytest.approx([loss for _, loss in steps], rel=1e-5)
    assert [step for step, told in seen if "validation.iou" in told] == [2, 5]
    settings = YAML(typ="safe").load((out / "config.yaml").read_text())
    assert settings["train"]["steps"] == 6
    assert settings["model"]["neighborhood"] == 3
    model = load_model(out, torch.device("cpu"))
    assert (model.config.neighborhood, model.size, model.window) == (3, 32, 2.56)
    assert list((tmp_path / "scratch").iterdir()) == []  # nothing to resume any more


@pytest.mark.parametrize("parts", [1, 3])
def test_it_tells_its_speed(tiny, tiny_model, tmp_path, monkeypatch, parts):
    seen = []
    machine = Machine(device=torch.device("cpu"), parts=parts)
    # A clock that ticks when it is read: a step waits one second for data and works another one.
    monkeypatch.setattr("tpifu.train.fit.time.perf_counter", itertools.count().__next__)
    settings = run(tiny, tiny_model, neighborhood=1)
    fit(settings, tmp_path / "m", tmp_path / "s", machine, lambda m, s: seen.append(m))
    of_steps = [metrics for metrics in seen if "loss" in metrics]
    assert len(of_steps) == 6
    for metrics in of_steps:
        assert metrics["points_per_s"] == 3 * 20 / 2
        # Two of the three windows may be of the same frame, whose image is filtered once a part.
        assert metrics["frames_per_s"] in ({1, 1.5} if parts == 1 else {1.5})
        assert metrics["waiting_share"] == 0.5


def test_the_models_level_undoes_the_balanced_draw(tiny, tiny_model, tmp_path):
    windows = Windows(tiny / "views", tiny / "points", "train", 1)
    rows = [row for _, own in windows.clips for row in own.tolist()]
    stored = windows.points.read(rows, ["points", "inside"])
    inside = [unpack_bits(row["inside"], len(unpack_codes(row["points"]))).sum() for row in stored]
    share = sum(inside) / sum(len(unpack_codes(row["points"])) for row in stored)
    assert 0.05 < share < 0.45
    fit(run(tiny, tiny_model), tmp_path / "m", tmp_path / "s", CPU, ignore)
    assert load_model(tmp_path / "m", torch.device("cpu")).level == pytest.approx(1 - share)


def test_at_the_surface_level_inside_and_outside_are_equally_likely():
    """Points on a line, inside and outside normal around 0 and 1, a share of .2 inside."""
    points = torch.linspace(-3, 4, 7001, dtype=torch.float64)
    inside, outside = (-((points - centre) ** 2) / 2 for centre in (0.0, 1.0))
    balanced = torch.sigmoid(inside - outside)  # what half-and-half draws teach
    pool = torch.sigmoid(inside - outside + math.log(0.2 / 0.8))
    assert torch.equal(balanced > surface_level(0.2), pool > 0.5)
    assert not torch.equal(balanced > 0.5, pool > 0.5)


def test_a_run_repeated_gives_the_same_bytes(tiny, tiny_model, tmp_path):
    for name in ("one", "two"):
        fit(run(tiny, tiny_model), tmp_path / name, tmp_path / "scratch", CPU, ignore)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")
    fit(run(tiny, tiny_model, seed=1), tmp_path / "other", tmp_path / "scratch", CPU, ignore)
    assert outputs(tmp_path / "one")["loss.csv"] != outputs(tmp_path / "other")["loss.csv"]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("neighborhood", [1, 3])
@pytest.mark.parametrize("stopped", [0, 2, 3, 5])
def test_an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one(
    tiny, tiny_model, tmp_path, neighborhood, stopped, optimizer
):
    train = SHORT.model_copy(update={"optimizer": optimizer})
    settings = run(tiny, tiny_model, neighborhood, train)
    fit(settings, tmp_path / "whole", tmp_path / "scratch", CPU, ignore)
    with pytest.raises(Interrupted):
        fit(settings, tmp_path / "out", tmp_path / "scratch", CPU, stop_at(stopped))
    assert not (tmp_path / "out").exists()
    resumed = []
    fit(settings, tmp_path / "out", tmp_path / "scratch", CPU, lambda m, s: resumed.append(s))
    assert resumed[0] == 2 * (stopped // 2)  # the last checkpoint, not the start
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_twenty_kills_change_no_byte(tiny, tiny_model, tmp_path):
    train = SHORT.model_copy(update={"steps": 60, "checkpoint_every": 3})
    settings = run(tiny, tiny_model, train=train)
    fit(settings, tmp_path / "whole", tmp_path / "other", CPU, ignore)
    context = multiprocessing.get_context("fork")
    arguments = (settings, tmp_path / "out", tmp_path / "scratch", CPU, ignore)
    start = time.monotonic()
    fit(settings, tmp_path / "timed", tmp_path / "other", CPU, ignore)
    whole = time.monotonic() - start
    rng = random.Random(0)
    kills, life = 0, 0.06 * whole
    while kills < 20:
        process = context.Process(target=fit, args=arguments)
        process.start()
        process.join(rng.uniform(0.3, 1.7) * life)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        else:  # quicker than it was when it was timed: once more
            shutil.rmtree(tmp_path / "out")
            kills, life = 0, life / 2
    fit(*arguments)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_a_batch_in_parts_is_the_batch_but_for_rounding(tiny, tiny_model, tmp_path):
    train = SHORT.model_copy(update={"batch_size": 4})
    settings = run(tiny, tiny_model, train=train)
    fit(settings, tmp_path / "whole", tmp_path / "scratch", CPU, ignore)
    parts = Machine(device=torch.device("cpu"), parts=2)
    fit(settings, tmp_path / "parts", tmp_path / "scratch", parts, ignore)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


def test_sigterm_saves_and_the_run_goes_on_from_there(tiny, tiny_model, tmp_path):
    settings = run(tiny, tiny_model)
    fit(settings, tmp_path / "whole", tmp_path / "scratch", CPU, ignore)

    def terminate(metrics, step):
        if step == 2:  # no step after which a checkpoint is due
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="stopped after step 3 of 6, as asked"):
        fit(settings, tmp_path / "out", tmp_path / "scratch", CPU, terminate)
    resumed = []
    fit(settings, tmp_path / "out", tmp_path / "scratch", CPU, lambda m, s: resumed.append(s))
    assert resumed == [2, 3, 4, 5, 5]  # validation after step 2 was left for later
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_full_disk_ends_in_one_line_and_keeps_the_last_checkpoint(tiny, tiny_model, tmp_path):
    settings = run(tiny, tiny_model)
    fit(settings, tmp_path / "whole", tmp_path / "scratch", CPU, ignore)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(metrics, step):
        if step == 3:  # the system refuses to write on, as it does on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, unlimited[1]))

    try:
        with pytest.raises(
            DataError, match=r"state.pt: cannot be written \(File too large\); .*before is kept"
        ) as told:
            fit(settings, tmp_path / "out", tmp_path / "scratch", CPU, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.rglob("*.part"))
    resumed = []
    fit(settings, tmp_path / "out", tmp_path / "scratch", CPU, lambda m, s: resumed.append(s))
    assert resumed[0] == 2
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


@pytest.mark.parametrize("neighborhood", [1, 3])
def test_windows_taken_together_train_too(tiny, tiny_model, tmp_path, neighborhood):
    train = SHORT.model_copy(update={"windows_per_clip": 3})
    fit(run(tiny, tiny_model, neighborhood, train), tmp_path / "m", tmp_path / "s", CPU, ignore)
    fit(run(tiny, tiny_model, neighborhood), tmp_path / "alone", tmp_path / "s", CPU, ignore)
    assert losses(tmp_path / "m") != losses(tmp_path / "alone")


@pytest.mark.parametrize("neighborhood", [1, 3])
def test_a_run_starts_with_the_weights_of_a_model(tiny, tiny_model, tmp_path, neighborhood):
    fit(run(tiny, tiny_model, 1), tmp_path / "first", tmp_path / "scratch", CPU, ignore)
    start = tmp_path / "first"
    settings = replace(run(tiny, tiny_model, neighborhood), start=start)
    fit(settings, tmp_path / "on", tmp_path / "scratch", CPU, ignore)
    model = load_model(start, torch.device("cpu"))
    network = widen(model, 3).network if neighborhood == 3 else model.network
    windows = Windows(tiny / "views", tiny / "points", "train", neighborhood)
    batch = TrainingSteps(windows, SHORT.batch_size, SHORT.points, 0)[0]
    with torch.no_grad():
        occupancies = network.train()(batch.images, batch.frames, batch.points, batch.calib)
    expected = float(loss_of_stacks(occupancies, batch.labels))
    assert losses(tmp_path / "on")[0] == pytest.approx(expected, rel=1e-4)


def test_a_model_that_does_not_fit_is_no_start(tiny, tiny_model, tmp_path):
    fit(run(tiny, tiny_model), tmp_path / "three", tmp_path / "scratch", CPU, ignore)
    start = tmp_path / "three"
    sigmoid = tiny_model.model_copy(update={"last_activation": "sigmoid"})
    for settings, told in [
        (run(tiny, sigmoid), "its last_activation is tanh, this run's sigmoid"),
        (run(tiny, tiny_model, 1), "its neighborhood is 3; only 1 can be widened to 1"),
    ]:
        with pytest.raises(ConfigError, match=told):
            fit(replace(settings, start=start), tmp_path / "m", tmp_path / "s", CPU, ignore)


def test_another_setting_does_not_resume_from_a_foreign_checkpoint(tiny, tiny_model, tmp_path):
    with pytest.raises(Interrupted):
        fit(run(tiny, tiny_model), tmp_path / "out", tmp_path / "scratch", CPU, stop_at(4))
    started = []
    other = run(tiny, tiny_model, train=SHORT.model_copy(update={"learning_rate": 2e-2}))
    fit(other, tmp_path / "out", tmp_path / "scratch", CPU, lambda m, s: started.append(s))
    assert started[0] == 0


def test_changed_code_begins_anew_and_loses_nothing(tiny, tiny_model, tmp_path, monkeypatch):
    settings, scratch = run(tiny, tiny_model), tmp_path / "scratch"
    with pytest.raises(Interrupted):
        fit(settings, tmp_path / "out", scratch, CPU, stop_at(4))
    package = tmp_path / "package"
    shutil.copytree(PACKAGE, package, ignore=lambda *_: ["web", "assets"])
    with (package / "model" / "pifu.py").open("a") as file:
        file.write("# changed\n")
    with monkeypatch.context() as patch:
        patch.setattr("tpifu.files.PACKAGE", package)
        started = []
        fit(settings, tmp_path / "new", scratch, CPU, lambda m, s: started.append(s))
        assert started[0] == 0
    resumed = []
    fit(settings, tmp_path / "out", scratch, CPU, lambda m, s: resumed.append(s))
    assert resumed[0] == 4


def test_the_code_that_counts_is_what_training_imports():
    graph = grimp.build_graph("tpifu")
    used = {"tpifu.train.fit"} | graph.find_upstream_modules("tpifu.train.fit")
    # Parameters are in the fingerprint by value; errors and locks change no result.
    used -= {"tpifu", "tpifu.config", "tpifu.errors", "tpifu.files"}
    named = [f"tpifu.{path.removesuffix('.py').replace('/', '.')}" for path in CODE]
    for module in used:
        assert any(module == name or module.startswith(f"{name}.") for name in named), module
    for name in named:
        assert any(module == name or module.startswith(f"{name}.") for module in used), name


def test_a_validation_is_left_for_later_when_asked_to_stop(tiny, tiny_model, tmp_path, monkeypatch):
    settings = run(tiny, tiny_model)
    fit(settings, tmp_path / "whole", tmp_path / "scratch", CPU, ignore)
    measured = []

    def terminate(*arguments):
        measured.append(arguments)
        if len(measured) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return point_metrics(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("tpifu.train.validation.point_metrics", terminate)
        with pytest.raises(Stopped, match="stopped after step 3 of 6, as asked"):
            fit(settings, tmp_path / "out", tmp_path / "scratch", CPU, ignore)
    assert len(measured) == 2
    resumed = []
    fit(settings, tmp_path / "out", tmp_path / "scratch", CPU, lambda m, s: resumed.append(s))
    assert resumed == [2, 3, 4, 5, 5]
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_readers_leave_a_signal_to_the_group_to_the_trainer(tiny, tiny_model, tmp_path):
    settings, machine = run(tiny, tiny_model), replace(CPU, workers=2)
    fit(settings, tmp_path / "whole", tmp_path / "scratch", CPU, ignore)

    def terminate(metrics, step):
        if step == 2:
            for process in [*multiprocessing.active_children()]:
                process.terminate()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="stopped after step 3 of 6, as asked"):
        fit(settings, tmp_path / "out", tmp_path / "scratch", machine, terminate)
    fit(settings, tmp_path / "out", tmp_path / "scratch", machine, ignore)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_data_is_one_line_whoever_reads_it(tiny, tiny_model, tmp_path, workers):
    views = tmp_path / "views"
    shutil.copytree(tiny / "views", views)
    [path, *_] = sorted(views.glob("train-*.parquet"))
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 4, len(content) // 2):
        content[place] ^= 255
    path.write_bytes(content)
    settings = replace(run(tiny, tiny_model), views=views)
    with pytest.raises(DataError) as told:
        fit(settings, tmp_path / "m", tmp_path / "s", replace(CPU, workers=workers), ignore)
    assert "\n" not in str(told.value)
    assert str(path) in str(told.value)


def test_reading_ahead_in_a_worker_changes_nothing(tiny, tiny_model, tmp_path):
    fit(run(tiny, tiny_model), tmp_path / "here", tmp_path / "scratch", CPU, ignore)
    ahead = Machine(device=torch.device("cpu"), workers=2)
    fit(run(tiny, tiny_model), tmp_path / "ahead", tmp_path / "scratch", ahead, ignore)
    assert outputs(tmp_path / "here") == outputs(tmp_path / "ahead")


def test_the_temporal_model_of_neighborhood_1_is_the_baseline(tiny, tiny_model, tmp_path):
    """What windows the parameters ask for has no say: the run's own does."""
    other = tiny_model.seeing(5, stride=2)
    fit(run(tiny, tiny_model, 1), tmp_path / "one", tmp_path / "scratch", CPU, ignore)
    fit(run(tiny, other, 1), tmp_path / "two", tmp_path / "scratch", CPU, ignore)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")


@pytest.fixture(scope="module", params=[1, 3])
def learned(request, tiny, tiny_model, tmp_path_factory):
    """A trained model's folder."""
    folder = tmp_path_factory.mktemp("learned")
    train = Train(batch_size=4, points=200, steps=150, learning_rate=1e-2, schedule="cosine")
    settings = run(tiny, tiny_model, request.param, train)
    fit(settings, folder / "m", folder / "s", CPU, ignore)
    return folder / "m"


def test_it_learns(learned):
    found = losses(learned)
    assert sum(found[:5]) / 5 > 0.24  # a constant 1/2 has .25
    assert sum(found[-20:]) / 20 < 0.16


def test_grids_of_what_it_learned_are_the_dense_ones(tiny, learned):
    model = load_model(learned, CPU.device)
    half, wrong = model.window / 2, []
    for split in ("test", "unseen_motion"):
        windows = Windows(tiny / "views", tiny / "points", split, model.config.neighborhood)
        for clip, view in itertools.product(range(len(windows.clips)), range(2)):
            batch = windows.clip_batch(clip, view, 2, 0)
            for field in window_fields(model.network, batch.images, batch.frames, batch.calib):
                dense = evaluate_dense(field, 64, half) > model.level
                assert dense.any()
                ours = evaluate_grid(field, 64, half, level=model.level) > model.level
                wrong.append((ours != dense).mean())
    assert len(wrong) == 18
    assert max(wrong) < 5e-4


def test_fused_adam_is_adam_but_for_rounding(tiny_model):
    torch.manual_seed(0)
    ours, plain = (PIFu(tiny_model, 2.56) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    [fused] = optimizers("adam", ours)
    unfused = torch.optim.Adam(plain.parameters(), fused=False, foreach=False)
    for _ in range(5):
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        fused.step()
        unfused.step()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "muon", "rmsprop"])
def test_optimizers_are_a_choice_and_update_each_parameter_once(tiny_model, name):
    network = PIFu(tiny_model, 2.56)
    updated = [
        parameter
        for optimizer in optimizers(name, network)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(map(id, updated)) == sorted(map(id, network.parameters()))


def test_optimizers_differ_in_what_they_learn(tiny, tiny_model, tmp_path):
    ends = set()
    for name in ("adam", "muon", "rmsprop"):
        train = SHORT.model_copy(update={"optimizer": name})
        fit(run(tiny, tiny_model, train=train), tmp_path / name, tmp_path / "s", CPU, ignore)
        found = losses(tmp_path / name)
        assert all(math.isfinite(loss) for loss in found)
        ends.add(found[-1])
    assert len(ends) == 3


def test_a_loss_that_is_not_finite_stops_with_step_and_advice(
    tiny, tiny_model, tmp_path, monkeypatch
):
    nan = torch.tensor(float("nan"))
    monkeypatch.setattr("tpifu.train.fit.training_step", lambda *_, **options: nan)
    with pytest.raises(DataError, match=r"nan on run0/.* at step 0: lower train\.learning_rate"):
        fit(run(tiny, tiny_model), tmp_path / "m", tmp_path / "s", CPU, ignore)
    assert not (tmp_path / "m").exists()


def test_data_that_cannot_serve_the_run_is_refused_before_anything_is_written(
    tiny, tiny_model, tmp_path
):
    deep = tiny_model.model_copy(update={"hourglass": Hourglass(stacks=1, depth=3, dim=8)})
    for settings, told in [
        (run(tiny, tiny_model, 7), "neighborhood is 7"),
        (run(tiny, deep), "images of 32 px, but model.hourglass.depth 3 needs a multiple of 32"),
        (run(tiny, tiny_model, train=SHORT.model_copy(update={"batch_size": 99})), "batch_size"),
    ]:
        with pytest.raises(ConfigError, match=told):
            fit(settings, tmp_path / "m", tmp_path / "s", CPU, ignore)
    with pytest.raises(DataError, match="no such folder"):
        fit(run(tmp_path, tiny_model), tmp_path / "m", tmp_path / "s", CPU, ignore)
    assert not (tmp_path / "m").exists()


def test_validation_is_what_evaluation_measures(tiny, tiny_model, tmp_path):
    settings = run(tiny, tiny_model)
    fit(settings, tmp_path / "m", tmp_path / "s", CPU, ignore)
    model = load_model(tmp_path / "m", torch.device("cpu"))
    windows = Windows(tiny / "views", tiny / "points", "validation", 3)
    found = validate(model.network, windows, 20, 7, Team())
    settings = Evaluate(points=20, resolution=8, surface_points=10)
    clips = measure(model, tiny / "meshes", windows, "validation", settings, 7)
    rows = [row for clip in clips for row in clip.rows]
    for name in MEASURES:
        assert found[name] == pytest.approx(sum(row[name] for row in rows) / len(rows), abs=1e-6)
    assert model.network.training  # as it is between steps


def test_a_team_shares_what_one_validates(tiny, tiny_model, monkeypatch):
    """Even where it is larger than the number of clips, here one."""
    torch.manual_seed(0)
    network = PIFu(tiny_model, 2.56)
    windows = Windows(tiny / "views", tiny / "points", "validation", 3)
    assert len(windows.clips) == 1
    alone = validate(network, windows, 20, 7, Team())
    told = []
    monkeypatch.setattr(Team, "mean", lambda self, value: told.append(value) or value)
    for rank in (0, 1):
        validate(network, windows, 20, 7, Team(rank, world=2))
    assert [float(sums[-2]) for sums in told] == [3, 3]  # windows of each: a clip of three frames
    iou, mse, count, _ = sum(told)
    assert float(iou / count) == pytest.approx(alone["iou"], abs=1e-6)
    assert float(mse / count) == pytest.approx(alone["mse"], abs=1e-6)


def test_the_weights_that_did_best_on_validation_are_the_model(
    tiny, tiny_model, tmp_path, monkeypatch
):
    verdicts = iter([0.9, 0.1])
    monkeypatch.setattr(
        "tpifu.train.state.validate", lambda *_: {"iou": next(verdicts), "mse": 0.5}
    )
    fit(run(tiny, tiny_model), tmp_path / "best", tmp_path / "s", CPU, ignore)
    assert (tmp_path / "best" / "validation.csv").read_text() == (
        "step,iou,mse\n2,0.9,0.5\n5,0.1,0.5\n"
    )
    half = SHORT.model_copy(update={"steps": 3, "validate_every": 0})
    fit(run(tiny, tiny_model, train=half), tmp_path / "half", tmp_path / "s", CPU, ignore)
    assert "validation.csv" not in outputs(tmp_path / "half")
    best, three = (
        load_model(tmp_path / name, torch.device("cpu")).network.state_dict()
        for name in ("best", "half")
    )
    assert all(torch.equal(best[name], three[name]) for name in best)


def test_a_loss_that_explodes_stops_with_step_and_clips(tiny, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.train.fit.training_step", lambda *_, **options: torch.tensor(1.5))
    with pytest.raises(DataError, match=r"the loss is 1\.5 on run0/.* at step 0: lower"):
        fit(run(tiny, tiny_model), tmp_path / "m", tmp_path / "s", CPU, ignore)


def test_weights_that_are_no_numbers_are_not_saved(tiny, tiny_model, tmp_path, monkeypatch):
    def spoil(network, *_, **options):
        with torch.no_grad():
            next(network.parameters()).fill_(math.nan)
        return torch.tensor(0.3)

    monkeypatch.setattr("tpifu.train.fit.training_step", spoil)
    with pytest.raises(DataError, match="a weight is no number any more at step 2: lower"):
        fit(run(tiny, tiny_model), tmp_path / "m", tmp_path / "s", CPU, ignore)
    assert not list((tmp_path / "s").glob("*/state.pt"))


def test_nor_are_those_of_the_last_update(tiny, tiny_model, tmp_path):
    for validate_every in (0, 3):
        update = {"steps": 1, "learning_rate": 1e39, "validate_every": validate_every}
        settings = run(tiny, tiny_model, train=SHORT.model_copy(update=update))
        with pytest.raises(DataError, match=r"a weight is no number any more at step 1: lower"):
            fit(settings, tmp_path / "m", tmp_path / "s", CPU, ignore)
    assert not (tmp_path / "m").exists()


def test_the_last_good_checkpoint_is_named_and_is_a_start(tiny, tiny_model, tmp_path, monkeypatch):
    settings = run(tiny, tiny_model)
    with monkeypatch.context() as patch:
        patch.setattr("tpifu.train.fit.EXPLODED", math.inf)
        with pytest.raises(Interrupted):
            fit(settings, tmp_path / "m", tmp_path / "s", CPU, stop_at(4))
    monkeypatch.setattr("tpifu.train.fit.EXPLODED", 0.0)
    state = settings.folder(tmp_path / "s") / "state.pt"
    with pytest.raises(DataError, match=f"at step 4: .* good checkpoint is {state}, a model file"):
        fit(settings, tmp_path / "m", tmp_path / "s", CPU, ignore)
    monkeypatch.undo()
    slower = run(tiny, tiny_model, train=SHORT.model_copy(update={"learning_rate": 1e-3}))
    fit(replace(slower, start=state), tmp_path / "on", tmp_path / "s", CPU, ignore)
    fit(slower, tmp_path / "anew", tmp_path / "s", CPU, ignore)
    assert losses(tmp_path / "on")[0] != losses(tmp_path / "anew")[0]


def test_augmentation_reaches_the_training(tiny, tiny_model, tmp_path):
    mirrored = SHORT.model_copy(update={"flip": 1.0})
    fit(run(tiny, tiny_model), tmp_path / "one", tmp_path / "s", CPU, ignore)
    fit(run(tiny, tiny_model, train=mirrored), tmp_path / "two", tmp_path / "s", CPU, ignore)
    assert losses(tmp_path / "one") != losses(tmp_path / "two")


def test_a_model_records_its_light_and_one_sided_light_is_never_mirrored(
    tiny, tiny_model, tmp_path
):
    config = Render(size=32, views=2, light="fixed", occlusion=4)
    camera = {"window": 2.56, "seed": 0, "backend": "embree"}
    write_views(tiny / "meshes", tmp_path / "views", config, **camera, jobs=1)
    settings = replace(run(tiny, tiny_model), views=tmp_path / "views")
    fit(settings, tmp_path / "m", tmp_path / "s", CPU, ignore)
    assert load_model(tmp_path / "m", torch.device("cpu")).lighting == Lighting(
        light="fixed", occlusion=4
    )
    written = YAML(typ="safe").load((tmp_path / "m" / "config.yaml").read_text())
    assert written["render"] == {"light": "fixed", "occlusion": 4}
    mirrored = replace(settings, train=SHORT.model_copy(update={"flip": 0.5}))
    with pytest.raises(ConfigError, match=r"train\.flip is 0\.5, but .* has light fixed"):
        fit(mirrored, tmp_path / "two", tmp_path / "s", CPU, ignore)


def test_bfloat16_trains_alike_and_keeps_its_weights_in_32_bits(tiny, tiny_model, tmp_path):
    machine = replace(CPU, precision="bfloat16")
    slow = run(tiny, tiny_model, train=SHORT.model_copy(update={"learning_rate": 1e-3}))
    fit(slow, tmp_path / "whole", tmp_path / "s", CPU, ignore)
    fit(slow, tmp_path / "half", tmp_path / "s", machine, ignore)
    assert losses(tmp_path / "half") == pytest.approx(losses(tmp_path / "whole"), rel=0.01)
    assert losses(tmp_path / "half") != losses(tmp_path / "whole")
    network = load_model(tmp_path / "half", torch.device("cpu")).network
    assert {value.dtype for value in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(("factor", "chosen"), [(0.5, "bfloat16"), (0.95, "float32")])
def test_the_fastest_precision_is_measured(tiny, tiny_model, monkeypatch, factor, chosen):
    clock = [0.0]

    def timed(network, parts, precision, **options):
        clock[0] += factor if precision == "bfloat16" else 1.0
        return add_gradients(network, parts, precision, **options)

    monkeypatch.setattr("tpifu.train.step.add_gradients", timed)
    monkeypatch.setattr("tpifu.train.fit.time.perf_counter", lambda: clock[0])
    network = PIFu(tiny_model.seeing(1), 2.56)
    windows = Windows(tiny / "views", tiny / "points", "train", 1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert fastest_precision(network, [TrainingSteps(windows, 2, 20, 0)[0]]) == chosen
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())


def test_a_run_that_goes_on_keeps_its_precision_and_says_so(tiny, tiny_model, tmp_path, capfd):
    half = replace(CPU, precision="bfloat16")
    fit(run(tiny, tiny_model), tmp_path / "whole", tmp_path / "s", half, ignore)
    with pytest.raises(Interrupted):
        fit(run(tiny, tiny_model), tmp_path / "out", tmp_path / "s", half, stop_at(4))
    fit(run(tiny, tiny_model), tmp_path / "out", tmp_path / "s", CPU, ignore)
    assert "in bfloat16, with which it began, not in float32\n" in capfd.readouterr().err
    written = YAML(typ="safe").load((tmp_path / "out" / "config.yaml").read_text())
    assert written["precision"] == "bfloat16"
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
