"""`tpifu render`: order, orientation, unit, origin and window of mesh files.

Reports name frame10 before frame2, z up, and advice about the window that does not work. Further
members of these kinds, tested here and in tests/test_files.py: two files of one frame, gaps and
repeats in numbers, a folder among files; bodies along x, one body that falls, millimetres; a raised
hand, a body twice the size, the origin of the files.
"""

import os
import re

import numpy as np
import pytest
import trimesh
from helpers.clip import FRAMES, RENDER, SIZE, VIEWS, body
from helpers.command import done, refused, settings, tpifu
from PIL import Image

from tpifu.shards.coding import decode_png, dequantise
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
    assert "does not fit" in refused(*command, *settings(f"camera.window={window / 1.12}"))
    assert not done(*command, *settings(f"camera.window={window}")).stderr
    # The silhouette ends less than two pixels from the border.
    rows = Shards(tmp_path / "out" / "views", "views").read(range(VIEWS), ["image"])
    masks = np.stack([decode_png(row["image"])[..., 1] > 0 for row in rows])
    assert masks[:, [0, 1, -2, -1]].any() or masks[:, :, [0, 1, -2, -1]].any()


def test_bodies_slightly_beyond_the_window_are_cropped_with_a_warning(tmp_path):
    """As the pipeline does with a raised hand, so that its models can read the result."""
    raised = tmp_path / "raised.ply"
    raised_body = body(0)
    raised_body.apply_translation([0, 1.45 - raised_body.bounds[1, 1], 0]).export(raised)
    command = ["render", raised, "-o", tmp_path / "out", "--origin", "file", *RENDER]
    (line,) = done(*command, *settings("camera.window=2.8")).stderr.splitlines()
    assert line.startswith(f"warning: {raised}: reaches beyond the window of 2.8 m and is cropped")
    assert "does not fit the window of 2.56 m" in refused(
        *command[:3], tmp_path / "no", *command[4:]
    )


def test_image_labels_and_near_points_agree_on_a_polygon_that_is_not_convex(tmp_path):
    outline = [(-5, -7), (5, -7), (5, 8), (3, 8), (3, -3), (-3, -3), (-3, 8), (-5, 8)]
    lines = [f"v {x / 10} {y / 10} {z}" for z in (-0.15, 0.15) for x, y in outline]
    lines += ["f 9 10 11 12 13 14 15 16", "f 8 7 6 5 4 3 2 1"]
    lines += [f"f {i + 1} {(i + 1) % 8 + 1} {(i + 1) % 8 + 9} {i + 9}" for i in range(8)]
    (tmp_path / "u.obj").write_text("\n".join(lines))
    options = ["--origin", "file", *RENDER, *settings("sample.uniform=1")]
    done("render", tmp_path / "u.obj", "-o", tmp_path / "out", *options)
    (front, _) = Shards(tmp_path / "out" / "views", "views").read(range(2), ["image"])
    mask = decode_png(front["image"])[..., 1]
    pixel = {place: round((place + 1.28) / 2.56 * SIZE) for place in (-0.4, 0, 0.4)}
    row = SIZE - 1 - round((0.5 + 1.28) / 2.56 * SIZE)
    assert [mask[row, pixel[x]] for x in (-0.4, 0, 0.4)] == [255, 0, 255]
    (stored,) = Shards(tmp_path / "out" / "points", "points").read([0], ["points"])
    near = dequantise(np.frombuffer(stored["points"], "<i2").reshape(-1, 3))
    between = (np.abs(near[:, 0]) < 0.15) & (near[:, 1] > 0) & (near[:, 1] < 0.6)
    assert not between.any()  # sigma is 5 cm, the surface is 15 cm away


@pytest.fixture
def take(tmp_path):
    """A function that stores bodies of growing width in the files of a new folder."""

    def store(*names):
        (tmp_path / "take").mkdir()
        for number, name in enumerate(names):
            body(0).apply_scale([1 + 0.1 * number, 1, 1]).export(tmp_path / "take" / name)
        return tmp_path / "take"

    return store


def test_a_folder_is_read_in_natural_order(take, tmp_path):
    folder = take("f8.obj", "f9.obj", "f10.obj")
    (folder / "f8.mtl").touch()
    assert not done("render", folder, "-o", tmp_path / "out", *RENDER).stderr
    widths = [np.ptp(mesh[:, 0]) for mesh in vertices(tmp_path / "out", 3)]
    np.testing.assert_allclose(widths, np.array([1, 1.1, 1.2]) * body(0).extents[0], rtol=1e-4)
    listed = [folder / name for name in ("f8.obj", "f9.obj", "f10.obj")]
    line = refused("render", *sorted(listed), "-o", tmp_path / "no", *RENDER)
    assert line.startswith(f"error: {folder / 'f10.obj'}: comes before f8.obj, as the shell sorts")
    done("render", *listed, "-o", tmp_path / "listed", *RENDER)
    for one, other in zip(
        vertices(tmp_path / "listed", 3), vertices(tmp_path / "out", 3), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_gap_in_the_numbers_is_a_warning(take, tmp_path):
    folder = take("f1.obj", "f2.obj", "f5.obj")
    (line,) = done("render", folder, "-o", tmp_path / "out", *RENDER).stderr.splitlines()
    assert line == f"warning: {folder / 'f5.obj'}: follows f2.obj; frames are missing between them"


def test_a_folder_without_meshes_is_rejected(take, tmp_path):
    line = refused("render", take(), "-o", tmp_path / "out", *RENDER)
    assert "take: holds no meshes (.glb, .gltf, .obj, .off, .ply, .stl)" in line


def test_z_up_is_turned_and_guessed(tmp_path):
    lying, upright = tmp_path / "z0.stl", tmp_path / "z1.stl"
    thin = body(0.1).apply_scale([0.5, 1, 0.5])
    thin.export(upright)
    turned = thin.copy().apply_transform(
        trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0])
    )
    turned.export(lying)
    warning = f"warning: {lying}: all bodies lie down; if the files have z up, use --up z\n"
    assert done("render", lying, "-o", tmp_path / "a", *RENDER).stderr == warning
    assert not done("render", lying, "-o", tmp_path / "b", "--up", "z", *RENDER).stderr
    assert not done("render", lying, upright, "-o", tmp_path / "c", *RENDER).stderr  # one falls
    sideways = tmp_path / "x0.stl"
    about_z = trimesh.transformations.rotation_matrix(np.pi / 2, [0, 0, 1])
    thin.copy().apply_transform(about_z).export(sideways)
    warning = f"warning: {sideways}: all bodies lie down; if the files have z up, use --up z\n"
    assert done("render", sideways, "-o", tmp_path / "d", *RENDER).stderr == warning
    (found,), (_, truth) = vertices(tmp_path / "b", 1), vertices(tmp_path / "c", 2)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(truth, axis=0), atol=1e-5)


def test_an_existing_folder_is_never_replaced(bodies, tmp_path):
    (tmp_path / "notes").write_text("mine")
    line = refused("render", bodies[0], "-o", tmp_path, *RENDER)
    assert line == f"error: {tmp_path}: already exists: choose another --out, or delete it"
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_bug_keeps_its_traceback(bodies, untouched, monkeypatch):
    monkeypatch.setattr(
        "tpifu.geometry.import_mesh.load.load_mesh", lambda *arguments, **options: 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        tpifu("render", bodies[0], "-o", untouched, *RENDER)


def test_a_disk_error_is_one_line(bodies, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    line = refused("render", bodies[0], "-o", tmp_path / "file" / "out", *RENDER)
    assert f"{tmp_path}/file is a file, not a folder" in line
