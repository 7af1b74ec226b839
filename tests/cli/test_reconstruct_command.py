import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from helpers.clip import FRAMES, RECONSTRUCT, SIZE
from helpers.command import done, refused, settings
from PIL import Image

from tpifu import import_pifu
from tpifu.model.folder import load_model, save_model


def test_reconstruct_gives_the_meshes_of_eval(trip):
    # The camera of view 0 is the world's, so meshes of its image files are those of its shards.
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
    names = sorted(path.name for path in (trip.root / "all").iterdir())
    pictures = ["side_by_side.webp", "turntable.webp"]
    assert names == ["clip.glb", "meshes", "reconstruct.json", *pictures]


def test_a_file_gets_the_middle_frame(trip):
    names = [trip.images[n].stem for n in (FRAMES // 2, 0)]
    one = trimesh.load_mesh(trip.root / "one.obj")
    middle, first = (trimesh.load_mesh(trip.root / "all" / "meshes" / f"{n}.glb") for n in names)
    np.testing.assert_allclose(one.bounds, middle.bounds, atol=1e-4)
    assert one.volume == pytest.approx(middle.volume, rel=1e-4)
    assert first.volume != pytest.approx(middle.volume, rel=1e-4)


def test_a_folder_of_images_is_a_clip(trip, tmp_path):
    folder = trip.images[0].parent
    done("reconstruct", trip.model, folder, "-o", tmp_path / "one.obj", *RECONSTRUCT)
    assert (tmp_path / "one.obj").read_bytes() == (trip.root / "one.obj").read_bytes()


def test_colour_images_give_the_same_mesh(trip, tmp_path):
    Image.open(trip.images[0]).convert("RGBA").save(tmp_path / "colour.png")
    one, two = tmp_path / "one.ply", tmp_path / "two.ply"
    done("reconstruct", trip.model, trip.images[0], "-o", one, *RECONSTRUCT)
    done("reconstruct", trip.model, tmp_path / "colour.png", "-o", two, *RECONSTRUCT)
    assert one.read_bytes() == two.read_bytes()


def test_the_clip_of_shards_is_printed(trip, tmp_path):
    command = ["reconstruct", trip.model, trip.shards, "-o", tmp_path / "one.ply", *RECONSTRUCT]
    for options in ([], ["--clip", "fall", "--view", 0]):
        result = done(*command, *options)
        assert result.stderr == f"{trip.shards}: clip fall (train), view 0\n"
    assert "clip fall has no view 7" in refused(*command, "--view", 7)


def test_clip_and_view_need_shards(trip, untouched):
    for option in (["--clip", "fall"], ["--view", 0]):
        line = refused("reconstruct", trip.model, *trip.images, "-o", untouched, *option)
        assert f"--clip and --view need a folder of shards, but {trip.images[0]} is not" in line


def test_frames_without_a_mesh_are_reported(trip, tmp_path, monkeypatch):
    from tpifu.reconstruct.surface import extract_surface

    command = ["reconstruct", trip.model, *RECONSTRUCT, "--no-pictures"]
    calls = []

    def first_is_empty(grid, half, level):
        calls.append(1)
        return extract_surface(grid * (len(calls) > 1), half, level)

    monkeypatch.setattr("tpifu.reconstruct.surface.extract_surface", first_is_empty)
    result = done(*command, *trip.images[:2], "-o", tmp_path / "meshes")
    assert result.stdout.endswith(": 1 of 2 meshes\n")
    assert f"1 frames have no mesh; the first: {trip.images[0].stem}: " in result.stderr
    written = tmp_path / "meshes" / "meshes"
    assert [path.stem for path in written.iterdir()] == [trip.images[1].stem]
    calls.clear()
    line = refused(*command, trip.images[0], "-o", tmp_path / "mesh.glb")
    assert "predicts nothing inside" in line
    assert not (tmp_path / "mesh.glb").exists()


def test_a_folder_in_use_is_rejected(trip, tmp_path, locked_elsewhere):
    command = ["reconstruct", trip.model, trip.images[0], "-o", tmp_path, "--no-pictures"]
    (tmp_path / ".lock").mkdir()
    with locked_elsewhere(tmp_path / ".lock" / "lock"):
        line = refused(*command, *RECONSTRUCT)
        assert "another process reconstructs into this folder; wait" in line
        assert not (tmp_path / "reconstruct.json").exists()
    done(*command, *RECONSTRUCT)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda image: image.resize((SIZE, 48)), "is 32 x 48 pixels, but the model reads 32 x 32"),
        (lambda image: image.convert("RGB"), "store the person's mask there"),
        (lambda image: image.convert("L").convert("LA"), "the same everywhere"),
        (lambda image: Image.new("LA", image.size), "the same everywhere"),
        (None, "not a PNG, WebP, GIF or TIFF image"),
    ],
)
def test_one_bad_image_stops_the_command(edit, words, trip, tmp_path_factory, untouched):
    bad = tmp_path_factory.mktemp("bad") / "bad.png"
    if edit is None:
        bad.write_bytes(b"\x89PNG, but not really")
    else:
        edit(Image.open(trip.images[0]).copy()).save(bad)
    for out in (untouched, untouched.with_suffix(".glb")):
        line = refused("reconstruct", trip.model, trip.images[0], bad, "-o", out)
        assert line.startswith(f"error: {bad}: ")
        assert words in line


def test_wrong_options_of_reconstruct(trip, untouched):
    command, image = ["reconstruct", trip.model], trip.images[0]
    line = refused(*command, image, "-o", image / "out", *RECONSTRUCT)
    assert line == f"error: {image}/out: cannot be written (Not a directory)"
    line = refused(*command, image, "-o", untouched.with_suffix(".fbx"))
    assert ".glb, .obj, .ply, .stl" in line
    assert "the same name" in refused(*command, image, image, "-o", untouched)
    line = refused(*command, image, "-o", trip.model / "loss.csv")
    assert "unknown mesh format '.csv'" in line
    line = refused(*command, image, "-o", untouched, *settings("evaluate.resolution=4"))
    assert "evaluate.resolution: is 4" in line


@pytest.mark.parametrize("name", ["run.1", "take.2026-11-26", "v2.0"])
def test_a_number_is_no_mesh_format(trip, tmp_path, name):
    command = ["reconstruct", trip.model, trip.images[0], "--no-pictures", *RECONSTRUCT]
    done(*command, "-o", tmp_path / name)
    written = tmp_path / name / "meshes" / f"{trip.images[0].stem}.glb"
    assert written.is_file()


@pytest.mark.parametrize("kind", ["meshes", "points"])
def test_shards_of_another_kind_are_named(trip, untouched, kind):
    line = refused("reconstruct", trip.model, trip.shards / kind, "-o", untouched)
    assert f"holds {kind}, not views; pass the folder that holds both, or" in line


def test_warnings_about_pictures_are_printed(trip, tmp_path):
    dark = tmp_path / "dark"
    dark.mkdir()
    for number, image in zip((1, 2, 4), trip.images, strict=False):
        pixels = np.array(Image.open(image).convert("RGBA")) * [0.3, 0.3, 0.3, 1]
        Image.fromarray(pixels.astype(np.uint8)).save(dark / f"{number}.png")
    result = done("reconstruct", trip.model, dark, "-o", tmp_path / "one.obj", *RECONSTRUCT)
    gap, light = result.stderr.splitlines()
    assert gap == f"warning: {dark}/4.png: follows 2.png; frames are missing between them"
    assert light.startswith(f"warning: {dark}/1.png: the person's mean brightness is 0.2")
    result = done("reconstruct", trip.model, *trip.images, "-o", tmp_path / "b.obj", *RECONSTRUCT)
    assert result.stderr == ""


def test_pifus_weights_accept_clothes_of_any_colour_and_brightness(trip, tmp_path):
    pixels = np.array(Image.open(trip.images[0]).convert("RGBA")) * [0.4, 0.1, 0.1, 1]
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "red.png")
    model = load_model(trip.model, torch.device("cpu"))
    save_model(tmp_path / "pifu", replace(model, data=import_pifu.DATA))
    warned = done("reconstruct", trip.model, tmp_path / "red.png", "-o", tmp_path / "a.obj")
    assert "mean brightness" in warned.stderr
    found = done("reconstruct", tmp_path / "pifu", tmp_path / "red.png", "-o", tmp_path / "b.obj")
    assert found.stderr == ""
    assert (tmp_path / "a.obj").read_bytes() == (tmp_path / "b.obj").read_bytes()


def test_the_shells_order_is_rejected(trip, tmp_path_factory, untouched):
    folder = tmp_path_factory.mktemp("shell")
    for number in (2, 10):
        (folder / f"{number}.png").write_bytes(trip.images[0].read_bytes())
    line = refused("reconstruct", trip.model, *sorted(folder.iterdir()), "-o", untouched)
    assert f"10.png: comes before 2.png, as the shell sorts them; pass the folder {folder}" in line
