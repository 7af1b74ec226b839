"""Mesh files from other programs. Each test makes its own file and states the expected value.

Besides the reported faults, these related cases each have a test below:
polygons: darts and keyholes, corners on a straight edge, bent quads, repeated corners;
parts: cavities, inverted bodies with cavities, eyeballs that stick out, parts that touch;
closedness: seams in PLY and GLB, unused vertices, walls between parts, folds;
text: UTF-16, carriage returns, continued lines, negative indices, decimal commas;
PLY: byte orders, wide list lengths, mixed faces, extra properties and elements.
"""

import base64
import struct

import numpy as np
import pytest
import trimesh
from skimage.measure import marching_cubes

from tpifu.errors import DataError
from tpifu.geometry.import_mesh.load import load_mesh
from tpifu.geometry.inside import Inside
from tpifu.geometry.mesh import watertight_error

BOX = trimesh.creation.box((0.4, 1.8, 0.2))
U = [(-5, -7), (5, -7), (5, 8), (3, 8), (3, -3), (-3, -3), (-3, 8), (-5, 8)]


@pytest.fixture
def load(tmp_path):
    """A function that stores a mesh or bytes in a file and loads it, with its own origin."""

    def store_and_load(content, name="mesh.ply", **options):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.export(path)
        return load_mesh(path, **{"centred": False, **options})

    return store_and_load


def raw(vertices, faces) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices, faces, process=False)


def obj(vertices, polygons) -> bytes:
    lines = ["v {} {} {}".format(*vertex) for vertex in vertices]
    lines += ["f " + " ".join(str(index + 1) for index in polygon) for polygon in polygons]
    return "\n".join(lines).encode()


def ply(vertices, polygons, encoding="ascii", length="uchar", extra=False) -> bytes:
    """A PLY file; `extra` adds a property after the lists and an element before the vertices."""
    header = [f"ply\nformat {encoding} 1.0\ncomment made by hand"]
    header += ["element camera 1\nproperty list uchar short ids\nproperty double t"] * extra
    header += [f"element vertex {len(vertices)}"]
    header += [f"property double {axis}" for axis in "xyz"]
    header += [f"element face {len(polygons)}", f"property list {length} int vertex_indices"]
    header += ["property float quality"] * extra
    start = ("\n".join(header) + "\nend_header\n").encode()
    if encoding == "ascii":
        rows = ["2 7 8 0.5"] * extra + ["{} {} {}".format(*vertex) for vertex in vertices]
        rows += [" ".join(map(str, [len(p), *p, *[0.5] * extra])) for p in polygons]
        return start + "\n".join(rows).encode()
    order = "<" if "little" in encoding else ">"
    code = {"uchar": "B", "ushort": "H", "int": "i"}[length]
    rows = [struct.pack(f"{order}Bhhd", 2, 7, 8, 0.5)] * extra
    rows += [struct.pack(f"{order}3d", *vertex) for vertex in vertices]
    rows += [
        struct.pack(f"{order}{code}{len(p)}i{int(extra)}f", len(p), *p, *[0.5] * extra)
        for p in polygons
    ]
    return start + b"".join(rows)


def off(vertices, polygons) -> bytes:
    rows = ["OFF # made by hand", f"{len(vertices)} {len(polygons)} 0"]
    rows += ["{} {} {}".format(*vertex) for vertex in vertices]
    rows += [" ".join(map(str, [len(polygon), *polygon])) for polygon in polygons]
    return "\n".join(rows).encode()


def prism(outline, depth=1.5):
    """Vertices and polygons of a prism: two n-gons and a ring of quads."""
    n = len(outline)
    vertices = [(x / 10, y / 10, z) for z in (-depth / 10, depth / 10) for x, y in outline]
    ring = [(i, (i + 1) % n, n + (i + 1) % n, n + i) for i in range(n)]
    return vertices, [tuple(range(n, 2 * n)), tuple(range(n))[::-1], *ring]


# A slit leads to the hole of the keyhole; the dart is a quad that is not convex.
OUTLINES = {
    "u": (U, [(0, 5), (4.9, 8.5)], [(4, 5), (0, -5)]),
    "dart": ([(-5, -5), (0, 5), (5, -5), (0, 0)], [(0, -2)], [(0, 2)]),
    "keyhole": (
        [
            *[(-5, -5), (5, -5), (5, 5), (-5, 5), (-5, 0)],
            *[(-2, 0), (-2, 2), (2, 2), (2, -2), (-2, -2), (-2, 0), (-5, 0)],
        ],
        [(0, 0)],
        [(-4, 0.1), (4, 0)],
    ),
    "straight": ([(-5, -5), (0, -5), (5, -5), (5, 5), (2, 5), (-5, 5)], [(6, 0)], [(4, 4)]),
}


def area(outline) -> float:
    x, y = np.transpose(outline)
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


@pytest.mark.parametrize("write", [obj, ply, off])
@pytest.mark.parametrize("shape", OUTLINES)
def test_polygons_need_not_be_convex(load, write, shape):
    outline, outside, inside = OUTLINES[shape]
    outline = outline if area(outline) > 0 else outline[::-1]
    mesh = load(write(*prism(outline)), f"mesh.{write.__name__}")
    assert mesh.volume() == pytest.approx(area(outline) * 3 / 1000, rel=1e-5)
    # The triangles cover the polygons once: a fan covers more than their area.
    flat = np.cross(*np.moveaxis(np.diff(mesh.corners(), axis=1), 1, 0))
    assert np.abs(flat[:, 2]).sum() / 2 == pytest.approx(2 * area(outline) / 100, rel=1e-5)
    points = np.array([(x / 10, y / 10, 0.01) for x, y in outside + inside])
    assert Inside(mesh)(points).tolist() == [False] * len(outside) + [True] * len(inside)
    assert watertight_error(mesh.faces) is None


def test_a_bent_quad_and_repeated_corners_keep_a_surface_closed(load):
    vertices, polygons = prism([(-5, -5), (5, -5), (5, 5), (-5, 5)])
    vertices[6] = (0.5, 0.5, 0.3)
    polygons[2] = (0, 0, 1, 5, 5, 4)
    mesh = load(obj(vertices, polygons), "mesh.obj")
    assert watertight_error(mesh.faces) is None
    assert len(mesh.faces) == 12


@pytest.mark.parametrize("kind", ["ply", "obj", "stl", "off", "glb", "gltf"])
def test_common_formats_are_read_scaled_and_centred(load, kind):
    box = raw(BOX.vertices * 1000 + [5000, 0, 0], BOX.faces)
    content = box.export(file_type=kind) if kind != "gltf" else embedded(box)
    content = content.encode() if isinstance(content, str) else content
    mesh = load(content, f"mesh.{kind}", scale=0.001, centred=True)
    assert watertight_error(mesh.faces) is None
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-0.2, -0.9, -0.1], atol=1e-5)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [0.4, 1.8, 0.2], atol=1e-5)


def embedded(mesh) -> bytes:
    """A .gltf file with its buffers inside."""
    files = trimesh.exchange.gltf.export_gltf(trimesh.Scene(mesh), merge_buffers=True)
    (buffer,) = (data for name, data in files.items() if name.endswith(".bin"))
    (name,) = (name for name in files if name.endswith(".bin"))
    uri = "data:application/octet-stream;base64," + base64.b64encode(buffer).decode()
    return files["model.gltf"].replace(name.encode(), uri.encode())


def test_z_up_is_turned_about_x(load):
    cone = trimesh.creation.cone(0.2, 1.8)  # the tip points to +z
    cone.apply_translation([0.3, -0.1, 0])
    mesh = load(cone, up="z")
    np.testing.assert_allclose(
        mesh.vertices[mesh.vertices[:, 1].argmax()], [0.3, 1.8, 0.1], atol=1e-6
    )
    assert mesh.volume() == pytest.approx(cone.volume, rel=1e-5)


def ball(radius, x=0.0, inverted=False) -> trimesh.Trimesh:
    sphere = trimesh.creation.icosphere(2, radius)
    sphere.apply_translation((x, 0, 0))
    if inverted:
        sphere.invert()
    return sphere


@pytest.mark.parametrize("kind", ["ply", "stl", "obj"])
@pytest.mark.parametrize(
    ("parts", "inside", "outside"),
    [
        ([ball(0.6), ball(0.2, 0.9, True)], [0, 0.9], [0.65]),
        ([ball(0.6, 0, True), ball(0.2, 0.9)], [0, 0.9], [0.65]),
        ([ball(0.6, 0, True), ball(0.2, 0.9, True)], [0, 0.9], [0.65]),
        ([ball(0.2), ball(0.6, 1, True)], [0, 1], [0.3]),  # the larger one is inverted
        ([ball(0.6), ball(0.2, 0, True)], [0.4], [0, 0.65]),  # a cavity
        ([ball(0.6, 0, True), ball(0.2)], [0.4], [0, 0.65]),  # the same, inside out
        ([ball(0.6), ball(0.2, 0.55, True)], [0, 0.45, 0.7], [0.8]),  # an eyeball sticks out
        ([ball(0.6), ball(0.2)], [0, 0.4], [0.65]),
    ],
)
def test_parts_face_outwards_and_cavities_stay_empty(load, kind, parts, inside, outside):
    mesh = load(trimesh.util.concatenate(parts), f"mesh.{kind}")
    points = np.array([(x, 0, 0) for x in inside + outside])
    assert Inside(mesh)(points).tolist() == [True] * len(inside) + [False] * len(outside)


def test_two_materials_and_split_vertices_are_one_surface(load):
    sphere = ball(0.6)
    upper = sphere.triangles_center[:, 1] > 0
    halves = [raw(sphere.vertices, sphere.faces[which]) for which in (upper, ~upper)]
    text = (
        "".join("v {:.6f} {:.6f} {:.6f}\n".format(*v) for v in sphere.vertices)
        + "vt 0 0\nvn 0 1 0\n"
    )
    for name, half in zip("ab", halves, strict=True):
        text += f"o {name}\ng {name}\nusemtl {name}\n"
        text += "".join("f {}/1/1 {}//1 {}\n".format(*face + 1) for face in half.faces)
    scene = trimesh.Scene(halves)
    soup = sphere.copy()
    soup.unmerge_vertices()
    for content, name in (
        (text.encode(), "mesh.obj"),
        (scene, "mesh.glb"),
        (raw(soup.vertices, soup.faces), "mesh.ply"),
    ):
        mesh = load(content, name)
        assert watertight_error(mesh.faces) is None
        assert len(mesh.faces) == len(sphere.faces)
        assert mesh.volume() == pytest.approx(sphere.volume, rel=1e-4)


def test_coincident_vertices_of_a_closed_surface_stay(load):
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij")
    field = np.round(1 - np.sqrt((x / 0.5) ** 2 + (y / 0.9) ** 2 + (z / 0.4) ** 2), 1)
    vertices, faces, _, _ = marching_cubes(field, 0)
    vertices = vertices * (2 / 39) - 1
    assert len(np.unique(vertices, axis=0)) < len(vertices)
    truth = raw(vertices, faces).volume
    kept = load(obj(vertices, faces), "mesh.obj")
    assert (len(kept.vertices), len(kept.faces)) == (len(vertices), len(faces))
    merged = load(raw(vertices, faces), "mesh.stl")  # STL has no indices
    for mesh in (kept, merged):
        assert watertight_error(mesh.faces) is None
        assert mesh.volume() == pytest.approx(abs(truth), rel=1e-5)


@pytest.mark.parametrize("kind", ["ply", "stl"])
@pytest.mark.parametrize("shift", [(0.4, 0, 0), (0.4, 1.8, 0), (0.4, 1.8, 0.2)])
def test_closed_parts_that_touch_are_closed(load, kind, shift):
    """They share a face, an edge or a vertex. STL merges them; a shared wall is removed."""
    mirrored = BOX.copy().apply_transform(np.diag([-1, 1, 1, 1])).apply_translation(shift)
    mesh = load(raw(*joined(BOX, mirrored)), f"mesh.{kind}")
    assert mesh.volume() == pytest.approx(2 * BOX.volume, rel=1e-5)
    points = np.array([(0, 0.3, 0), np.add(shift, (0, 0.3, 0)), (0.5, -1, 0)])
    assert Inside(mesh)(points).tolist() == [True, True, False]
    assert len(mesh.faces) == (20 if kind == "stl" and shift[1] == 0 else 24)


def joined(*meshes):
    combined = trimesh.util.concatenate(meshes)
    return combined.vertices, combined.faces


@pytest.mark.parametrize("faces", [[[0, 0, 1]], [[3, 3, 3]], [[0, 1, 8], [0, 8, 1]]])
def test_degenerate_faces_folds_and_unused_vertices_are_dropped(load, faces):
    vertices = np.vstack([BOX.vertices, [[5, 5, 5], [np.nan, 0, 0]]])
    mesh = load(obj(vertices, np.vstack([faces, BOX.faces])), "mesh.obj")
    assert (len(mesh.vertices), len(mesh.faces)) == (8, 12)
    assert mesh.volume() == pytest.approx(BOX.volume, rel=1e-5)


def test_a_part_without_thickness_is_dropped(load):
    """It would be drawn, but it contains no point."""
    card = raw(BOX.vertices * [1, 1, 0] + [1, 0, 0], BOX.faces)
    for content, name in (
        (raw(*joined(BOX, card)), "mesh.ply"),
        (raw(*joined(card, BOX)), "mesh.stl"),
    ):
        mesh = load(content, name)
        assert (len(mesh.vertices), len(mesh.faces)) == (8, 12)
        np.testing.assert_allclose(mesh.vertices.max(axis=0), [0.2, 0.9, 0.1])


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (BOX.vertices, BOX.faces[1:], "not watertight: 3 edges .* one face .*Make Manifold"),
        (BOX.vertices, [BOX.faces[0, ::-1], *BOX.faces[1:]], "flipped .*Recalculate Outside"),
        (BOX.vertices, [*BOX.faces, BOX.faces[0]], "1 faces are stored twice; .*Merge by"),
        (*joined(BOX, BOX), "12 faces are stored twice"),
        (
            np.where(BOX.vertices == BOX.vertices[3], np.nan, BOX.vertices),
            BOX.faces,
            r"vertex \d lies at \(.*nan.*\); repair",
        ),
        (np.where(BOX.vertices > 0.8, np.inf, BOX.vertices), BOX.faces, "vertex . lies at .*inf"),
        (BOX.vertices * 1e300, BOX.faces, "vertex 1 lies at .*e.299"),
        (BOX.vertices * [1, 1, 0], BOX.faces, "encloses no volume"),
        (BOX.vertices, BOX.faces + 1, "a face uses vertex 9, but the file has 8"),
        (BOX.vertices, BOX.faces[:0], "contains no triangles"),
    ],
)
def test_an_unusable_surface_is_rejected_with_its_reason(load, vertices, faces, message):
    with pytest.raises(DataError, match=rf"mesh\.obj: .*{message}"):
        load(obj(vertices, faces), "mesh.obj")


def test_parts_that_share_one_face_are_rejected(load):
    mirrored = BOX.copy().apply_transform(np.diag([-1, 1, 1, 1])).apply_translation((0.4, 0, 0))
    vertices, faces = joined(BOX, mirrored)
    wall = np.isclose(vertices[faces][:, :, 0], 0.2).all(axis=1)
    wall[: len(BOX.faces)] = False
    with pytest.raises(DataError, match=r"three or more faces .*Interior Faces"):
        load(raw(vertices, faces[~wall]))


def test_the_lines_of_obj_are_read_as_the_format_defines_them(load):
    vertices, polygons = prism(OUTLINES["straight"][0])
    plain = obj(vertices, polygons)
    truth = load(plain, "mesh.obj")
    lines = plain.decode().split("\n")
    count = len(vertices)
    last = [f"f {' '.join(str(i - count) for i in polygon)}" for polygon in polygons]
    other = obj(np.add(vertices, [3, 0, 0]), []).decode()
    relative = "\n".join(["mtllib none.mtl", *lines[:count], "s 1", "l 1 2", "p 1", *last, other])
    variants = {
        "a byte-order mark": b"\xef\xbb\xbf" + plain,
        "UTF-16": plain.decode().encode("utf-16"),
        "carriage returns": plain.replace(b"\n", b"\r\n"),
        "continued lines": plain.replace(b"f 1 ", b"f 1 \\\n "),
        "comments": b"# caf\xe9\n" + plain.replace(b"\n", b" # note\n"),
        "vertex colours": plain.replace(b"\nv", b" 1 0 0.5\nv"),
        "negative indices": relative.encode(),
    }
    for name, content in variants.items():
        mesh = load(content, "mesh.obj")
        np.testing.assert_array_equal(mesh.vertices, truth.vertices, err_msg=name)
        np.testing.assert_array_equal(mesh.faces, truth.faces, err_msg=name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"v 0,5 1 2\n", "line 1: could not convert string to float: '0,5'"),
        (b"v 0 1\n", "line 1: not enough values"),
        (b"v 0 1 2\nf 1 1 0\n", "a face uses vertex 0, but the file has 1"),
        (b"cstype bspline\nsurf 0 1 0 1 1 2\n", "line 1: 'cstype' is a curved surface"),
    ],
)
def test_a_broken_or_curved_obj_names_its_line(load, content, message):
    with pytest.raises(DataError, match=message):
        load(content, "mesh.obj")


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("length", ["uchar", "ushort", "int"])
@pytest.mark.parametrize("extra", [False, True])
def test_ply_is_read_in_all_encodings(load, encoding, length, extra):
    vertices, polygons = prism(U)
    truth = load(obj(vertices, polygons), "mesh.obj")
    mesh = load(ply(vertices, polygons, encoding, length, extra))
    np.testing.assert_array_equal(mesh.vertices, truth.vertices)
    np.testing.assert_array_equal(mesh.faces, truth.faces)
    triangles = load(ply(BOX.vertices, BOX.faces, encoding, length, extra))
    np.testing.assert_array_equal(triangles.faces, BOX.faces)


def test_files_that_hold_no_mesh_are_rejected(load, tmp_path):
    strips = ply(BOX.vertices, []).replace(b"element face", b"element tristrips")
    for content, name, message in (
        (trimesh.PointCloud(BOX.vertices), "cloud.ply", "contains no triangles"),
        (strips, "strips.ply", "stores triangle strips; export triangles"),
        (b"hello", "text.ply", "cannot read this mesh"),
        (b"hello", "text.stl", "neither a binary file"),
        (b"hello", "text.off", "cannot read this mesh"),
        (
            BOX.export(file_type="stl")[:-1],
            "short.stl",
            "neither a binary file of the stated length",
        ),
        (BOX.export(file_type="stl_ascii")[:-60].encode(), "cut.stl", "nor a complete ASCII file"),
        (b"Kaydara", "body.fbx", "unknown mesh format '.fbx'; export one of .glb, "),
        (ply(BOX.vertices, BOX.faces)[:-9], "short.ply", "the file ends early"),
    ):
        with pytest.raises(DataError, match=rf"{name}: .*{message}"):
            load(content, name)
    with pytest.raises(DataError, match=r"none\.obj: no such mesh file"):
        load_mesh(tmp_path / "none.obj")


def test_several_solids_of_an_stl_file_are_one_mesh(load):
    solids = [ball(0.6), ball(0.2, 0.9)]
    text = "".join(solid.export(file_type="stl_ascii") + "\n" for solid in solids)
    mesh = load(text.encode(), "mesh.stl")
    assert mesh.volume() == pytest.approx(sum(solid.volume for solid in solids), rel=1e-5)
