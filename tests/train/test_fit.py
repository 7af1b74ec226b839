"""Complete training runs: results, settings, errors."""

import itertools
import math
import shutil
from dataclasses import replace

import grimp
import pytest
import torch
from helpers.training import CPU, SHORT, losses, outputs, run, train, windows
from ruamel.yaml import YAML

from tpifu.config import DataRecord, Hourglass, Render, Train
from tpifu.dataset.steps import TrainingSteps
from tpifu.errors import ConfigError, DataError
from tpifu.model.field import window_fields
from tpifu.model.folder import load_model
from tpifu.model.widen import widen
from tpifu.prepare.views import write_views
from tpifu.reconstruct.grid import evaluate_grid
from tpifu.shards.folder import DataFolder
from tpifu.train.run import CODE
from tpifu.train.step import loss_of_stacks


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def test_fit_writes_model_losses_validations_and_settings(tiny, tiny_model, tmp_path):
    logged = []
    out = tmp_path / "model"
    train(run(tiny, tiny_model), out, log=lambda metrics, step: logged.append((step, metrics)))
    assert sorted(outputs(out)) == ["config.yaml", "loss.csv", "model.pt", "validation.csv"]
    steps = [(step, metrics["loss"]) for step, metrics in logged if "loss" in metrics]
    assert [step for step, _ in steps] == list(range(6))
    assert losses(out) == pytest.approx([loss for _, loss in steps], rel=1e-5)
    assert [step for step, metrics in logged if "validation.iou" in metrics] == [2, 5]
    assert {"learning_rate", "frames_per_s", "points_per_s", "waiting_share"} < set(logged[0][1])
    settings = YAML(typ="safe").load((out / "config.yaml").read_text())
    assert settings["train"]["steps"] == 6
    assert settings["model"]["neighborhood"] == 3
    model = load_model(out, CPU.device)
    assert (model.config.neighborhood, model.size, model.window) == (3, 32, 2.56)
    assert model.level == pytest.approx(1 - windows(tiny).inside_share)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_fingerprint_depends_on_settings_and_data(tiny, tiny_model, tmp_path):
    settings = run(tiny, tiny_model)
    shutil.copytree(tiny / "views", tmp_path / "views")
    shutil.copytree(tiny / "points", tmp_path / "points")
    copied = replace(settings, data=DataFolder(tmp_path))
    assert settings.fingerprint == copied.fingerprint
    assert len(settings.fingerprint) == 12
    next((tmp_path / "points").iterdir()).unlink()
    others = [
        replace(settings, seed=1),
        run(tiny, tiny_model, steps=7),
        replace(copied, seed=0),  # its fingerprint is not cached
    ]
    assert len({settings.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize(
    "changes",
    [{"flip": 1.0}, {"optimizer": "muon"}, {"optimizer": "rmsprop"}],
)
def test_settings_of_training_change_the_losses(tiny, tiny_model, tmp_path, changes):
    train(run(tiny, tiny_model), tmp_path / "one")
    train(run(tiny, tiny_model, **changes), tmp_path / "two")
    assert all(math.isfinite(loss) for loss in losses(tmp_path / "two"))
    assert losses(tmp_path / "one")[-1] != losses(tmp_path / "two")[-1]


def test_a_batch_in_parts_gives_the_same_losses_within_rounding(tiny, tiny_model, tmp_path):
    settings = run(tiny, tiny_model, batch_size=4)
    train(settings, tmp_path / "whole")
    train(settings, tmp_path / "parts", replace(CPU, parts=2))
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


def test_equal_runs_have_equal_bytes_and_another_seed_does_not(tiny, tiny_model, tmp_path):
    train(run(tiny, tiny_model), tmp_path / "thread")
    train(run(tiny, tiny_model), tmp_path / "processes", replace(CPU, readers=2))
    assert outputs(tmp_path / "thread") == outputs(tmp_path / "processes")
    train(run(tiny, tiny_model, seed=1), tmp_path / "other")
    assert losses(tmp_path / "thread") != losses(tmp_path / "other")


def test_bfloat16_has_similar_losses_and_float32_weights(tiny, tiny_model, tmp_path):
    settings = run(tiny, tiny_model, learning_rate=1e-3)
    train(settings, tmp_path / "float32")
    train(settings, tmp_path / "bfloat16", replace(CPU, precision="bfloat16"))
    full, half = (losses(tmp_path / name) for name in ("float32", "bfloat16"))
    assert half == pytest.approx(full, rel=0.01)
    assert half != full
    network = load_model(tmp_path / "bfloat16", CPU.device).network
    assert {value.dtype for value in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("neighborhood", [1, 3])
def test_a_run_can_start_with_the_weights_of_a_model(tiny, tiny_model, tmp_path, neighborhood):
    start = tmp_path / "first"
    train(run(tiny, tiny_model, 1), start)
    train(replace(run(tiny, tiny_model, neighborhood), start=start), tmp_path / "second")
    model = load_model(start, CPU.device)
    network = widen(model, 3).network if neighborhood == 3 else model.network
    own = windows(tiny, neighborhood=neighborhood)
    batch = TrainingSteps(own, SHORT, seed=0)[0]
    with torch.no_grad():
        occupancies = network.train()(batch.images, batch.frames, batch.points, batch.calib)
    expected = float(loss_of_stacks(occupancies, batch.labels))
    assert losses(tmp_path / "second")[0] == pytest.approx(expected, rel=1e-4)


def test_a_run_cannot_start_with_a_model_of_another_network(tiny, tiny_model, tmp_path):
    start = tmp_path / "three"
    train(run(tiny, tiny_model), start)
    sigmoid = tiny_model.model_copy(update={"last_activation": "sigmoid"})
    for settings, message in [
        (run(tiny, sigmoid), "its last_activation is tanh, but this run has sigmoid"),
        (run(tiny, tiny_model, 1), "its neighborhood is 3, but this run has 1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            train(replace(settings, start=start), tmp_path / "m")


@pytest.fixture(scope="module", params=[1, 3])
def learned(request, tiny, tiny_model, tmp_path_factory):
    """The folder of a model after 150 steps."""
    folder = tmp_path_factory.mktemp("learned")
    config = Train(batch_size=4, points=200, steps=150, learning_rate=1e-2, schedule="cosine")
    train(run(tiny, tiny_model, request.param, config), folder / "m")
    return folder / "m"


def test_the_loss_falls_below_that_of_a_constant(learned):
    found = losses(learned)
    assert sum(found[:5]) / 5 > 0.24  # the constant 1/2 has .25
    assert sum(found[-20:]) / 20 < 0.16


def test_refined_grids_of_a_trained_model_equal_dense_ones(tiny, learned):
    model = load_model(learned, CPU.device)
    half, wrong = model.window / 2, []
    for split in ("test", "unseen_motion"):
        own = windows(tiny, split, model.config.neighborhood)
        for clip, view in itertools.product(range(len(own.clips)), range(2)):
            batch = own.clip_batch(clip, view, 2, 0)
            for field in window_fields(model.network, batch.images, batch.frames, batch.calib):
                dense = evaluate_grid(field, 64, half, start=64) > model.level
                assert dense.any()
                refined = evaluate_grid(field, 64, half, level=model.level) > model.level
                wrong.append((refined != dense).mean())
    assert len(wrong) == 18
    assert max(wrong) < 5e-4


def test_the_model_records_the_light_and_asymmetric_light_is_never_mirrored(
    tiny, tiny_model, tmp_path
):
    data = DataFolder(tmp_path / "data")
    config = Render(size=32, views=2, light="fixed", occlusion=4)
    camera = {"window": 2.56, "seed": 0, "backend": "embree"}
    write_views(tiny / "meshes", data.views, config, **camera, jobs=1)
    shutil.copytree(tiny / "points", data.points)
    settings = run(data.path, tiny_model)
    train(settings, tmp_path / "m")
    record = DataRecord(light="fixed", occlusion=4, source="test")
    assert load_model(tmp_path / "m", CPU.device).data == record
    written = YAML(typ="safe").load((tmp_path / "m" / "config.yaml").read_text())
    assert written["data"] == record.model_dump(exclude_none=True)
    with pytest.raises(ConfigError, match=r"train\.flip is 0\.5, but .* has light fixed"):
        train(run(data.path, tiny_model, flip=0.5), tmp_path / "two")


def test_unsuitable_data_is_rejected_before_anything_is_written(tiny, tiny_model, tmp_path):
    deep = tiny_model.model_copy(update={"hourglass": Hourglass(stacks=1, depth=3, dim=8)})
    message = "images of 32 px, but model.hourglass.depth 3 needs a multiple of 32"
    with pytest.raises(ConfigError, match=message):
        train(run(tiny, deep), tmp_path / "m")
    with pytest.raises(DataError, match="no such folder"):
        train(run(tmp_path, tiny_model), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("readers", [0, 2])
def test_damaged_data_is_one_line(tiny, tiny_model, tmp_path, readers):
    data = DataFolder(tmp_path / "data")
    shutil.copytree(tiny / "views", data.views)
    shutil.copytree(tiny / "points", data.points)
    path = min(data.views.glob("train-*.parquet"))
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 4, len(content) // 2):
        content[place] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        train(run(data.path, tiny_model), tmp_path / "m", replace(CPU, readers=readers))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("loss", "shown"), [(math.nan, "nan"), (1.5, r"1\.5")])
def test_a_loss_above_1_or_nan_names_step_clips_and_advice(
    tiny, tiny_model, tmp_path, monkeypatch, loss, shown
):
    monkeypatch.setattr("tpifu.train.trainer.training_step", lambda *_: torch.tensor(loss))
    message = rf"the loss is {shown} on run0/.* at step 0: lower train\.learning_rate"
    with pytest.raises(DataError, match=message):
        train(run(tiny, tiny_model), tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("validate_every", [0, 3])
def test_weights_that_are_not_finite_are_never_saved(tiny, tiny_model, tmp_path, validate_every):
    settings = run(tiny, tiny_model, steps=1, learning_rate=1e39, validate_every=validate_every)
    with pytest.raises(DataError, match="a weight became NaN or infinite at step 1: lower"):
        train(settings, tmp_path / "m")
    settings = run(
        tiny, tiny_model, checkpoint_every=1, learning_rate=1e39, validate_every=validate_every
    )
    with pytest.raises(DataError, match="a weight became NaN or infinite at step 1: lower"):
        train(settings, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert not list(tmp_path.glob("scratch/*/state.pt"))


def test_the_code_of_a_run_is_the_code_that_training_imports():
    graph = grimp.build_graph("tpifu")
    used = {"tpifu.train.fit"} | graph.find_upstream_modules("tpifu.train.fit")
    # The fingerprint contains parameter values. The other modules do not change results.
    used -= {"tpifu", "tpifu.config", "tpifu.errors", "tpifu.files", "tpifu.shards.folder"}
    named = [f"tpifu.{path.removesuffix('.py').replace('/', '.')}" for path in CODE]
    for module in used:
        assert any(module == name or module.startswith(f"{name}.") for name in named), module
    for name in named:
        assert any(module == name or module.startswith(f"{name}.") for module in used), name
