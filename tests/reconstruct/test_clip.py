import json
import shutil
import struct
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from tpifu.config import DataRecord
from tpifu.errors import DataError
from tpifu.geometry.camera import project
from tpifu.geometry.mesh_files import read_mesh, save_mesh
from tpifu.model.folder import TrainedModel
from tpifu.model.pifu import PIFu, network_input
from tpifu.pictures.gltf import write_animation
from tpifu.pictures.movies import write_pictures
from tpifu.pictures.webp import write_webp
from tpifu.reconstruct.folder import Settings, reconstruct_clip, reconstruct_frame
from tpifu.reconstruct.inputs import InputFrames, read_shards

SETTINGS = Settings(resolution=16, level=0.6)
WALK = "run0/c_walk_c0001"


class Ball(PIFu):
    """A ball whose size follows from the centre frame's brightness; nothing in a dark frame."""

    def filter(self, passes):
        light = network_input(passes.flatten(0, 1)).amax(dim=(1, 2, 3), keepdim=True)
        return [light.expand(-1, 1, 4, 4)]

    def query(self, features, frames, points, calib):
        light = features[frames[0, frames.shape[1] // 2], 0, 0, 0]
        return light * (1 - 0.8 * 1.28 * project(calib, points).norm(dim=-1))


@pytest.fixture
def model(tiny_model) -> TrainedModel:
    return TrainedModel(Ball(tiny_model, 2.56).eval(), tiny_model, 2.56, 32, 0.6, data=DataRecord())


def clip_of(lights: list[int]) -> InputFrames:
    """A frame for each brightness, 0 to 255."""
    images = np.zeros((len(lights), 32, 32, 2), np.uint8)
    images[:, 8:24, 8:24, 1] = 255
    images[:, 8:24, 8:24, 0] = np.array(lights)[:, None, None]
    return InputFrames([f"f{n}" for n in range(len(lights))], images.__getitem__, 0.0)


LIGHT = clip_of([250, 240, 230, 250, 255, 245, 235, 250, 240, 255])


def test_every_frame_has_the_mesh_that_it_has_alone(model, tmp_path):
    paths, empty = reconstruct_clip(model, LIGHT, tmp_path, SETTINGS)
    assert empty == []
    assert [path.name for path in paths] == [f"f{n}.glb" for n in range(10)]
    for frame, path in enumerate(paths):
        alone = reconstruct_frame(model, LIGHT, frame, SETTINGS)
        found = read_mesh(path)
        np.testing.assert_array_equal(found.vertices, alone.vertices)
        np.testing.assert_array_equal(found.faces, alone.faces)
    assert len({path.stat().st_size for path in paths}) > 1  # not all meshes are the same ball


def test_a_window_takes_frames_a_stride_apart(model, tiny_model):
    class Last(Ball):
        def query(self, features, frames, points, calib):
            return super().query(features, frames[:, -1:], points, calib)

    config = tiny_model.with_window(3, stride=2)
    striding = replace(model, network=Last(config, 2.56).eval(), config=config)
    found = reconstruct_frame(striding, clip_of([250, 255, 230, 255, 255]), 0, SETTINGS)
    expected = reconstruct_frame(model, clip_of([230]), 0, SETTINGS)
    np.testing.assert_array_equal(found.vertices, expected.vertices)


def test_an_interrupted_clip_resumes_with_the_same_result(model, tmp_path, monkeypatch):
    whole, _ = reconstruct_clip(model, LIGHT, tmp_path / "whole", SETTINGS)
    save, saved = save_mesh, []

    def interrupted(mesh, path):
        if len(saved) == 9:
            raise KeyboardInterrupt
        saved.append(path)
        save(mesh, path)

    monkeypatch.setattr("tpifu.reconstruct.folder.save_mesh", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_clip(model, LIGHT, tmp_path / "again", SETTINGS)
    # The state after a kill at the last moment.
    (tmp_path / "again" / "meshes" / "f8.glb.part").write_bytes(b"half a mesh")
    saved.pop().unlink()
    before = [path.stat().st_mtime_ns for path in saved]
    saved.clear()
    again, _ = reconstruct_clip(model, LIGHT, tmp_path / "again", SETTINGS)
    assert [path.name for path in saved] == ["f8.glb", "f9.glb"]
    assert [path.stat().st_mtime_ns for path in again[:8]] == before
    for one, other in zip(whole, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    saved.clear()
    reconstruct_clip(model, LIGHT, tmp_path / "again", SETTINGS)
    assert saved == []  # nothing is left to do


def test_frames_without_a_body_are_named(model, tmp_path):
    dim = clip_of([250, 5, 250])
    for _ in range(2):
        paths, (why,) = reconstruct_clip(model, dim, tmp_path, SETTINGS)
        assert [path is None for path in paths] == [False, True, False]
        assert why.startswith("f1: the network predicts nothing inside")


def test_images_are_not_kept(model, tmp_path):
    long, alive = clip_of([250] * 30), []

    def read(frame):
        image = long.read(frame).copy()
        alive[:] = [known for known in alive if known() is not None] + [weakref.ref(image)]
        assert len(alive) <= 8
        return image

    clip = replace(long, read=read)
    paths, _ = reconstruct_clip(model, clip, tmp_path, SETTINGS)
    write_pictures(clip, paths, tmp_path, 2.56, fps=4.0)


def test_a_run_without_meshes_does_not_block_the_next(model, tmp_path):
    dark = clip_of([5, 5])
    paths, why = reconstruct_clip(model, dark, tmp_path, SETTINGS)
    assert (paths, len(why)) == ([None, None], 2)
    paths, why = reconstruct_clip(model, LIGHT, tmp_path, SETTINGS)
    assert (None in paths, why) == (False, [])


@pytest.mark.parametrize(
    "change",
    [
        {"settings": replace(SETTINGS, resolution=20)},
        {"settings": replace(SETTINGS, suffix=".obj")},
        {"clip": clip_of([250] * 10)},
        {"clip": replace(LIGHT, names=[f"g{n}" for n in range(10)])},
        {"clip": replace(LIGHT, yaw=90.0)},
    ],
)
def test_meshes_of_different_runs_are_never_mixed(model, tmp_path, change):
    reconstruct_clip(model, LIGHT, tmp_path, SETTINGS)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="holds meshes of another model, other settings or other"):
        reconstruct_clip(model, out=tmp_path, **{"clip": LIGHT, "settings": SETTINGS, **change})
    assert sorted(tmp_path.rglob("*")) == before


def test_another_model_is_another_run(model, tmp_path):
    reconstruct_clip(model, LIGHT, tmp_path, SETTINGS)
    deeper = model.config.model_copy(update={"z_normalization": 0.5})  # same weights
    with pytest.raises(DataError, match="holds meshes of another model"):
        reconstruct_clip(replace(model, config=deeper), LIGHT, tmp_path, SETTINGS)
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    with pytest.raises(DataError, match="holds meshes of another model"):
        reconstruct_clip(model, LIGHT, tmp_path, SETTINGS)


@pytest.mark.parametrize("content", [None, '{"mod', "[1]"])
def test_meshes_of_unknown_origin_are_left_alone(model, tmp_path, content):
    reconstruct_clip(model, LIGHT, tmp_path, SETTINGS)
    (tmp_path / "reconstruct.json").unlink()
    if content:
        (tmp_path / "reconstruct.json").write_text(content)
    with pytest.raises(DataError, match="holds meshes of another model"):
        reconstruct_clip(model, LIGHT, tmp_path, SETTINGS)


def test_the_animations_show_inputs_and_meshes(model, tmp_path):
    dim = clip_of([250, 5, 240, 250])
    paths, _ = reconstruct_clip(model, dim, tmp_path, SETTINGS)
    write_pictures(dim, paths, tmp_path, 2.56, fps=4.0)
    with Image.open(tmp_path / "turntable.webp") as turntable:
        assert (turntable.n_frames, turntable.size) == (36, (256, 256))
        assert 0.05 < (np.array(turntable.convert("L")) < 240).mean() < 0.2  # a ball of 0.5 m
    with Image.open(tmp_path / "side_by_side.webp") as sheet:
        assert (sheet.n_frames, sheet.size) == (4, (4 * 256, 256 + 40))
        shares = []
        for frame in range(4):
            sheet.seek(frame)
            pixels = np.array(sheet.convert("L"))[40:]
            shares.append([(pixels[:, 256 * n : 256 * n + 256] < 240).mean() for n in range(4)])
        assert sheet.info["duration"] == 250
    shares = np.array(shares)
    assert (shares[:, 0] > 0.2).all()  # every frame shows the input
    assert (shares[1, 1:] < 0.01).all()  # no mesh
    assert (shares[[0, 2, 3], 1:] > 0.05).all()
    document, array = read_animation(tmp_path / "clip.glb")
    assert [node["name"][-1] for node in document["nodes"]] == ["0", "2", "3"]
    ends = [array(sampler["input"])[-1, 0] for sampler in document["animations"][0]["samplers"]]
    assert ends == [1.0] * 3  # second, of the four frames


@pytest.mark.parametrize("count", [1, 2, 9])
def test_an_animation_is_written_with_few_frames_in_memory(tmp_path, count):
    drawn = []

    def frames():
        for n in range(count):
            frame = Image.new("RGB", (32, 32), (20 * n, 0, 0))
            drawn.append(weakref.ref(frame))
            yield frame
            del frame
            assert sum(frame() is not None for frame in drawn) <= 2  # the first and the last

    write_webp(frames(), count, tmp_path / "film.webp", 100)
    with Image.open(tmp_path / "film.webp") as film:
        assert film.n_frames == count
        for n in range(count):
            film.seek(n)
            assert film.getpixel((16, 16))[0] == pytest.approx(20 * n, abs=4)
    assert [path.name for path in tmp_path.iterdir()] == ["film.webp"]


def read_animation(path):
    """The document of a .glb, and a reader of its accessors by number that checks each."""
    data = path.read_bytes()
    magic, version, length, size, kind = struct.unpack("<IIIII", data[:20])
    assert (magic, version, length, kind) == (0x46546C67, 2, len(data), 0x4E4F534A)
    document = json.loads(data[20 : 20 + size])
    binary = data[28 + size :]
    assert struct.unpack("<II", data[20 + size : 28 + size]) == (len(binary), 0x004E4942)
    assert [buffer["byteLength"] for buffer in document["buffers"]] == [len(binary)]

    def array(number):
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
        kind = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
        found = np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"])
        found = found.reshape(accessor["count"], width)
        assert found.nbytes == view["byteLength"]
        np.testing.assert_array_equal(found.min(axis=0), np.float32(accessor["min"]))
        np.testing.assert_array_equal(found.max(axis=0), np.float32(accessor["max"]))
        return found

    return document, array


@pytest.mark.parametrize("empty", [[], [0], [1], [2], [0, 1], [1, 2], [0, 2]])
def test_the_animation_shows_each_frame_in_its_time(tmp_path, ball, empty):
    meshes = [None if n in empty else ball(0.2 + 0.1 * n) for n in range(3)]
    shown = [n for n in range(3) if n not in empty]
    path = tmp_path / "clip.glb"
    write_animation(meshes, path, fps=5.0)
    document, array = read_animation(path)
    assert [node["name"] for node in document["nodes"]] == [f"frame_{n:04d}" for n in shown]
    # Without animation, a viewer shows only the first mesh.
    assert [node["scale"][0] for node in document["nodes"]] == [1.0, 0.0, 0.0][: len(shown)]
    (animation,) = document["animations"]
    visible = np.zeros((len(shown), 15))
    moments = (np.arange(15) + 0.5) / 25  # three frames of a fifth of a second
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        assert (sampler["interpolation"], channel["target"]["path"]) == ("STEP", "scale")
        times, scales = array(sampler["input"])[:, 0], array(sampler["output"])
        assert (np.diff(times) > 0).all()
        assert times[-1] == np.float32(0.6)  # empty frames count
        at = np.searchsorted(times, moments, side="right") - 1
        visible[channel["target"]["node"]] = scales[np.maximum(at, 0), 1]
        last = scales[-1, 0]
    np.testing.assert_array_equal(visible, np.repeat(np.eye(3)[shown], 5, axis=1))
    assert last == (2 in shown)  # it ends with what its last frame shows
    for frame, stored in zip(shown, document["meshes"], strict=True):
        (primitive,) = stored["primitives"]
        mesh = meshes[frame]
        np.testing.assert_array_equal(array(primitive["attributes"]["POSITION"]), mesh.vertices)
        np.testing.assert_array_equal(array(primitive["indices"]).reshape(-1, 3), mesh.faces)
        normals = array(primitive["attributes"]["NORMAL"])
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    loaded = trimesh.load(path)
    assert len(loaded.geometry) == len(shown)


def test_the_animation_holds_one_mesh_at_a_time(tmp_path, ball):
    written = []

    def meshes():
        for n in range(5):
            mesh = ball(0.2 + 0.1 * n)
            written.append(weakref.ref(mesh))
            yield mesh
            del mesh
            assert sum(mesh() is not None for mesh in written) <= 1

    write_animation(meshes(), tmp_path / "clip.glb", fps=5.0)
    assert len(written) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["clip.glb"]


def test_an_animation_that_is_too_large_leaves_what_was_there(tmp_path, ball, monkeypatch):
    path = tmp_path / "clip.glb"
    write_animation([ball(0.2), ball(0.3)], path, fps=5.0)
    before = path.read_bytes()
    monkeypatch.setattr("tpifu.pictures.gltf.LARGEST", len(before))
    write_animation([ball(0.2), ball(0.3)], path, fps=5.0)  # just fits
    monkeypatch.setattr("tpifu.pictures.gltf.LARGEST", len(before) - 1)
    with pytest.raises(DataError, match=r"clip.glb: would be larger than .* lower evaluate.resol"):
        write_animation([ball(0.3), ball(0.2)], path, fps=5.0)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["clip.glb"]


def test_shards_give_a_clip_in_one_view_and_their_camera(tiny):
    found = read_shards(tiny, WALK, 1, 32, 2.56)
    assert found.yaw == 180
    assert list(found.names) == [f"frame_{n:04d}" for n in range(4)]
    assert found[range(4)].shape == (4, 32, 32, 2)
    other = read_shards(tiny / "views", WALK, 0, 32, 2.56)
    assert (other[range(4)] != found[range(4)]).any()


def test_held_out_clips_come_first(tiny, tmp_path):
    views = shutil.copytree(tiny / "views", tmp_path / "views")
    taken = []
    for split in ("test", "unseen_motion", "validation", "train"):
        taken.append(read_shards(tmp_path, None, 0, 32, 2.56).title)
        (views / f"{split}-00000.parquet").unlink()
    assert taken == [
        "clip run0/c_walk_c0001 (test), view 0",
        "clip run0/e_kick_c0001 (unseen_motion), view 0",
        "clip run0/f_squat_c0001 (validation), view 0",
        "clip run0/a_walk_c0001 (train), view 0",
    ]


def test_missing_clips_and_views_are_named(tiny):
    told = r"has no clip 'x'; it has run0/c_walk_c0001, run0/d_dance_c0001, run0/e_kick_c0001 and 3"
    with pytest.raises(DataError, match=told):  # those of test and unseen_motion
        read_shards(tiny, "x", 0, 32, 2.56)
    with pytest.raises(DataError, match=r"has no view 7; its views are 0 to 1"):
        read_shards(tiny, WALK, 7, 32, 2.56)
    with pytest.raises(DataError, match=r"32 px over 2.56 m, but .* 64 px over 2.56 m"):
        read_shards(tiny, WALK, 0, 64, 2.56)
    with pytest.raises(DataError, match="no such folder"):
        read_shards(tiny / "nowhere", None, 0, 32, 2.56)
