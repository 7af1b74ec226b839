import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import trimesh

from tpifu.config import DataRecord, Evaluate
from tpifu.errors import DataError
from tpifu.evaluate.evaluate import evaluate, open_windows
from tpifu.evaluate.measure import MeasuredClip, measure
from tpifu.evaluate.rows import over_views, summary
from tpifu.geometry.camera import calibration, project
from tpifu.geometry.grid import cell_centres
from tpifu.geometry.inside import Inside
from tpifu.geometry.mesh import Mesh
from tpifu.measures.names import MEASURES, SHARES
from tpifu.measures.points import point_metrics, volumetric_iou
from tpifu.measures.surfaces import normal_error
from tpifu.model.folder import TrainedModel
from tpifu.model.pifu import PIFu
from tpifu.render.normals import normal_images
from tpifu.shards.folder import DataFolder
from tpifu.shards.meshes import MeshFrame, MeshReader
from tpifu.shards.reader import splits_of

CONFIG = Evaluate(points=60, frames=2, sequence=2, resolution=16, surface_points=200)


@pytest.fixture
def model(tiny_model) -> TrainedModel:
    torch.manual_seed(0)
    network = PIFu(tiny_model, 2.56).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)  # spread the values over the threshold
        network.classifier.layers[-1].bias.fill_(0.55)
    return TrainedModel(network, tiny_model, 2.56, 32, 0.5, data=DataRecord())


class Ball(PIFu):
    """A known field that falls from 1 at the pelvis to 0.6 at 0.5 m."""

    def query(self, features, frames, points, calib):
        return 1 - 0.8 * 1.28 * project(calib, points).norm(dim=-1)


@pytest.fixture
def ball_model(tiny_model) -> TrainedModel:
    return TrainedModel(Ball(tiny_model, 2.56).eval(), tiny_model, 2.56, 32, 0.6, data=DataRecord())


def change_frames(monkeypatch, change) -> None:
    """Apply `change` to every true mesh that is read."""
    read = MeshReader.read
    monkeypatch.setattr(MeshReader, "read", lambda *args: [change(f) for f in read(*args)])


def measured(model, tiny, split="test", seed=0) -> list[MeasuredClip]:
    windows = open_windows(model, DataFolder(tiny), split)
    found = measure(model, tiny / "meshes", windows, split, CONFIG, seed)
    return list(found)


def test_measures_are_those_of_each_window_alone_in_every_view(tiny, model):
    windows = open_windows(model, DataFolder(tiny), "test")
    rows = [row for clip in measured(model, tiny, seed=7) for row in clip.rows]
    assert [(row["clip"], row["view"], row["frame"]) for row in rows] == [
        (f"run0/{name}_c0001", view, t)
        for name, length in (("c_walk", 4), ("d_dance", 2))
        for view in range(2)
        for t in range(length)
    ]
    assert {(row["split"], row["sequence"]) for row in rows} == {
        ("test", "c_walk"),
        ("test", "d_dance"),
    }
    for clip, first in ((0, 0), (1, 8)):
        length = len(windows.clips[clip][1])
        for view in range(2):
            for t in (0, 1):
                batch = windows.clip_batch(clip, view, CONFIG.points, 7)
                with torch.no_grad():
                    values = model.network(
                        batch.images[batch.frames[t]],
                        torch.arange(3)[None],
                        batch.points[t : t + 1],
                        batch.calib[t : t + 1],
                    )[-1, 0]
                labels = batch.labels[t].numpy() > 0.5
                row = rows[first + view * length + t]
                expected = point_metrics(values.numpy(), labels)
                assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-5)
                shares = [row[name] for name in SHARES]
                assert sum(shares) == pytest.approx(1)
                assert row["accuracy"] == pytest.approx(row["inside_found"] + row["outside_found"])


def test_any_number_of_processes_measures_the_same(tiny, model):
    windows = open_windows(model, DataFolder(tiny), "test")
    arguments = (model, tiny / "meshes", windows, "test", CONFIG, 0)
    one, two = (list(measure(*arguments, jobs=jobs)) for jobs in (1, 2))
    for first, second in zip(one, two, strict=True):
        assert json.dumps(first.rows) == json.dumps(second.rows)  # nan equals nan in JSON


def test_surfaces_grids_and_motion_are_measured_in_one_view_that_alternates(tiny, ball_model):
    first, second = measured(ball_model, tiny)
    for clip, view in ((first, 0), (second, 1)):
        for row in clip.rows:
            assert (row["chamfer_cm"] is not None) == (row["view"] == view)
            assert (row["volumetric_iou"] is not None) == (row["view"] == view)
            steps = row["frame"] if row["view"] == view else 0
            assert (row["flicker"] is not None) == (steps >= 1)
            assert (row["speed_error_cm"] is not None) == (steps >= 1)
            assert (row["acceleration_error_cm"] is not None) == (steps >= 2)
            assert row["iou_arms"] is None  # these meshes have no skeleton


def test_the_volumetric_iou_is_that_of_the_uniform_grid_at_the_models_level(tiny, ball_model):
    reader = MeshReader(tiny / "meshes")
    axes = np.meshgrid(*[cell_centres(12, 1.28)] * 3, indexing="ij")
    ball = np.linalg.norm(axes, axis=0) < 0.5
    for row in over_views([row for clip in measured(ball_model, tiny) for row in clip.rows]):
        at = reader.clip("test", row["clip"])[row["frame"]]
        truth = Inside(reader.read([at])[0].mesh).grid(12, 1.28)
        assert row["volumetric_iou"] == pytest.approx(volumetric_iou(ball, truth))
        assert 0.2 < row["volumetric_iou"] < 1


def test_normal_images_are_drawn_around_the_body(tiny, ball_model):
    reader = MeshReader(tiny / "meshes")
    calibs = np.stack([calibration(yaw, 2.56) for yaw in (0.0, 90.0, 180.0, 270.0)])
    for clip, view in zip(measured(ball_model, tiny), (0, 1), strict=True):
        rows = [row for row in clip.rows if row["view"] == view]
        truth = reader.read(reader.clip("test", rows[0]["clip"]))
        for row, mesh, frame in zip(rows, clip.meshes, truth, strict=True):
            images = [normal_images(each, calibs, 256) for each in (mesh, frame.mesh)]
            assert row["normal_error"] == pytest.approx(normal_error(*images), rel=1e-3)
            assert row["normal_error"] > 0


def test_motion_measures_of_a_static_prediction(tiny, ball_model):
    clip = measured(ball_model, tiny)[0]
    truth = MeshReader(tiny / "meshes")
    frames = truth.read(truth.clip("test", "run0/c_walk_c0001"))
    rows = [row for row in clip.rows if row["view"] == 0]
    # The ball does not change: no flicker, and the volume ratio changes as 1 / the true volume.
    assert [row["flicker"] for row in rows[1:]] == [0, 0, 0]
    volumes = [frame.mesh.volume() for frame in frames]
    for row, (before, after) in zip(rows[1:], pairwise(volumes), strict=True):
        own = clip.meshes[0].volume()
        assert row["volume_jitter"] == pytest.approx(abs(own / after - own / before), abs=1e-6)
        assert row["speed_error_cm"] > 0
    assert {row["components"] for row in rows} == {1}
    assert {row["genus"] for row in rows} == {0}


def test_a_report_has_every_view_and_keeps_the_chosen_frames(tiny, ball_model, tmp_path):
    out = tmp_path / "report"
    metrics = evaluate(ball_model, DataFolder(tiny), CONFIG, 0, out)
    rows = pq.read_table(out / "per_mesh.parquet").to_pylist()
    assert len(rows) == 2 * (6 + 3)
    assert metrics["meshes"] == 6
    assert metrics["unseen_motion"]["meshes"] == 3
    own = [row["iou"] for row in rows if row["split"] == "test"]
    assert metrics["iou"] == pytest.approx(np.mean(own), abs=1e-4)
    distances = [row["chamfer_cm"] for row in rows if row["split"] == "test"]
    assert metrics["chamfer_cm"] == pytest.approx(np.mean([d for d in distances if d]), abs=1e-4)
    names = {path.name for path in (out / "meshes").iterdir()}
    # Two frames of each split, and two consecutive ones of the test set's middle clip.
    assert names == {
        "run0_c_walk_c0001_f002_v0.glb",
        "run0_d_dance_c0001_f001_v1.glb",
        "run0_d_dance_c0001_f000_v1.glb",
        "run0_e_kick_c0001_f001_v0.glb",
    }
    for name in names:
        mesh = trimesh.load(out / "meshes" / name, force="mesh")
        np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=0.16)
    assert metrics == evaluate(ball_model, DataFolder(tiny), CONFIG, 0)  # written or not


def test_a_model_that_predicts_nothing_is_counted_not_hidden(
    tiny, ball_model, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(Ball, "query", lambda self, f, i, points, c: points[..., 0] * 0)
    metrics = evaluate(ball_model, DataFolder(tiny), CONFIG, 0, tmp_path / "r")
    assert metrics["iou"] == 0
    assert metrics["volumetric_iou"] == 0
    assert "chamfer_cm" not in metrics  # there is no surface to measure
    assert "test: the model predicts no surface in 6 of 6 frames" in capfd.readouterr().err


def test_bodies_with_a_skeleton_are_measured_by_part(tiny, ball_model, monkeypatch):
    def with_joints(frame: MeshFrame) -> MeshFrame:
        above = frame.mesh.vertices[:, 1] > 0
        return replace(frame, joints=np.where(above, 15, 7).astype(np.int8))

    change_frames(monkeypatch, with_joints)
    for row in measured(ball_model, tiny)[0].rows:
        assert 0 < row["iou_head"] < 1  # every view has points
        assert row["iou_arms"] is None or np.isnan(row["iou_arms"])
        assert (row["completeness_cm_feet"] is None) == (row["view"] != 0)


def test_frames_whose_faces_differ_are_not_followed(tiny, ball_model, monkeypatch):
    def with_other_faces(frame: MeshFrame) -> MeshFrame:
        faces = frame.mesh.faces[::-1] if frame.frame == 2 else frame.mesh.faces
        return replace(frame, mesh=Mesh(frame.mesh.vertices, faces))

    change_frames(monkeypatch, with_other_faces)
    own = [row for row in measured(ball_model, tiny)[0].rows if row["view"] == 0]
    assert all(np.isnan(row["speed_error_cm"]) for row in own[1:])
    assert all(row["chamfer_cm"] > 0 for row in own)


def test_splits_are_those_held_out_or_else_all(tiny, tmp_path):
    assert splits_of(tiny / "points") == ["test", "unseen_motion"]
    (tmp_path / "train-00000.parquet").write_text("")
    assert splits_of(tmp_path) == ["train"]


def test_images_of_another_size_are_refused(tiny, tiny_model):
    model = TrainedModel(PIFu(tiny_model, 2.56), tiny_model, 2.56, 64, 0.5, data=DataRecord())
    with pytest.raises(DataError, match=r"images of 32 px over 2.56 m, but .* 64 px over 2.56 m"):
        open_windows(model, DataFolder(tiny), "test")


def test_a_summary_averages_views_then_meshes_and_leaves_out_what_was_not_measured():
    def row(frame, view, **values):
        key = {"split": "test", "sequence": "s", "clip": "c", "frame": frame, "view": view}
        return {**key, **dict.fromkeys(MEASURES), **values}

    rows = [row(0, 0, iou=0.5, chamfer_cm=3.0), row(0, 1, iou=0.7), row(1, 0, iou=1.0)]
    found = summary(rows)
    assert found == {"iou": 0.8, "chamfer_cm": 3.0, "meshes": 2}
    by_mesh = over_views(rows)
    assert [row["iou"] for row in by_mesh] == pytest.approx([0.6, 1.0])
    assert np.isnan(by_mesh[1]["chamfer_cm"])
