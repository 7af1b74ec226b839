import io
import json
import pickle
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tpifu.errors import DataError
from tpifu.geometry.mesh import Mesh
from tpifu.shards.coding import (
    POINT_HALF,
    POINT_STEP,
    decode_png,
    dequantise,
    pack_codes,
    png,
    quantise,
    unpack_bits,
    unpack_codes,
)
from tpifu.shards.meshes import MeshFrame, MeshReader, write_meshes
from tpifu.shards.reader import Shards
from tpifu.shards.schema import SCHEMAS, VERSION, item_seed
from tpifu.shards.writer import ShardWriter

FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], np.int32)


def point_rows(split: str, clip: str, frames: int) -> list[dict]:
    rng = np.random.default_rng(item_seed(0, clip, 0))
    return [
        {
            "split": split,
            "sequence": "walk",
            "clip": clip,
            "frame": frame,
            "points": pack_codes(rng.integers(-9, 9, (4, 3)).astype(np.int16)),
            "inside": bytes([frame]),
            "grid": None if split == "train" else b"\x80",
        }
        for frame in range(frames)
    ]


def write(folder, groups, metadata) -> None:
    writer = ShardWriter(folder, "points", metadata)
    for rows in groups:
        writer.add([rows])
    writer.finish()


def mesh_clips(rng: np.random.Generator) -> list[list[MeshFrame]]:
    def frame(clip, number, faces):
        vertices = rng.normal(size=(4, 3)).astype(np.float32)
        return MeshFrame(
            split="train" if clip != "c" else "test",
            sequence=f"s_{clip}",
            clip=clip,
            frame=number,
            source_frame=5 * number,
            gender="female",
            mesh=Mesh(vertices, faces),
            joints=np.array([0, 3, 23, 1], np.int8) if clip == "c" else None,
        )

    other = FACES[:, ::-1].copy()
    return [[frame(clip, t, other if clip == "b" else FACES) for t in range(3)] for clip in "abc"]


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 4]))))
def test_png_encoding_is_lossless(pixels):
    np.testing.assert_array_equal(decode_png(png(pixels)), pixels)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK", "I;16"])
def test_a_stored_image_without_a_mask_is_rejected(mode):
    buffer = io.BytesIO()
    Image.new(mode, (4, 4)).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    with pytest.raises(DataError, match=f"a stored image has mode {mode}, expected LA or RGBA"):
        decode_png(buffer.getvalue())


@given(arrays(np.float64, (5, 3), elements=st.floats(-POINT_HALF, POINT_HALF)))
def test_quantisation_moves_points_by_at_most_half_a_step(points):
    # float32 metres near 2.56 are 2.4e-7 apart.
    np.testing.assert_allclose(dequantise(quantise(points)), points, atol=POINT_STEP / 2 + 2.4e-7)


def test_codes_survive_dequantisation_and_packing():
    codes = np.arange(-32767, 32768, dtype=np.int16)
    codes = np.stack([codes, codes[::-1], codes], axis=1)
    np.testing.assert_array_equal(quantise(dequantise(codes)), codes)
    data = pack_codes(codes)
    assert len(data) == 2 * codes.size
    np.testing.assert_array_equal(unpack_codes(data), codes)
    outside = dequantise(quantise(np.array([[9.0, -9.0, 0.0]])))
    np.testing.assert_allclose(outside, [[POINT_HALF, -POINT_HALF, 0]], rtol=1e-6)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_bits_survive_packing(flags):
    packed = np.packbits(flags).tobytes()
    assert unpack_bits(packed, len(flags)).tolist() == flags


def test_seeds_depend_on_each_part_of_the_key():
    seeds = {tuple(item_seed(s, c, f)) for s in (0, 1) for c in ("a", "b") for f in (0, 1)}
    assert len(seeds) == 8


def test_rows_of_many_shards_are_read_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.shards.writer.SHARD_BYTES", 100)
    folder = tmp_path / "points"
    groups = [point_rows("train", clip, 2) for clip in "abcd"] + [point_rows("test", "e", 1)]
    write(folder, groups, {"sigma": 0.05})
    names = sorted(path.name for path in folder.iterdir())
    assert names[0] == "test-00000.parquet"
    assert names[1:] == [f"train-{n:05d}.parquet" for n in range(len(names) - 1)]
    assert len(names) > 2
    stored = Shards(folder, "points")
    flat = [row for group in groups for row in group]
    assert len(stored) == len(flat)
    assert stored.metadata["sigma"] == 0.05
    # Training rows come first, not in alphabetical order.
    for key in ("split", "clip", "frame"):
        assert stored.index[key].tolist() == [row[key] for row in flat]
    columns, order = ["points", "inside", "grid"], [8, 7, 0, 5, 4, 0]
    for row, found in zip(order, stored.read(order, columns), strict=True):
        assert found == {column: flat[row][column] for column in columns}


def test_shards_written_twice_are_byte_equal(tmp_path):
    for name in ("one", "two"):
        write_meshes(tmp_path / name, mesh_clips(np.random.default_rng(0)), {"a": 1})
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_meshes_are_read_as_written(tmp_path):
    clips = mesh_clips(np.random.default_rng(0))
    write_meshes(tmp_path / "meshes", clips, {})
    reader = MeshReader(tmp_path / "meshes")
    assert [len(clip.read()) for clip in reader.clips()] == [3, 3, 3]
    # Each pair of faces and joints is stored once:
    assert pq.read_table(tmp_path / "meshes" / "faces.parquet").num_rows == 3
    for stored, clip in zip(reader.clips(), clips, strict=True):
        rows = reader.clip(clip[0].split, clip[0].clip)
        for found, given_, again in zip(stored.read(), clip, reader.read(rows), strict=True):
            np.testing.assert_array_equal(found.mesh.vertices, again.mesh.vertices)
            np.testing.assert_array_equal(found.mesh.vertices, given_.mesh.vertices)
            np.testing.assert_array_equal(found.mesh.faces, given_.mesh.faces)
            np.testing.assert_array_equal(found.joints, given_.joints)
            for name in ("split", "sequence", "clip", "frame", "source_frame", "gender"):
                assert getattr(found, name) == getattr(given_, name)


def test_pandas_and_arrow_read_a_shard(tmp_path):
    write(tmp_path / "points", [point_rows("train", "a", 2)], {"sigma": 0.05})
    path = tmp_path / "points" / "train-00000.parquet"
    frame = pq.read_table(path).to_pandas()
    assert frame["clip"].tolist() == ["a", "a"]
    header = json.loads(pq.read_schema(path).metadata[b"tpifu"])
    assert header == {"kind": "points", "version": VERSION, "sigma": 0.05}


def test_a_pickled_reader_opens_its_own_files(tmp_path):
    write(tmp_path / "points", [point_rows("train", "a", 2)], {})
    stored = Shards(tmp_path / "points", "points")
    stored.read([0], ["points"])
    again = pickle.loads(pickle.dumps(stored))
    assert again.read([1], ["points"]) == stored.read([1], ["points"])


def test_an_unreadable_folder_is_rejected_in_one_line(tmp_path):
    def rejected(folder, kind, message):
        with pytest.raises(DataError) as caught:
            Shards(folder, kind)
        assert re.search(message, str(caught.value)), caught.value
        assert "\n" not in str(caught.value)

    folder = tmp_path / "points"
    rejected(folder, "points", r"points: no such folder; write points there first")
    folder.mkdir()
    rejected(folder, "points", r"points: has no \*\.parquet shards")
    (folder / "train-00000.parquet").write_text("hello")
    rejected(folder, "points", r"train-00000\.parquet: not a readable Parquet file")
    pq.write_table(pa.table({"split": ["train"]}), folder / "train-00000.parquet")
    rejected(folder, "points", r"foreign version \?, expected points version 5; write it again")
    (folder / "train-00000.parquet").unlink()
    write(folder, [point_rows("train", "a", 2)], {})
    rejected(folder, "views", r"holds points, not views; pass the folder")
    old = pq.read_table(folder / "train-00000.parquet").replace_schema_metadata(
        {"tpifu": json.dumps({"kind": "points", "version": 0})}
    )
    pq.write_table(old, folder / "train-00000.parquet")
    rejected(folder, "points", r"points version 0, expected points version 5")
    whole = (folder / "train-00000.parquet").read_bytes()
    (folder / "train-00000.parquet").write_bytes(whole[: len(whole) // 2])
    rejected(folder, "points", r"not a readable Parquet file")


def test_damaged_data_is_an_error(tmp_path):
    write_meshes(tmp_path / "meshes", mesh_clips(np.random.default_rng(0)), {})
    (whole, *_) = MeshReader(tmp_path / "meshes").clips()
    path = tmp_path / "meshes" / "train-00000.parquet"
    data = bytearray(path.read_bytes())
    column = (
        pq.ParquetFile(path).metadata.row_group(0).column(SCHEMAS["meshes"].names.index("vertices"))
    )
    end = column.data_page_offset + column.total_compressed_size
    data[end - 5 : end] = bytes(255 - byte for byte in data[end - 5 : end])
    path.write_bytes(data)
    reader = MeshReader(tmp_path / "meshes")
    for read in (whole.read, lambda: reader.read([0])):
        with pytest.raises(DataError, match=r"train-00000\.parquet: not a readable Parquet file"):
            read()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", r"not a readable Parquet file"),
        ("[1]", r"not a readable Parquet file \(its metadata are not a JSON object\)"),
        ("[" * 10_000, "not a readable Parquet file"),
    ],
)
def test_metadata_that_are_no_object_are_rejected(tmp_path, header, message):
    write(tmp_path / "points", [point_rows("train", "a", 2)], {})
    path = tmp_path / "points" / "train-00000.parquet"
    table = pq.read_table(path).replace_schema_metadata({"tpifu": header})
    pq.write_table(table, path)
    with pytest.raises(DataError, match=rf"train-00000\.parquet: {message}"):
        Shards(tmp_path / "points", "points")


def test_missing_metadata_are_named(tmp_path):
    write(tmp_path / "points", [point_rows("train", "a", 2)], {})
    with pytest.raises(DataError, match="the metadata of the shards lack 'grid'; write the shards"):
        Shards(tmp_path / "points", "points").metadata["grid"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("grid"), "other columns than points"),
        (lambda t: t.set_column(3, "frame", pa.array([0.0, 1.0])), "other columns than points"),
        (lambda t: t.set_column(0, "split", pa.array(["test"] * 2)), "rows of another split"),
        (lambda t: t.set_column(3, "frame", pa.array([0, None], pa.int32())), "not a readable"),
        (lambda t: t.set_column(4, "points", pa.array([b"", None])), "a row .* has no points"),
    ],
)
def test_other_columns_and_missing_values_are_rejected(tmp_path, change, message):
    write(tmp_path / "points", [point_rows("train", "a", 2)], {})
    path = tmp_path / "points" / "train-00000.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(DataError, match=message):
        Shards(tmp_path / "points", "points").read([1], ["points"])


@pytest.mark.parametrize(
    ("faces", "joints", "message"),
    [
        ([0, 1, 4], None, "faces without vertices"),
        ([0, 1, -1], None, "faces without vertices"),
        ([], None, "faces without vertices"),
        ([0, 1, 2], [0, 1, 2], "vertices without joints"),
        ([0, 1, 2], [0, 1, 2, 24], "vertices without joints"),
    ],
)
def test_a_mesh_that_contradicts_itself_is_rejected(tmp_path, faces, joints, message):
    rng = np.random.default_rng(0)
    write_meshes(tmp_path / "meshes", mesh_clips(rng), {})
    path = tmp_path / "meshes" / "faces.parquet"
    table = pq.read_table(path)
    row = {"topology": 0, "faces": faces, "joints": joints}
    pq.write_table(pa.Table.from_pylist([row], schema=table.schema), path)
    with pytest.raises(DataError, match=f"a stored mesh has {message}; write the meshes again"):
        MeshReader(tmp_path / "meshes").read([0])


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_a_damaged_image_is_rejected(data):
    whole = png(np.full((4, 4, 2), 9, np.uint8))
    for content in (data, whole[: len(whole) // 2]):
        with pytest.raises(DataError, match="a stored image is damaged"):
            decode_png(content)


def test_incomplete_points_and_labels_are_rejected():
    with pytest.raises(DataError, match="a stored point is incomplete"):
        unpack_codes(bytes(7))
    with pytest.raises(DataError, match="a stored point or cell has no label"):
        unpack_bits(b"\0", 9)


def test_meshes_without_faces_are_rejected(tmp_path):
    write_meshes(tmp_path / "meshes", mesh_clips(np.random.default_rng(0)), {})
    (tmp_path / "meshes" / "faces.parquet").unlink()
    with pytest.raises(DataError, match=r"faces\.parquet: not a readable Parquet file \(.*No such"):
        MeshReader(tmp_path / "meshes")
