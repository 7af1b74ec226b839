"""Human-readable summary of shard folders: counts, sizes, provenance and a contact sheet.

Reads row keys, and whole rows only for the few frames on the sheet.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Bool, Float

from tpifu.config import Camera
from tpifu.errors import DataError
from tpifu.geometry.camera import calibration, ndc_to_pixel, project
from tpifu.pictures.figures import sheet
from tpifu.pictures.tiles import ANGLES, TILE, Tile, blank, draw_mesh, on_white
from tpifu.shards.coding import decode_png, dequantise, unpack_bits, unpack_codes
from tpifu.shards.meshes import MeshReader
from tpifu.shards.reader import Shards, header_of, readable, require_same_meshes
from tpifu.shards.schema import SPLITS, Kind

SAMPLED = 3
"""Frames of each split on the sheet, evenly spaced."""
SLICE = 0.03
"""The slice shows points within this many metres of the plane z = 0."""
INSIDE, OUTSIDE = (200, 50, 30), (140, 165, 205)
KINDS: tuple[Kind, ...] = ("meshes", "views", "points")


@dataclass(frozen=True)
class Key:
    """A frame in any kind of shards."""

    split: str
    clip: str
    frame: int


def open_folder(data: Path) -> list[Shards]:
    """The shards in `data`, or in its folders meshes, views and points.

    Raises DataError if there are none, or if they are not tpifu's, outdated, damaged or mixed.
    """
    own = [path for split in SPLITS for path in sorted(data.glob(f"{split}-*.parquet"))]
    if own:
        return [Shards(data, _kind(own[0]))]
    found = [Shards(data / kind, kind) for kind in KINDS if (data / kind).is_dir()]
    if not found:
        raise DataError(
            f"{data}: contains no shards, meshes/, views/ or points/; write them first "
            "(dvc repro, or tpifu render)"
        )
    require_same_meshes(*found)
    return found


def _kind(shard: Path) -> Kind:
    with readable(shard), pq.ParquetFile(shard) as file:
        kind = header_of(file).get("kind")
    if kind not in KINDS:
        raise DataError(f"{shard}: not a tpifu shard of {', '.join(KINDS)}; write it again")
    return kind


def describe(shards: Shards) -> dict[str, Any]:
    """Counts by split and metadata, ready for JSON."""
    index, splits = shards.index, {}
    for split in SPLITS:
        own = index["split"] == split
        if not own.any():
            continue
        clips, clip = np.unique(index["clip"][own], return_inverse=True)
        frames = np.unique(np.stack([clip, index["frame"][own]]), axis=1).shape[1]
        files = shards.folder.glob(f"{split}-*.parquet")
        splits[split] = {
            "rows": int(own.sum()),
            "frames": frames,
            **({"views": len(np.unique(index["view"][own]))} if "view" in index else {}),
            "clips": len(clips),
            "sequences": len(np.unique(index["sequence"][own])),
            "bytes": sum(path.stat().st_size for path in files),
        }
    metadata = dict(shards.metadata)
    return {
        "folder": str(shards.folder),
        "kind": metadata.pop("kind"),
        "version": metadata.pop("version"),
        "bytes": sum(path.stat().st_size for path in shards.folder.iterdir()),
        "splits": splits,
        "metadata": metadata,
    }


def sample(shards: Shards) -> list[Key]:
    """SAMPLED frames of each split, spread evenly over its clips."""
    index, keys = shards.index, []
    view = index.get("view", np.zeros(len(shards)))
    for split in SPLITS:
        rows = np.flatnonzero((index["split"] == split) & (view == view[0]))
        count = min(SAMPLED, len(rows))
        for row in rows[(2 * np.arange(count) + 1) * len(rows) // (2 * count or 1)]:
            keys.append(Key(split, str(index["clip"][row]), int(index["frame"][row])))
    return keys


def contact_sheet(folders: Sequence[Shards], path: Path) -> None:
    """Write one row for each sampled frame: its mesh, views and points, where they exist.

    Meshes and points are drawn at one scale; views keep their own.
    """
    keys = sample(folders[0])
    widths = [shards.metadata.get("window", Camera().window) for shards in folders]
    widths += [2 * shards.metadata["half"] for shards in folders if "half" in shards.metadata]
    rows: list[dict[str, Tile]] = [{} for _ in keys]
    for shards in folders:
        for row, own in zip(rows, tiles(shards, keys, max(widths)), strict=True):
            row.update(own)
    labels = [
        "\n".join(
            [key.split, *textwrap.wrap(key.clip.rpartition("/")[2], 17), f"frame {key.frame}"]
        )
        for key in keys
    ]
    sheet([list(row.values()) for row in rows], list(rows[0]), labels).save(path)


def tiles(shards: Shards, keys: Sequence[Key], window: float) -> list[dict[str, Tile]]:
    """Tiles of each frame by heading, `window` metres wide; blank if the shards lack the frame."""
    match shards.metadata["kind"]:
        case "meshes":
            draw = partial(_mesh_tiles, MeshReader(shards.folder), window)
        case "views":
            draw = partial(_view_tiles, shards)
        case _:
            draw = partial(_point_tiles, shards, window)
    return [draw(shards.rows(key.split, key.clip, frame=key.frame)) for key in keys]


def _mesh_tiles(reader: MeshReader, window: float, rows: list[int]) -> dict[str, Tile]:
    found = reader.read(rows)
    drawn = draw_mesh(found[0].mesh if found else None, list(ANGLES.values()), window)
    return {f"mesh\n{name}": tile for name, tile in zip(ANGLES, drawn, strict=True)}


def _view_tiles(shards: Shards, rows: list[int]) -> dict[str, Tile]:
    """Up to four views, which keep their own scale."""
    views = np.unique(shards.index["view"]).tolist()
    result = {f"view {view}": blank() for view in views[:: -(-len(views) // 4)]}
    for row in shards.read(rows, ["view", "image"]):
        if (name := f"view {row['view']}") in result:
            result[name] = on_white(decode_png(row["image"]))
    return result


def _point_tiles(shards: Shards, window: float, rows: list[int]) -> dict[str, Tile]:
    """All points from two sides, and those near the plane z = 0."""
    points, inside = np.zeros((0, 3)), np.zeros(0, bool)
    for row in shards.read(rows, ["points", "inside"]):
        points = dequantise(unpack_codes(row["points"]))
        inside = unpack_bits(row["inside"], len(points))
    near = np.abs(points[:, 2]) < SLICE
    front, side = ANGLES["front"], ANGLES["side"]
    return {
        "points, front\nred: inside": _scatter(points, inside, front, window, width=1),
        "points, side": _scatter(points, inside, side, window, width=1),
        f"points\n|z| < {SLICE:g} m": _scatter(points[near], inside[near], front, window, width=3),
    }


def _scatter(
    points: Float[np.ndarray, "n 3"],
    inside: Bool[np.ndarray, " n"],
    yaw: float,
    window: float,
    *,
    width: int,
) -> Tile:
    """Points as squares of `width` pixels, inside points on top, clipped to the window.

    Drawn at twice the size of a tile, so that shrinking smooths them.
    """
    size = 2 * TILE
    image = np.full((size, size, 3), 255, np.uint8)
    pixels = ndc_to_pixel(project(calibration(yaw, window), points), size, size).astype(int)
    reach = np.arange(width) - width // 2
    for kind, colour in ((~inside, OUTSIDE), (inside, INSIDE)):
        column, row = pixels[kind].T
        for down, right in product(reach, reach):
            image[(row + down).clip(0, size - 1), (column + right).clip(0, size - 1)] = colour
    return image
