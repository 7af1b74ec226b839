"""`tpifu models`, and released/NAME where a command takes a model."""

import hashlib
import json

import trimesh
from helpers.clip import RECONSTRUCT, RENDER
from helpers.command import done, refused, settings
from ruamel.yaml import YAML

from tpifu.cli.released import RELEASED, find_model, read_card

NAMES = ("baseline", "temporal")


def test_the_files_are_those_of_the_card():
    card = read_card()
    assert tuple(card["models"]) == NAMES
    assert sorted(path.name for path in RELEASED.glob("*/model.pt")) == ["model.pt"] * 2
    for name, own in card["models"].items():
        weights = (RELEASED / name / "model.pt").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == own["sha256"]
        assert len(weights) == own["bytes"] < 3e6
        settings = YAML(typ="safe").load(RELEASED / name / "config.yaml")
        assert settings["train"]["steps"] == own["steps"]
        assert settings["data"]["source"] == "synthetic"


def test_models_prints_the_card():
    card = json.loads(done("models", "--json").stdout)
    assert card == read_card()
    text = " ".join(done("models").stdout.split())
    for name in NAMES:
        assert f"released/{name}" in text
        for means in card["test_sets"].values():
            assert f"{means[name]['iou']:.3f}" in text
    assert "CC BY-NC 4.0" in text


def test_a_released_model_reconstructs_and_is_trained_further(bodies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*RENDER, *settings("render.size=128")]
    done("render", *bodies, "-o", "shards", "--png", "--split", "train", *options)
    out = tmp_path / "body.ply"
    done("reconstruct", "released/temporal", "shards/png/v0", "-o", out, *RECONSTRUCT)
    assert trimesh.load_mesh(out).volume > 0.01
    command = ["train", "shards", "-o", "more", "--start", "released/baseline", "--device", "cpu"]
    done(*command, *settings("train.steps=1", "train.batch_size=2", "train.points=50"))
    assert (tmp_path / "more" / "model.pt").exists()


def test_an_unknown_name_is_refused_with_the_known_ones(untouched):
    line = refused("reconstruct", "released/other", "pictures", "-o", untouched)
    assert line == (
        "error: released/other: no such released model; there are released/baseline, "
        "released/temporal"
    )


def test_a_local_model_of_the_same_name_is_used_with_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert find_model("released/temporal") == RELEASED / "temporal"
    (tmp_path / "released" / "temporal").mkdir(parents=True)
    assert find_model("released/temporal").resolve() == tmp_path / "released" / "temporal"
    assert "using this local model" in capsys.readouterr().err
