import json
import pickle
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.clip import EVALUATE, FRAMES, RECONSTRUCT, RENDER, VIEWS
from helpers.command import Payload, done, refused, settings


def test_eval_agrees_with_the_files_it_writes(trip):
    assert trip.metrics == json.loads((trip.report / "metrics.json").read_text())
    (split,) = trip.metrics  # the data has no other split
    assert split == "train"
    rows = pq.read_table(trip.report / "per_mesh.parquet").to_pylist()
    assert trip.metrics["train"]["meshes"] == FRAMES
    assert len(rows) == FRAMES * VIEWS
    mean = np.mean([row["iou"] for row in rows])
    assert trip.metrics["train"]["iou"] == pytest.approx(mean, abs=1e-4)
    assert trip.metrics["train"]["chamfer_cm"] > 0


def test_eval_table_shows_the_numbers_of_the_json(trip):
    table = done("eval", trip.model, trip.shards, *EVALUATE, *settings("seed=3")).stdout
    rows = [re.findall(r"[\w.-]+", line) for line in table.splitlines()]
    shown = dict(row for row in rows if len(row) == 2)
    assert shown["meshes"] == str(FRAMES)
    for name in ("iou", "mse", "recall", "chamfer_cm", "volume_jitter"):
        assert shown[name] == f"{trip.metrics['train'][name]:.4f}"


def test_eval_needs_the_camera_of_the_model(trip, bodies, tmp_path):
    done("render", *bodies, "-o", tmp_path / "wide", *RENDER, *settings("camera.window=3"))
    line = refused("eval", trip.model, tmp_path / "wide", *EVALUATE)
    assert "32 px over 3.0 m" in line
    assert "32 px over 2.56 m" in line


def test_different_light_is_a_warning(trip, bodies, tmp_path):
    lit = settings("render.light=environment", "render.occlusion=8")
    done("render", *bodies, "-o", tmp_path / "lit", *RENDER, *lit)
    warning = "light environment (trained on camera), occlusion yes (trained on no): the model may"
    assert done("eval", trip.model, tmp_path / "lit", *EVALUATE).stderr.count(warning) == 1
    assert warning not in done("eval", trip.model, trip.shards, *EVALUATE).stderr
    command = ["reconstruct", trip.model, tmp_path / "lit", "-o", tmp_path / "one.obj"]
    assert done(*command, *RECONSTRUCT).stderr.count(warning) == 1


def test_eval_draws_no_more_points_than_are_stored(trip, untouched):
    line = refused("eval", trip.model, trip.shards, "-o", untouched)
    assert line == (
        f"error: evaluate.points is 5000, but {trip.shards}/points holds 200 points per mesh: "
        "set evaluate.points to at most 200"
    )
    done("eval", trip.model, trip.shards, *EVALUATE, *settings("evaluate.points=200"))


def test_missing_shards(trip, untouched, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    (empty / "points").mkdir()
    (empty / "views").mkdir()
    for folder, words in ((empty, "no *.parquet"), (empty / "nowhere", "no such folder")):
        assert words in refused("train", folder, "-o", untouched)
        assert words in refused("eval", trip.model, folder, "-o", untouched)


@pytest.mark.parametrize("command", ["eval", "reconstruct"])
def test_foreign_model_files_are_rejected_and_not_executed(command, trip, tmp_path):
    rest = {
        "eval": [trip.shards, *EVALUATE],
        "reconstruct": [trip.images[0], "-o", tmp_path / "mesh.glb"],
    }[command]
    proof = tmp_path / "executed"
    model = tmp_path / "model.pt"
    assert "no such model file" in refused(command, model, *rest)
    for content in (bytes(range(256)), b"", pickle.dumps(Payload(proof), 2)):
        model.write_bytes(content)
        assert "not a model file" in refused(command, model, *rest)
    assert list(tmp_path.iterdir()) == [model]
    pickle.loads(pickle.dumps(Payload(proof)))
    assert proof.exists()  # the payload works in an unrestricted reader
