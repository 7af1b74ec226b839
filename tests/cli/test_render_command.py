import os
import re

import numpy as np
import pytest
import trimesh
from helpers.clip import FRAMES, RENDER, VIEWS, body
from helpers.command import done, refused, settings, tpifu
from PIL import Image

from tpifu.shards.coding import decode_png
from tpifu.shards.reader import Shards


def vertices(shards, count: int) -> list[np.ndarray]:
    rows = Shards(shards / "meshes", "meshes").read(range(count), ["vertices"])
    return [row["vertices"].reshape(-1, 3) for row in rows]


def test_render_writes_one_clip_of_all_meshes_in_order(trip, bodies):
    assert sorted(os.listdir(trip.shards)) == ["meshes", "png", "points", "views"]
    for kind in ("meshes", "views", "points"):
        index = Shards(trip.shards / kind, kind).index
        assert set(index["split"]) == {"train"}
        assert set(index["clip"]) == {"fall"}  # the folder's name
        assert len(index["frame"]) == FRAMES * (VIEWS if kind == "views" else 1)
    for stored, path in zip(vertices(trip.shards, FRAMES), bodies, strict=True):
        extents = trimesh.load_mesh(path).extents
        np.testing.assert_allclose(np.ptp(stored, axis=0), extents, atol=1e-5)


def test_origin_file_keeps_the_coordinates(tmp_path):
    near, far = tmp_path / "near.ply", tmp_path / "far.ply"
    body(0).apply_translation([0.1, -0.05, 0.2]).export(near)
    body(0).apply_translation([9, 0, 0]).export(far)
    done("render", near, "-o", tmp_path / "kept", "--origin", "file", *RENDER)
    done("render", near, far, "-o", tmp_path / "centred", *RENDER)
    (kept,), centred = vertices(tmp_path / "kept", 1), vertices(tmp_path / "centred", 2)
    np.testing.assert_allclose(kept.min(axis=0), trimesh.load_mesh(near).bounds[0], atol=1e-5)
    np.testing.assert_allclose(centred[0], centred[1], atol=1e-5)
    assert np.abs(kept - centred[0]).max() > 0.05
    line = refused("render", far, "-o", tmp_path / "no", "--origin", "file", *RENDER)
    assert line.endswith("set --unit or remove --origin file")


def test_unit_scales_the_meshes(tmp_path):
    millimetres = tmp_path / "mm.stl"
    body(0).apply_scale(1000).export(millimetres)
    done("render", millimetres, "-o", tmp_path / "out", "--unit", "mm", *RENDER)
    (stored,) = vertices(tmp_path / "out", 1)
    np.testing.assert_allclose(np.ptp(stored, axis=0), body(0).extents, atol=1e-4)


def test_png_files_are_the_stored_images(trip):
    views = Shards(trip.shards / "views", "views")
    for row in range(len(views)):
        view, frame = views.index["view"][row], views.index["frame"][row]
        (stored,) = views.read([row], ["image"])
        image = Image.open(trip.shards / "png" / f"v{view}" / f"{frame:04d}_pose{frame}.png")
        np.testing.assert_array_equal(np.array(image), decode_png(stored["image"]))
    assert len(list((trip.shards / "png").rglob("*.png"))) == FRAMES * VIEWS


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(bytes(range(256))), "cannot read this mesh"),
        (lambda path: body(0).apply_scale(2).export(path), "does not fit the window of 2.56 m"),
        (lambda path: body(0).apply_scale(100).export(path), "--unit"),
        (lambda path: body(0).apply_scale(0.01).export(path), "--unit"),
    ],
)
def test_one_bad_mesh_stops_the_command(make, words, bodies, tmp_path_factory, untouched):
    bad = tmp_path_factory.mktemp("bad") / "bad.ply"
    make(bad)
    line = refused("render", bodies[0], bad, "-o", untouched, *RENDER)
    assert line.startswith(f"error: {bad}: ")
    assert words in line


def test_the_error_names_the_smallest_window_that_fits(tmp_path):
    tall = tmp_path / "tall.ply"
    body(0.2).apply_scale(2).export(tall)
    command = ["render", tall, "-o", tmp_path / "out", *RENDER]
    window = float(re.search(r"--set camera.window=([\d.]+)$", refused(*command)).group(1))
    assert "does not fit" in refused(*command, *settings(f"camera.window={window - 0.02}"))
    done(*command, *settings(f"camera.window={window}"))
    # The silhouette ends less than two pixels from the border.
    rows = Shards(tmp_path / "out" / "views", "views").read(range(VIEWS), ["image"])
    masks = np.stack([decode_png(row["image"])[..., 1] > 0 for row in rows])
    assert masks[:, [0, 1, -2, -1]].any() or masks[:, :, [0, 1, -2, -1]].any()


def test_an_existing_folder_is_never_replaced(bodies, tmp_path):
    (tmp_path / "notes").write_text("mine")
    line = refused("render", bodies[0], "-o", tmp_path, *RENDER)
    assert line == f"error: {tmp_path}: exists already: choose another --out, or delete it"
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_bug_keeps_its_traceback(bodies, untouched, monkeypatch):
    monkeypatch.setattr("tpifu.geometry.mesh_files.load_mesh", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tpifu("render", bodies[0], "-o", untouched, *RENDER)


def test_a_disk_error_is_one_line(bodies, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    line = refused("render", bodies[0], "-o", tmp_path / "file" / "out", *RENDER)
    assert f"{tmp_path}/file is a file, not a folder" in line
