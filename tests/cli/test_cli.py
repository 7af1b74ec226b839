import inspect
import json
import pickle
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import trimesh
from helpers.command import Payload, done, refused, tpifu
from PIL import Image
from ruamel.yaml import YAML

from tpifu.cli.app import app
from tpifu.cli.render import FOLDERS
from tpifu.config import Params
from tpifu.shards.coding import decode_png
from tpifu.shards.reader import Shards

FRAMES, VIEWS, SIZE = 5, 2, 32

TINY = """
profile: tiny
model:
  mlp: [16, 8]
  z_normalization: 0.3
train: {batch_size: 4}
profiles:
  tiny:
    model: {hourglass: {stacks: 1, depth: 1, dim: 8}}
    train: {steps: 40, points: 64, learning_rate: 0.01}
"""
RENDER = ["--size", SIZE, "--views", VIEWS, "--near-surface", 150, "--uniform", 50, "--grid", 8]
RENDER += ["--backend", "embree", "--jobs", 1]
TINY_NETWORK = ["--stacks", 1, "--dim", 8, "--steps", 3, "--points", 16, "--device", "cpu"]


def shown(*arguments) -> str:
    """What an unusable option prints, without the box and its line breaks."""
    result = tpifu(*arguments)
    assert result.exit_code == 2
    return re.sub(r"[\s│]+", " ", result.stderr)


def body(t: float) -> trimesh.Trimesh:
    """A capsule 1.4 m high that leans by `t` radians, with a head that tells up and front."""
    capsule = trimesh.creation.capsule(height=0.9, radius=0.25, count=[12, 12])
    capsule.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))
    head = trimesh.creation.icosphere(subdivisions=1, radius=0.2)
    head.apply_translation([0.05, 0.75, 0.15])
    both = trimesh.util.concatenate([capsule, head])
    both.apply_transform(trimesh.transformations.rotation_matrix(t, [0, 0, 1]))
    return both


@pytest.fixture(scope="session")
def bodies(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bodies")
    paths = [folder / f"pose{n}.{'obj' if n % 2 else 'ply'}" for n in range(FRAMES)]
    for n, path in enumerate(paths):
        body(0.1 * n).export(path)
    return paths


@pytest.fixture(scope="session")
def trip(bodies, tmp_path_factory):
    """render, train, eval and reconstruct, each from what the one before wrote."""
    root = tmp_path_factory.mktemp("trip")
    shards, model, report = root / "fall", root / "models" / "tiny", root / "report"
    (root / "tiny.yaml").write_text(TINY)
    done("render", *bodies, "-o", shards, "--split", "train", "--png", *RENDER)
    trained = done("train", shards, "-o", model, "--params", root / "tiny.yaml", "--device", "cpu")
    options = ["--points", 100, "--seed", 3, "--device", "cpu"]
    pictured = ["--resolution", 16, "--frames", FRAMES]
    evaluated = done("eval", model, shards, "-o", report, "--json", *options, *pictured)
    images = sorted((shards / "png" / "v0").iterdir())
    options = ["--resolution", 16, "--device", "cpu"]
    done("reconstruct", model, *images, "-o", root / "all", *options)
    done("reconstruct", model / "model.pt", *images, "-o", root / "one.obj", *options)
    return SimpleNamespace(
        root=root,
        shards=shards,
        model=model,
        report=report,
        images=images,
        trained=trained.stdout,
        metrics=json.loads(evaluated.stdout),
    )


def test_render_writes_one_clip_of_all_meshes_in_order(trip, bodies):
    assert sorted(path.name for path in trip.shards.iterdir()) == sorted(FOLDERS)
    for kind in ("meshes", "views", "points"):
        index = Shards(trip.shards / kind, kind).index
        assert set(index["split"]) == {"train"}
        assert set(index["clip"]) == {"fall"}  # the folder's name
        assert len(index["frame"]) == FRAMES * (VIEWS if kind == "views" else 1)
    stored = Shards(trip.shards / "meshes", "meshes").read(range(FRAMES), ["vertices"])
    for row, path in zip(stored, bodies, strict=True):
        mesh = trimesh.load_mesh(path)
        extents = np.ptp(row["vertices"].reshape(-1, 3), axis=0)
        np.testing.assert_allclose(extents, mesh.extents, atol=1e-5)


def test_bodies_stay_where_their_files_have_them_if_asked(tmp_path):
    near, far = tmp_path / "near.ply", tmp_path / "far.ply"
    body(0).apply_translation([0.1, -0.05, 0.2]).export(near)
    body(0).apply_translation([9, 0, 0]).export(far)
    done("render", near, "-o", tmp_path / "kept", "--origin", "file", *RENDER)
    done("render", near, far, "-o", tmp_path / "centred", *RENDER)
    kept, centred = (
        [
            row["vertices"].reshape(-1, 3)
            for row in Shards(tmp_path / name / "meshes", "meshes").read(range(count), ["vertices"])
        ]
        for name, count in (("kept", 1), ("centred", 2))
    )
    corner = trimesh.load_mesh(near).bounds[0]
    np.testing.assert_allclose(kept[0].min(axis=0), corner, atol=1e-5)
    np.testing.assert_allclose(centred[0], centred[1], atol=1e-5)
    assert np.abs(kept[0] - centred[0]).max() > 0.05
    line = refused("render", far, "-o", tmp_path / "no", "--origin", "file", *RENDER)
    assert line.endswith("say its unit with --unit, or leave out --origin file")


def test_png_are_the_stored_pictures(trip):
    views = Shards(trip.shards / "views", "views")
    for row in range(len(views)):
        view, frame = views.index["view"][row], views.index["frame"][row]
        (stored,) = views.read([row], ["image"])
        picture = Image.open(trip.shards / "png" / f"v{view}" / f"{frame:04d}_pose{frame}.png")
        np.testing.assert_array_equal(np.array(picture), decode_png(stored["image"]))
    assert len(list((trip.shards / "png").rglob("*.png"))) == FRAMES * VIEWS


def test_unit_scales_the_meshes(trip, bodies, tmp_path):
    millimetres = tmp_path / "mm.stl"
    body(0).apply_scale(1000).export(millimetres)
    done("render", millimetres, "-o", tmp_path / "out", "--unit", "mm", *RENDER)
    (row,) = Shards(tmp_path / "out" / "meshes", "meshes").read([0], ["vertices"])
    extents = np.ptp(row["vertices"].reshape(-1, 3), axis=0)
    np.testing.assert_allclose(extents, body(0).extents, atol=1e-4)


def test_train_takes_the_profile_of_the_params_file(trip):
    lines = (trip.model / "loss.csv").read_text().splitlines()
    assert len(lines) == 1 + 40
    assert "40 steps, last loss " in trip.trained
    assert f"{float(lines[-1].split(',')[1]):.4g}" in trip.trained
    assert not (trip.model.parent / ".tpifu-train").exists()  # nothing is left to resume


def test_options_go_over_the_params_file(trip, tmp_path):
    out = tmp_path / "model"
    tiny = ["--params", trip.root / "tiny.yaml", "--device", "cpu", "--stride", 2]
    done("train", trip.shards, "-o", out, *tiny, "--steps", 2, "--neighborhood", 1, "--seed", 7)
    settings = (out / "config.yaml").read_text()
    for line in ("neighborhood: 1", "steps: 2", "seed: 7", "batch_size: 4", "learning_rate: 0.01"):
        assert line in settings
    assert "stride: 2" in settings


def test_eval_agrees_with_the_files_it_writes(trip):
    assert trip.metrics == json.loads((trip.report / "metrics.json").read_text())
    (split,) = trip.metrics  # rendered for training alone: no other split to measure
    assert split == "train"
    rows = pq.read_table(trip.report / "per_mesh.parquet").to_pylist()
    assert trip.metrics["train"]["meshes"] == FRAMES
    assert len(rows) == FRAMES * VIEWS
    mean = np.mean([row["iou"] for row in rows])
    assert trip.metrics["train"]["iou"] == pytest.approx(mean, abs=1e-4)
    assert trip.metrics["train"]["chamfer_cm"] > 0


def test_eval_table_shows_the_numbers_of_the_json(trip):
    options = ["--points", 100, "--seed", 3, "--resolution", 16]
    table = done("eval", trip.model, trip.shards, *options).stdout
    rows = [re.findall(r"[\w.-]+", line) for line in table.splitlines()]
    shown = dict(row for row in rows if len(row) == 2)
    assert shown["meshes"] == str(FRAMES)
    for name in ("iou", "mse", "recall", "chamfer_cm", "volume_jitter"):
        assert shown[name] == f"{trip.metrics['train'][name]:.4f}"


def test_reconstruct_gives_the_meshes_of_eval(trip):
    # View 0 is the camera's frame: the same pictures, out of the shards and out of PNG files.
    compared = 0
    for path in sorted((trip.report / "meshes").glob("*_v0.glb")):
        frame = int(re.search(r"_f(\d+)_", path.name).group(1))
        ours = trimesh.load_mesh(trip.root / "all" / "meshes" / f"{trip.images[frame].stem}.glb")
        theirs = trimesh.load_mesh(path)
        np.testing.assert_array_equal(ours.faces, theirs.faces)
        np.testing.assert_allclose(ours.vertices, theirs.vertices, atol=1e-4)
        compared += 1
    assert compared > 0
    assert len(list((trip.root / "all" / "meshes").iterdir())) == FRAMES
    made = {path.name for path in (trip.root / "all").iterdir()}
    assert made == {
        "clip.glb",
        "meshes",
        "reconstruct.json",
        "side_by_side.webp",
        "turntable.webp",
    }


def test_a_folder_of_pictures_is_the_clip_of_its_pictures(trip, tmp_path):
    options = ["--resolution", 16, "--device", "cpu"]
    done("reconstruct", trip.model, trip.images[0].parent, "-o", tmp_path / "one.obj", *options)
    assert (tmp_path / "one.obj").read_bytes() == (trip.root / "one.obj").read_bytes()


def test_the_clip_taken_from_shards_is_told(trip, tmp_path):
    command = ["reconstruct", trip.model, trip.shards, "-o", tmp_path / "one.ply"]
    command += ["--resolution", 16, "--device", "cpu"]
    for options in ([], ["--clip", "fall", "--view", 0]):
        result = done(*command, *options)
        assert result.stderr == f"{trip.shards}: clip fall (train), view 0\n"
    assert "clip fall has no view 7" in refused(*command, "--view", 7)


def test_a_higher_level_gives_a_thinner_body(trip, tmp_path):
    volumes = []
    for level in (0.3, 0.6):
        out = tmp_path / f"{level}.ply"
        options = ("--level", level, "--resolution", 16)
        result = tpifu("reconstruct", trip.model, *trip.images, "-o", out, *options)
        assert result.exit_code == 0, result.stderr
        volumes.append(trimesh.load_mesh(out).volume)
    assert volumes[0] > volumes[1] > 0


def test_one_mesh_is_the_middle_frame(trip):
    one = trimesh.load_mesh(trip.root / "one.obj")
    middle = trimesh.load_mesh(
        trip.root / "all" / "meshes" / f"{trip.images[FRAMES // 2].stem}.glb"
    )
    first = trimesh.load_mesh(trip.root / "all" / "meshes" / f"{trip.images[0].stem}.glb")
    np.testing.assert_allclose(one.bounds, middle.bounds, atol=1e-4)
    assert one.volume == pytest.approx(middle.volume, rel=1e-4)
    assert first.volume != pytest.approx(middle.volume, rel=1e-4)


def test_colour_pictures_and_other_formats_of_the_mask(trip, tmp_path):
    grey = Image.open(trip.images[0])
    grey.convert("RGBA").save(tmp_path / "colour.png")
    one, two = tmp_path / "one.ply", tmp_path / "two.ply"
    options = ["--resolution", 16, "--device", "cpu"]
    done("reconstruct", trip.model, trip.images[0], "-o", one, *options)
    done("reconstruct", trip.model, tmp_path / "colour.png", "-o", two, *options)
    assert one.read_bytes() == two.read_bytes()


def test_largest_keeps_one_component(trip, tmp_path):
    options = ["-o", tmp_path / "part.ply", "--resolution", 16, "--device", "cpu", "--largest"]
    done("reconstruct", trip.model, trip.images[0], *options)
    assert trimesh.load_mesh(tmp_path / "part.ply").body_count == 1


def test_an_interrupted_training_goes_on_when_repeated(trip, tmp_path, monkeypatch):
    from tpifu.train.step import training_step

    command = ["train", trip.shards, "--params", trip.root / "tiny.yaml", "--device", "cpu"]
    command += ["--steps", 6, "--checkpoint-every", 2]
    done(*command, "-o", tmp_path / "whole")
    step, seen = training_step, []

    def interrupted(*arguments, **options):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return step(*arguments, **options)

    monkeypatch.setattr("tpifu.train.fit.training_step", interrupted)
    result = tpifu(*command, "-o", tmp_path / "again")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "interrupted")
    assert not (tmp_path / "again" / "model.pt").exists()
    assert (tmp_path / ".tpifu-train").is_dir()
    done(*command, "-o", tmp_path / "again")
    assert len(seen) == 5 + 2  # steps 0 to 3 were saved
    whole, again = (tmp_path / name / "model.pt" for name in ("whole", "again"))
    assert whole.read_bytes() == again.read_bytes()


def test_training_is_tracked_only_when_asked(trip, tmp_path, monkeypatch):
    from contextlib import contextmanager

    from tpifu.tracking import NullRun

    runs = []

    class Recorder(NullRun):
        def __init__(self):
            self.steps = []

        def log_metrics(self, metrics, step=None):
            self.steps.append(step)

    @contextmanager
    def start_run(name, *, root, params, tags, memory, recorded):
        if not recorded:
            yield NullRun()
            return
        runs.append((name, params, tags, memory, Recorder()))
        yield runs[-1][-1]

    monkeypatch.setattr("tpifu.tracking.start_run", start_run)
    command = ["train", trip.shards, "--params", trip.root / "tiny.yaml", "--steps", 2]
    done(*command, "-o", tmp_path / "one", "--device", "cpu")
    assert runs == []
    done(*command, "-o", tmp_path / "two", "--device", "cpu", "--track")
    ((name, params, tags, memory, recorder),) = runs
    assert name == "train two"
    settings = YAML(typ="safe").load((tmp_path / "two" / "config.yaml").read_text())
    assert tags == {"fingerprint": settings["fingerprint"]}
    assert memory.parent == tmp_path / ".tpifu-train"
    assert memory.name.startswith(f"{tags['fingerprint']}-")
    assert params["train"]["steps"] == 2
    assert recorder.steps == [0, 1]


def test_training_starts_from_a_model_and_takes_its_network(trip, tmp_path):
    command = ["train", trip.shards, "--steps", 2, "--batch-size", 2, "--points", 20]
    done(*command, "-o", tmp_path / "on", "--start", trip.model, "--device", "cpu")
    settings = (tmp_path / "on" / "config.yaml").read_text()
    assert "start: " in settings
    before = (trip.model / "config.yaml").read_text()
    (dim,) = re.findall(r"dim: \d+", before)
    assert dim in settings
    line = refused(*command, "-o", tmp_path / "no", "--start", tmp_path / "nothing")
    assert "nothing" in line
    line = refused(*command, "-o", tmp_path / "no", "--start", trip.model, "--stacks", 3)
    assert "cannot start from it: its hourglass is" in line


def test_a_network_that_sees_nobody_says_so(trip, tmp_path, monkeypatch):
    from tpifu.reconstruct.surface import extract_surface

    command = ["reconstruct", trip.model, "--resolution", 16, "--device", "cpu"]
    command += ["--no-pictures"]
    extract, seen = extract_surface, []

    def sometimes(grid, half, level):
        seen.append(1)
        return extract(grid * (len(seen) > 1), half, level)

    monkeypatch.setattr("tpifu.reconstruct.surface.extract_surface", sometimes)
    result = done(*command, *trip.images[:2], "-o", tmp_path / "meshes")
    assert result.stdout.endswith(": 1 of 2 meshes\n")
    assert f"1 frames give no mesh; the first: {trip.images[0].stem}: " in result.stderr
    made = tmp_path / "meshes" / "meshes"
    assert [path.stem for path in made.iterdir()] == [trip.images[1].stem]
    seen.clear()
    line = refused(*command, trip.images[0], "-o", tmp_path / "mesh.glb")
    assert "predicts nothing inside" in line
    assert not (tmp_path / "mesh.glb").exists()


def test_a_folder_that_is_reconstructed_into_is_refused(trip, tmp_path, held_elsewhere):
    command = ["reconstruct", trip.model, trip.images[0], "-o", tmp_path, "--no-pictures"]
    command += ["--resolution", 16, "--device", "cpu"]
    (tmp_path / ".lock").mkdir()
    with held_elsewhere(tmp_path / ".lock" / "lock"):
        assert "another process reconstructs into this folder; wait" in refused(*command)
        assert not (tmp_path / "reconstruct.json").exists()
    done(*command)


@pytest.fixture
def untouched(tmp_path):
    """A path that the refused command must not have created, nor anything beside it."""
    yield tmp_path / "out"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such mesh file"),
        (lambda path: path.write_bytes(bytes(range(256))), "not a mesh"),
        (lambda path: trimesh.Trimesh(*_open_box()).export(path), "not watertight"),
        (lambda path: body(0).apply_scale(2).export(path), "does not fit the window of 2.56 m"),
        (lambda path: body(0).apply_scale(100).export(path), "--unit"),
        (lambda path: body(0).apply_scale(0.01).export(path), "--unit"),
    ],
)
def test_one_bad_mesh_and_nothing_is_rendered(make, words, bodies, tmp_path_factory, untouched):
    bad = tmp_path_factory.mktemp("bad") / "bad.ply"
    make(bad)
    line = refused("render", bodies[0], bad, "-o", untouched, *RENDER)
    assert line.startswith(f"error: {bad}: ")
    assert words in line


def _open_box():
    box = trimesh.creation.box()
    return box.vertices, box.faces[1:]


def test_the_window_that_is_named_holds_the_mesh(tmp_path):
    tall = tmp_path / "tall.ply"
    body(0.2).apply_scale(2).export(tall)
    line = refused("render", tall, "-o", tmp_path / "out", *RENDER)
    window = float(re.search(r"--window ([\d.]+) ", line).group(1))
    assert "does not fit" in refused(
        "render", tall, "-o", tmp_path / "out", "--window", window - 0.02, *RENDER
    )
    done("render", tall, "-o", tmp_path / "out", "--window", window, *RENDER)
    # The silhouette ends less than two pixels from the border: no smaller window would do.
    views = Shards(tmp_path / "out" / "views", "views")
    rows = views.read(range(VIEWS), ["image"])
    masks = np.stack([decode_png(row["image"])[..., 1] > 0 for row in rows])
    assert masks[:, [0, 1, -2, -1]].any() or masks[:, :, [0, 1, -2, -1]].any()


def test_render_never_replaces_what_is_not_its_own(bodies, tmp_path):
    """Least of all its own inputs."""
    own = tmp_path / "meshes"
    own.mkdir()
    mesh = shutil.copy(bodies[0], own)
    for more in ((), ("--force",)):
        line = refused("render", mesh, "-o", tmp_path, *more, *RENDER)
        assert line == f"error: {mesh}: lies where {own} is written: choose another folder"
        line = refused("render", bodies[0], "-o", tmp_path, *more, *RENDER)
        assert line.startswith(f"error: {own}: holds no shards, and is in the way")
    assert [path.name for path in tmp_path.rglob("*")] == ["meshes", bodies[0].name]


def test_render_replaces_shards_only_by_force(bodies, tmp_path):
    out = tmp_path / "out"
    done("render", bodies[0], "-o", out, "--png", *RENDER)
    (out / "notes.txt").write_text("mine")
    assert "--force" in refused("render", bodies[1], bodies[2], "-o", out, *RENDER)
    assert len(Shards(out / "meshes", "meshes")) == 1
    done("render", bodies[1], bodies[2], "-o", out, "--force", *RENDER)
    assert len(Shards(out / "points", "points")) == 2
    # Pictures of the old meshes would be taken for those of the new ones; a stranger's file stays.
    assert sorted(p.name for p in out.iterdir()) == ["meshes", "notes.txt", "points", "views"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "opengl"], "render.backend: is 'opengl'"),
        (["--size", 20], "render.size: is 20: input should be a multiple of 16"),
        (["--views", 0], "render.views: is 0"),
        (["--light", "sun"], "render.light: is 'sun'"),
        (["--occlusion", -1], "render.occlusion: is -1"),
        (["--sigma", -0.1], "sample.sigma: is -0.1"),
        (["--window", 9], "camera.window: is 9.0: input should be less than or equal to 5.12"),
    ],
)
def test_impossible_render_options(options, words, bodies, untouched):
    assert words in refused("render", bodies[0], "-o", untouched, *options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--neighborhood", 4], "model.neighborhood: is 4: must be odd"),
        (["--neighborhood", 7], "the longest train clip has 5 frames"),
        (["--neighborhood", 3, "--stride", 3], "together 7 frames, but the longest train clip"),
        (["--stride", 0], "model.stride: is 0"),
        (["--batch-size", 9], "train.batch_size is 9, the data has 5 meshes"),
        (["--dim", 6], "model.hourglass.dim: is 6"),
        (["--points", 0], "train.points: is 0"),
        (["--points", 202], "train.points is 202, but sample.near_surface + sample.uniform is 200"),
        (["--schedule", "linear"], "train.schedule: is 'linear'"),
        (["--device", "abacus"], "device 'abacus' is unknown"),
        (["--params", "/nowhere/params.yaml"], "cannot be read"),
    ],
)
def test_impossible_training_options(options, words, trip, untouched):
    command = ["train", trip.shards, "-o", untouched / "model", "--scratch", untouched]
    assert words in refused(*command, *TINY_NETWORK, *options)


def test_options_of_the_wrong_type_are_named(bodies, untouched):
    assert "--size" in shown("render", bodies[0], "-o", untouched, "--size", "big")
    assert "--unit" in shown("render", bodies[0], "-o", untouched, "--unit", "inch")


def test_shards_that_are_not_there(trip, untouched, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    (empty / "points").mkdir()
    for folder, words in ((empty, "no *.parquet"), (empty / "nowhere", "no such folder")):
        assert words in refused("train", folder, "-o", untouched, *TINY_NETWORK)
        assert words in refused("eval", trip.model, folder, "-o", untouched)


def test_eval_wants_the_models_own_camera(trip, bodies, tmp_path):
    wider = [*RENDER, "--window", 3]
    done("render", *bodies, "-o", tmp_path / "wide", *wider)
    line = refused("eval", trip.model, tmp_path / "wide", "--points", 100, "--device", "cpu")
    assert "32 px over 3.0 m" in line
    assert "32 px over 2.56 m" in line


def test_other_light_is_a_warning(trip, bodies, tmp_path):
    lit = ["--light", "environment", "--occlusion", 8]
    done("render", *bodies, "-o", tmp_path / "lit", *lit, *RENDER)
    warning = "images have light environment with occlusion, but the model was trained on light"
    result = done("eval", trip.model, tmp_path / "lit", "--points", 100, "--resolution", 16)
    assert result.stderr.count(warning) == 1
    assert (
        warning
        not in done("eval", trip.model, trip.shards, "--points", 100, "--resolution", 16).stderr
    )
    out = tmp_path / "one.obj"
    result = done("reconstruct", trip.model, tmp_path / "lit", "-o", out, "--resolution", 16)
    assert result.stderr.count(warning) == 1


def test_eval_draws_no_more_points_than_there_are(trip, untouched):
    line = refused("eval", trip.model, trip.shards, "-o", untouched)
    assert "evaluate.points is 5000, but sample.near_surface + sample.uniform is 200" in line


@pytest.mark.parametrize("command", ["eval", "reconstruct"])
def test_foreign_model_files_are_refused_and_run_nothing(command, trip, tmp_path):
    rest = {
        "eval": [trip.shards, "--points", 100],
        "reconstruct": [trip.images[0], "-o", tmp_path / "mesh.glb"],
    }[command]
    proof = tmp_path / "executed"
    model = tmp_path / "model.pt"
    assert "no such model file" in refused(command, model, *rest)
    for content in (bytes(range(256)), b"", pickle.dumps(Payload(proof), 2)):
        model.write_bytes(content)
        assert "not a model file" in refused(command, model, *rest)
    assert list(tmp_path.iterdir()) == [model]
    # The payload works: it is the reader that does not run it.
    pickle.loads(pickle.dumps(Payload(proof)))
    assert proof.exists()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda image: image.resize((SIZE, 48)), f"is 32 x 48 pixels, the model wants {SIZE} x 32"),
        (lambda image: image.convert("RGB"), "store the person's mask there"),
        (lambda image: image.convert("L").convert("LA"), "the same everywhere"),
        (lambda image: Image.new("LA", image.size), "transparent everywhere"),
        (None, "not an image"),
    ],
)
def test_one_bad_image_and_nothing_is_reconstructed(edit, words, trip, tmp_path_factory, untouched):
    bad = tmp_path_factory.mktemp("bad") / "bad.png"
    if edit is None:
        bad.write_bytes(b"\x89PNG, but not really")
    else:
        edit(Image.open(trip.images[0]).copy()).save(bad)
    for out in (untouched, untouched.with_suffix(".glb")):
        line = refused("reconstruct", trip.model, trip.images[0], bad, "-o", out)
        assert line.startswith(f"error: {bad}: ")
        assert words in line


def test_outputs_of_reconstruct_that_cannot_be(trip, untouched):
    image = trip.images[0]
    line = refused("reconstruct", trip.model, image, "-o", untouched.with_suffix(".fbx"))
    assert ".glb, .obj, .ply, .stl" in line
    line = refused("reconstruct", trip.model, image, image, "-o", untouched)
    assert "one name" in line
    line = refused("reconstruct", trip.model, image, "-o", trip.model / "loss.csv")
    assert "cannot write a mesh as .csv" in line
    line = refused("reconstruct", trip.model, image, "-o", untouched, "--resolution", 4)
    assert "evaluate.resolution: is 4" in line
    for level in (0, 1, "nan"):
        line = refused("reconstruct", trip.model, image, "-o", untouched, "--level", level)
        assert "level: is " in line


@pytest.mark.parametrize("option", [["--clip", "fall"], ["--view", 0]])
def test_pictures_have_neither_clips_nor_views(option, trip, untouched):
    for inputs in ([trip.images[0]], trip.images[:2], [trip.images[0].parent]):
        line = refused("reconstruct", trip.model, *inputs, "-o", untouched, *option)
        assert f"--clip and --view choose from one folder of shards, which {inputs[0]} is" in line


def test_an_interruption_is_one_line(bodies, untouched, monkeypatch):

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tpifu.geometry.mesh_files.load_mesh", interrupted)
    result = tpifu("render", bodies[0], "-o", untouched, *RENDER)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")


def test_a_bug_keeps_its_traceback(bodies, untouched, monkeypatch):

    monkeypatch.setattr("tpifu.geometry.mesh_files.load_mesh", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tpifu("render", bodies[0], "-o", untouched, *RENDER)


def test_a_disk_that_refuses_is_one_line(bodies, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    line = refused("render", bodies[0], "-o", tmp_path / "file" / "out", *RENDER)
    assert str(tmp_path / "file") in line
    assert "Not a directory" in line


COMMANDS = {
    command.name or command.callback.__name__: inspect.signature(command.callback).parameters
    for command in app.registered_commands
}
TABLE_1 = Params().model_dump()


def described(name: str):
    """Name, type, typer's description and default of each parameter of a command."""
    for key, parameter in COMMANDS[name].items():
        kind, info = get_args(parameter.annotation)
        yield key, kind, info, parameter.default


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_with_its_range(name):
    page = re.sub(r"[\s│]+", " ", done(name, "--help").stdout)
    for key, kind, info, default in described(name):
        assert info.help
        assert " ".join(info.help.split()[:3]) in page
        if default is not inspect.Parameter.empty:
            spelled = "--json" if key == "as_json" else "--" + key.replace("_", "-")
            assert spelled in page
        if kind in (int, int | None, float, float | None):
            assert re.search(r"\d or more|above 0|a multiple of \d|odd|even|0 reads", info.help), (
                key
            )


@pytest.mark.parametrize("name", ["render", "train", "eval"])
def test_defaults_are_those_of_the_configuration(name):
    sections = {
        "render": ["camera", "render", "sample"],
        "train": ["model", "train"],
        "eval": ["evaluate"],
    }[name]
    known = {"seed": TABLE_1["seed"]} | TABLE_1["model"]["hourglass"]
    for section in sections:
        known |= TABLE_1[section]
    compared = 0
    for key, _, info, default in described(name):
        if key in known:
            assert str(info.show_default if default is None else default) == str(known[key]), key
            compared += 1
    assert compared >= 4


def test_help_brings_neither_torch_nor_mlflow():
    code = (
        "import sys\nfrom tpifu.cli.app import main\nsys.argv = ['tpifu', '--help']\n"
        "try: main()\nexcept SystemExit as end: print(end.code, file=sys.stderr)\n"
        "heavy = {'torch', 'mlflow', 'numpy', 'trimesh', 'pydantic', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stderr.splitlines() == ["0", "[]"]
    assert all(name in process.stdout for name in ("render", "train", "eval", "reconstruct"))


def test_version():
    assert done("--version").stdout == f"tpifu {version('tpifu')}\n"


COMPILED = """
import torch
from torch._dynamo.utils import counters
from tpifu.cli.app import main
compile = torch.nn.Module.compile
# The graphs alone: making machine code of them takes minutes.
torch.nn.Module.compile = lambda module: compile(module, backend="aot_eager")
try:
    main()
finally:
    print(counters["stats"]["unique_graphs"], sum(counters["graph_break"].values()))
"""


@pytest.mark.slow
def test_compiled_steps_are_whole_graphs_with_the_same_losses(tiny, tmp_path):
    options = ["--neighborhood", "3", "--batch-size", "2", *map(str, TINY_NETWORK)]
    losses = []
    for name, flags in {"eager": [], "compiled": ["--compile"]}.items():
        # A process of its own: the compiler cannot follow what checks shapes in tests.
        command = [sys.executable, "-c", COMPILED, "train", tiny, "-o", tmp_path / name]
        told = subprocess.run([*command, *options, *flags], check=True, capture_output=True)
        graphs, breaks = map(int, told.stdout.split()[-2:])
        rows = (tmp_path / name / "loss.csv").read_text().splitlines()[1:]
        losses.append([float(row.split(",")[1]) for row in rows])
        assert graphs == len(flags)  # one for any number of images
        assert breaks == 0
        tpifu("eval", tmp_path / name, tiny, "--points", 20)  # a model is the same file
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
