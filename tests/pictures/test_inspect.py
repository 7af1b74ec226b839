import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.data import CLIPS, SPLIT_OF
from PIL import Image
from typer.testing import CliRunner

from tpifu.cli.app import app
from tpifu.errors import DataError
from tpifu.pictures.contact_sheet import (
    INSIDE,
    SAMPLED,
    Key,
    Meshes,
    Points,
    Views,
    describe,
    open_folder,
    sample,
)
from tpifu.pictures.tiles import TILE
from tpifu.shards.reader import Shards
from tpifu.shards.schema import SPLITS, VERSION
from tpifu.shards.writer import ShardWriter

KINDS = ("meshes", "views", "points")


def tpifu(*arguments):
    result = CliRunner().invoke(app, ["inspect", *(str(argument) for argument in arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def of_split(split: str) -> dict[str, int]:
    return {name: length for name, length in CLIPS.items() if SPLIT_OF[name[0]] == split}


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_the_data(tiny, kind):
    (kept,) = open_folder(tiny / kind)
    found = describe(kept)
    assert (found["kind"], found["version"]) == (kind, VERSION)
    assert found["bytes"] == sum(path.stat().st_size for path in (tiny / kind).iterdir())
    assert list(found["splits"]) == list(SPLITS)
    for split, counts in found["splits"].items():
        clips = of_split(split)
        frames, views = sum(clips.values()), 2 if kind == "views" else 1
        groups = {"meshes": len(clips), "views": 2 * len(clips), "points": frames}[kind]
        assert counts["frames"] == frames
        assert counts["rows"] == frames * views
        assert counts["clips"] == counts["sequences"] == len(clips)
        assert counts["row_groups"] == groups
        assert counts["files"] == 1


def test_sampled_frames_are_measured(tiny):
    meshes, views, points = (describe(kept)["sampled"] for kept in open_folder(tiny))
    (reader,) = open_folder(tiny / "meshes")
    (frame,) = reader.reader.read([0])
    assert meshes["vertices"] == [len(frame.mesh.vertices)]
    assert meshes["faces"] == [len(frame.mesh.faces)]
    low, high = meshes["height_m"]
    assert 0.5 < low <= high <= 1.4 + 1e-6  # a capsule 1.4 m long that leans
    assert views["size_px"] == [32]
    assert views["channels"] == [2]
    assert points["points"] == [400]
    assert all(0 < share < 1 for share in points["inside_share"])


def test_each_split_gives_a_few_of_its_frames_and_all_kinds_the_same(tiny):
    meshes, views, points = (sample(kept) for kept in open_folder(tiny))
    assert meshes == views == points
    assert len(set(meshes)) == len(meshes)
    for split in SPLITS:
        own = [key for key in meshes if key.split == split]
        assert len(own) == min(SAMPLED, sum(of_split(split).values()))
        for key in own:
            assert key.frame < CLIPS[key.clip.split("/")[1].removesuffix("_c0001")]


@pytest.mark.parametrize("kind", KINDS)
def test_only_sampled_rows_are_read(tiny, kind, monkeypatch):
    rows: list[int] = []
    read = Shards.read

    def recorded(self, wanted, columns):
        rows.extend(wanted)
        return read(self, wanted, columns)

    monkeypatch.setattr(Shards, "read", recorded)
    (kept,) = open_folder(tiny / kind)
    keys = sample(kept)
    describe(kept)
    assert len(rows) == len(keys)
    assert len(set(rows)) < len(kept.shards)


def test_points_inside_lie_on_the_mesh_that_is_drawn_beside_them(tiny):
    meshes, points = Meshes(tiny / "meshes"), Points(tiny / "points")
    for key in sample(points):
        front, side, _ = meshes.tiles(key, 2.56)
        shown = points.tiles(key, 2.56)
        for body, dots in zip((front, side), shown[:2], strict=True):
            fine = body.repeat(2, axis=0).repeat(2, axis=1)
            red = (dots == INSIDE).all(axis=-1)
            assert red.any()
            # A point at the very edge may fall into a pixel whose centre is off the body.
            assert (fine[red] < 255).mean() > 0.9


def test_a_moment_beyond_the_clip_is_white(tiny):
    views = Views(tiny / "views")
    clip = "run0/a_walk_c0001"
    before, first, after, other = views.tiles(Key("train", clip, 0), 2.56)
    assert (before == 255).all()
    assert all((tile < 255).any() for tile in (first, after, other))
    *_, beyond, _ = views.tiles(Key("train", clip, CLIPS["a_walk"] - 1), 2.56)
    assert (beyond == 255).all()


@pytest.mark.parametrize("kind", [*KINDS, ""])
def test_the_sheet_has_a_row_a_frame_and_a_column_a_picture(tiny, kind, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    done = tpifu(tiny / kind, "-o", path)
    assert done.exit_code == 0
    assert str(path) in done.stderr
    folders = open_folder(tiny / kind)
    columns = sum(len(kept.columns()) for kept in folders)
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[0] // TILE == len(sample(folders[0]))
    assert pixels.shape[1] // TILE == columns
    cells = pixels[-TILE * len(sample(folders[0])) :, -TILE * columns :]
    drawn = (cells < 255).any(axis=2).reshape(-1, TILE, columns, TILE).any(axis=(1, 3))
    assert drawn.any(axis=0).all()
    assert drawn.any(axis=1).all()


def test_a_frame_that_other_shards_lack_is_white_there(tiny):
    key = Key("train", "run0/elsewhere_c0001", 0)
    for kept in open_folder(tiny):
        tiles = kept.tiles(key, 2.56)
        assert len(tiles) == len(kept.columns())
        assert all((tile == 255).all() for tile in tiles)


def test_json_is_the_description(tiny):
    done = tpifu(tiny, "--json")
    assert json.loads(done.stdout) == [describe(kept) for kept in open_folder(tiny)]


def test_the_tables_tell_counts_and_provenance(tiny):
    text = re.sub(r"\s+", " ", tpifu(tiny / "views").stdout)
    assert f"views, schema version {VERSION}" in text
    assert "meshes.provenance.citation A Book, 1999" in text
    assert "backend embree" in text
    for split in SPLITS:
        assert split in text


def refused(*arguments) -> str:
    result = tpifu(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_what_is_no_shard_is_one_line(tiny, tmp_path):
    assert "holds no shards" in refused(tmp_path)
    assert "holds no shards" in refused(tmp_path / "missing")
    path = tmp_path / "train-00000.parquet"
    path.write_bytes(b"no Parquet")
    assert f"{path}: not a readable Parquet file" in refused(tmp_path)
    pq.write_table(pa.table({"x": [1]}), path)
    assert f"{path}: holds no meshes, views, points of tpifu" in refused(tmp_path)
    path.write_bytes((tiny / "points" / path.name).read_bytes()[:-9])
    assert str(path) in refused(tmp_path)
    (tmp_path / "views").mkdir()
    path.rename(tmp_path / "views" / path.name)
    assert "not a readable Parquet file" in refused(tmp_path)


def test_older_shards_are_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.shards.writer.VERSION", VERSION - 1)
    row = dict.fromkeys(("sequence", "clip"), "a") | {"split": "train", "view": 0, "frame": 0}
    writer = ShardWriter(tmp_path / "views", "views", {})
    writer.add([[row]])
    writer.finish()
    monkeypatch.undo()
    for folder in (tmp_path, tmp_path / "views"):
        with pytest.raises(
            DataError, match=f"views version {VERSION - 1}, expected views version {VERSION}"
        ):
            open_folder(folder)


def test_a_sheet_of_another_format_is_refused(tiny, tmp_path):
    assert ".png" in refused(tiny, "-o", tmp_path / "sheet.jpg")
    assert not list(tmp_path.iterdir())
