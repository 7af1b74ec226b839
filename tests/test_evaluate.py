import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import trimesh

from tpifu.camera import project
from tpifu.checkpoint import TrainedModel
from tpifu.config import Evaluate
from tpifu.errors import DataError
from tpifu.evaluate import (
    evaluate,
    flat,
    measure,
    open_windows,
    sequence_frames,
    splits_of,
    spread_frames,
    summary,
    write_metrics,
)
from tpifu.field import network_input, window_fields
from tpifu.metrics import point_metrics, volumetric_iou
from tpifu.occupancy import grid_occupancy, grid_points
from tpifu.pifu import PIFu
from tpifu.reconstruct import evaluate_grid
from tpifu.shards import MeshReader

CONFIG = Evaluate(points=60, frames=2, sequence=2, resolution=16)


@pytest.fixture
def model(tiny_model) -> TrainedModel:
    torch.manual_seed(0)
    network = PIFu(tiny_model, 3, 2.56).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)  # spread the values over the threshold
        network.classifier.layers[-1].bias.fill_(0.55)
    return TrainedModel(network, tiny_model, 3, 2.56, 32, 0.5)


class Ball(PIFu):
    """A field that is known: it falls from 1 at the pelvis, 0.6 at 0.5 m."""

    def query(self, features, frames, points, calib):
        return 1 - 0.8 * 1.28 * project(calib, points).norm(dim=-1)


@pytest.fixture
def ball_model(tiny_model) -> TrainedModel:
    return TrainedModel(Ball(tiny_model, 3, 2.56).eval(), tiny_model, 3, 2.56, 32, 0.6)


def test_measures_are_those_of_each_window_alone_averaged_over_views(tiny, model):
    windows = open_windows(model, tiny / "views", tiny / "points", "test")
    rows = measure(model, windows, CONFIG, 7)
    assert [(row["clip"], row["frame"]) for row in rows] == [
        (f"run0/{name}_c0001", t)
        for name, length in (("c_walk", 4), ("d_dance", 2))
        for t in range(length)
    ]
    assert {row["split"] for row in rows} == {"test"}
    for clip, offset in ((0, 0), (1, 4)):
        for t in (0, 1):
            expected = []
            for view in range(2):
                batch = windows.clip_batch(clip, view, CONFIG.points, 7)
                own = batch.frames[t]
                with torch.no_grad():
                    values = model.network(
                        network_input(batch.images[own]),
                        torch.arange(3)[None],
                        batch.points[t : t + 1],
                        batch.calib[t : t + 1],
                    )[-1, 0]
                labels = batch.labels[t].numpy() > 0.5
                expected.append(point_metrics(values.numpy(), labels))
            for name in expected[0]:
                mean = np.mean([one[name] for one in expected])
                assert rows[offset + t][name] == pytest.approx(mean, abs=1e-5), name


def test_the_volumetric_iou_is_that_of_the_uniform_grid_at_the_models_level(tiny, ball_model):
    windows = open_windows(ball_model, tiny / "views", tiny / "points", "test")
    rows = measure(ball_model, windows, CONFIG, 0)
    reader = MeshReader(tiny / "meshes")
    centres = grid_points(12, 1.28)
    ball = (np.linalg.norm(centres, axis=1) < 0.5).reshape(12, 12, 12)
    index = reader.shards.index
    for row in rows:
        (at,) = np.flatnonzero((index["clip"] == row["clip"]) & (index["frame"] == row["frame"]))
        truth = grid_occupancy(reader.read([int(at)])[0].mesh, 12, 1.28)
        assert row["volumetric_iou"] == pytest.approx(volumetric_iou(ball, truth))
        assert 0.2 < row["volumetric_iou"] < 1


def test_the_grid_lies_in_the_world_whatever_the_view(tiny, model):
    windows = open_windows(model, tiny / "views", tiny / "points", "test")
    batch = windows.clip_batch(0, 1, 2, 0)
    with torch.no_grad():
        features = model.network.filter(network_input(batch.images))[-1]
        points = torch.from_numpy(grid_points(8, 1.28)).float()
        direct = model.network.query(features, batch.frames[2:3], points[None], batch.calib[2:3])
    *_, field, _ = window_fields(model.network, batch.images, batch.frames[:4], batch.calib[:4])
    grid = evaluate_grid(field, 8, 1.28)
    np.testing.assert_allclose(grid.ravel(), direct[0].numpy(), atol=1e-5)


def test_a_report_has_every_mesh_and_reconstructs_the_chosen_frames(tiny, ball_model, tmp_path):
    out = tmp_path / "report"
    metrics = evaluate(ball_model, tiny / "views", tiny / "points", out, CONFIG, 0)
    rows = pq.read_table(out / "per_mesh.parquet").to_pylist()
    assert len(rows) == 6 + 3
    assert metrics["meshes"] == 6
    assert metrics["unseen_motion"]["meshes"] == 3
    own = [row["iou"] for row in rows if row["split"] == "test"]
    assert metrics["iou"] == pytest.approx(np.mean(own), abs=1e-6)
    names = {path.name for path in (out / "meshes").iterdir()}
    # Two frames of each split, and two consecutive ones of the test set's middle clip.
    assert names == {
        "run0_c_walk_c0001_f002_v0.glb",
        "run0_d_dance_c0001_f001_v1.glb",
        "run0_d_dance_c0001_f000_v0.glb",
        "run0_d_dance_c0001_f001_v0.glb",
        "run0_e_kick_c0001_f001_v0.glb",
    }
    for name in names:
        mesh = trimesh.load(out / "meshes" / name, force="mesh")
        np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=0.16)


def test_a_model_that_predicts_nothing_is_counted_not_hidden(
    tiny, ball_model, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(Ball, "query", lambda self, f, i, points, c: points[..., 0] * 0)
    metrics = evaluate(ball_model, tiny / "views", tiny / "points", tmp_path / "r", CONFIG, 0)
    assert metrics["iou"] == 0
    assert "4 of 4 test frames: nothing predicted inside" in capfd.readouterr().err


def test_pictured_frames_depend_on_the_data_alone(tiny, model):
    windows = open_windows(model, tiny / "views", tiny / "points", "test")
    frames = spread_frames(windows, "test", 9)  # more than there are clips
    assert [(s.clip[5:6], s.frame, s.view) for s in frames] == [("c", 2, 0), ("d", 1, 1)]
    sequence = sequence_frames(windows, "test", 9)
    assert [(s.clip[5:6], s.frame) for s in sequence] == [("d", 0), ("d", 1)]
    assert frames[0].stem == "run0_c_walk_c0001_f002_v0"


def test_splits_are_those_held_out_or_else_all(tiny, tmp_path):
    assert splits_of(tiny / "points") == ["test", "unseen_motion"]
    (tmp_path / "train-00000.parquet").write_text("")
    assert splits_of(tmp_path) == ["train"]


def test_images_of_another_size_are_refused(tiny, tiny_model):
    model = TrainedModel(PIFu(tiny_model, 3, 2.56), tiny_model, 3, 2.56, 64, 0.5)
    with pytest.raises(DataError, match=r"images of 32 px over 2.56 m, but .* 64 px over 2.56 m"):
        open_windows(model, tiny / "views", tiny / "points", "test")


def test_a_summary_leaves_out_what_was_not_measured(tmp_path):
    rows = [
        {"split": "test", "iou": iou, "mse": 0.0, "precision": 1.0, "recall": 1.0}
        | {"accuracy": 1.0, "volumetric_iou": float("nan")}
        for iou in (0.5, 1.0)
    ]
    found = summary(rows)
    assert found["iou"] == 0.75
    assert found["meshes"] == 2
    assert "volumetric_iou" not in found
    write_metrics(tmp_path / "metrics" / "m.json", {**found, "unseen": {"iou": 0.5}})
    assert json.loads((tmp_path / "metrics" / "m.json").read_text())["unseen"] == {"iou": 0.5}
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["m.json"]
    assert flat({"iou": 0.5, "name": "x", "unseen": {"iou": 0.25}}) == {
        "iou": 0.5,
        "unseen.iou": 0.25,
    }
