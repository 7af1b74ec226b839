import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.command import done, refused
from helpers.data import CLIPS, SPLIT_OF
from PIL import Image

from tpifu.pictures.contact_sheet import (
    INSIDE,
    KINDS,
    SAMPLED,
    Key,
    contact_sheet,
    describe,
    open_folder,
    sample,
    tiles,
)
from tpifu.pictures.tiles import TILE
from tpifu.shards.reader import Shards
from tpifu.shards.schema import SPLITS, VERSION


def of_split(split: str) -> dict[str, int]:
    return {name: length for name, length in CLIPS.items() if SPLIT_OF[name[0]] == split}


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_the_data(tiny, kind):
    (stored,) = open_folder(tiny / kind)
    found = describe(stored)
    assert (found["kind"], found["version"]) == (kind, VERSION)
    assert found["bytes"] == sum(path.stat().st_size for path in (tiny / kind).iterdir())
    assert list(found["splits"]) == list(SPLITS)
    for split, counts in found["splits"].items():
        clips = of_split(split)
        frames, views = sum(clips.values()), 2 if kind == "views" else 1
        assert counts["frames"] == frames
        assert counts["rows"] == frames * views
        assert counts["clips"] == counts["sequences"] == len(clips)
        assert counts["bytes"] == (tiny / kind / f"{split}-00000.parquet").stat().st_size


def test_each_split_gives_a_few_of_its_frames_and_all_kinds_the_same(tiny):
    meshes, views, points = (sample(stored) for stored in open_folder(tiny))
    assert meshes == views == points
    assert len(set(meshes)) == len(meshes)
    for split in SPLITS:
        own = [key for key in meshes if key.split == split]
        assert len(own) == min(SAMPLED, sum(of_split(split).values()))
        for key in own:
            assert key.frame < CLIPS[key.clip.split("/")[1].removesuffix("_c0001")]


@pytest.mark.parametrize("kind", KINDS)
def test_only_rows_of_the_sheet_are_read(tiny, kind, tmp_path, monkeypatch):
    rows: set[int] = set()
    read = Shards.read

    def recorded(self, wanted, columns):
        rows.update(wanted)
        return read(self, wanted, columns)

    monkeypatch.setattr(Shards, "read", recorded)
    (stored,) = open_folder(tiny / kind)
    describe(stored)
    assert rows == set()
    contact_sheet([stored], tmp_path / "sheet.png")
    assert 0 < len(rows) < len(stored)


def test_points_inside_lie_on_the_mesh_that_is_drawn_beside_them(tiny):
    meshes, _, points = open_folder(tiny)
    keys = sample(points)
    for bodies, dots_of in zip(tiles(meshes, keys, 2.56), tiles(points, keys, 2.56), strict=True):
        for side in ("front", "side"):
            dots = next(dots_of[name] for name in dots_of if name.startswith(f"points, {side}"))
            fine = bodies[f"mesh\n{side}"].repeat(2, axis=0).repeat(2, axis=1)
            red = (dots == INSIDE).all(axis=-1)
            assert red.any()
            # A point at the very edge may fall into a pixel whose centre is off the body.
            assert (fine[red] < 255).mean() > 0.9


@pytest.mark.parametrize("kind", [*KINDS, ""])
def test_the_sheet_has_a_row_per_frame_and_a_column_per_picture(tiny, kind, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    assert str(path) in done("inspect", tiny / kind, "-o", path).stderr
    folders = open_folder(tiny / kind)
    keys = sample(folders[0])
    columns = sum(len(tiles(stored, keys[:1], 2.56)[0]) for stored in folders)
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[0] // TILE == len(keys)
    assert pixels.shape[1] // TILE == columns
    cells = pixels[-TILE * len(keys) :, -TILE * columns :]
    drawn = (cells < 255).any(axis=2).reshape(-1, TILE, columns, TILE).any(axis=(1, 3))
    assert drawn.any(axis=0).all()
    assert drawn.any(axis=1).all()


def test_a_frame_that_other_shards_lack_is_white_there(tiny):
    key = Key("train", "run0/elsewhere_c0001", 0)
    for stored in open_folder(tiny):
        (found,) = tiles(stored, [key], 2.56)
        assert all((tile == 255).all() for tile in found.values())


def test_json_is_the_description(tiny):
    found = done("inspect", tiny, "--json").stdout
    assert json.loads(found) == [describe(stored) for stored in open_folder(tiny)]


def test_the_tables_show_counts_and_provenance(tiny):
    text = re.sub(r"\s+", " ", done("inspect", tiny / "views").stdout)
    assert f"views, schema version {VERSION}" in text
    assert "meshes.provenance.citation A Book, 1999" in text
    assert "backend embree" in text
    for split in SPLITS:
        assert split in text


def test_files_that_are_no_shards_are_rejected_in_one_line(tiny, tmp_path):
    assert "contains no shards" in refused("inspect", tmp_path)
    assert "contains no shards" in refused("inspect", tmp_path / "missing")
    path = tmp_path / "train-00000.parquet"
    path.write_bytes(b"no Parquet")
    assert f"{path}: not a readable Parquet file" in refused("inspect", tmp_path)
    pq.write_table(pa.table({"x": [1]}), path)
    assert f"{path}: not a tpifu shard of meshes, views, points" in refused("inspect", tmp_path)
    path.write_bytes((tiny / "points" / path.name).read_bytes()[:-9])
    assert str(path) in refused("inspect", tmp_path)
    (tmp_path / "views").mkdir()
    path.rename(tmp_path / "views" / path.name)
    assert "not a readable Parquet file" in refused("inspect", tmp_path)


def test_a_sheet_of_another_format_is_refused(tiny, tmp_path):
    assert ".png" in refused("inspect", tiny, "-o", tmp_path / "sheet.jpg")
    assert not list(tmp_path.iterdir())
