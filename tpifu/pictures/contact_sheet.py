"""Human-readable summary of shard folders: counts, sizes, provenance and a contact sheet.

Only row keys are read, and whole rows of the few sampled frames.
"""

import json
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float

from tpifu.errors import DataError
from tpifu.geometry.camera import calibration, ndc_to_pixel, project
from tpifu.pictures.figures import sheet
from tpifu.pictures.tiles import ANGLES, TILE, Tile, blank, draw_mesh, on_white
from tpifu.shards.coding import decode_png, dequantise, unpack_bits, unpack_codes
from tpifu.shards.meshes import MeshReader
from tpifu.shards.reader import Shards
from tpifu.shards.schema import SPLITS

SAMPLED = 3
"""Frames of each split that are measured and drawn, evenly spread."""
SLICE = 0.03
"""The slice shows points within this many metres of the plane z = 0."""
INSIDE, OUTSIDE = (200, 50, 30), (140, 165, 205)


@dataclass(frozen=True)
class Key:
    """One frame, in any kind of shards."""

    split: str
    clip: str
    frame: int


class Contents(ABC):
    """One kind of shards."""

    shards: Shards
    window: float | None = None
    """Width of its images or its box, metres; None for meshes."""

    @abstractmethod
    def measure(self, keys: Sequence[Key]) -> dict[str, list[int | float]]:
        """Properties of some frames: one value, or the smallest and the largest."""

    @abstractmethod
    def columns(self) -> list[str]:
        """Headings of the tiles."""

    @abstractmethod
    def tiles(self, key: Key, window: float) -> list[Tile]:
        """Tiles of one frame, `window` metres wide; blank if the frame does not exist."""


class Meshes(Contents):
    def __init__(self, folder: Path) -> None:
        self.reader = MeshReader(folder)
        self.shards = self.reader.shards

    def measure(self, keys: Sequence[Key]) -> dict[str, list[int | float]]:
        meshes = [frame.mesh for frame in self.reader.read(_rows(self.shards, keys))]
        return {
            "vertices": _range([len(mesh.vertices) for mesh in meshes]),
            "faces": _range([len(mesh.faces) for mesh in meshes]),
            "height_m": _range([float(np.ptp(mesh.vertices[:, 1])) for mesh in meshes]),
            "width_m": _range([2 * float(np.abs(mesh.vertices).max()) for mesh in meshes]),
        }

    def columns(self) -> list[str]:
        return [f"mesh\n{name}" for name in ANGLES]

    def tiles(self, key: Key, window: float) -> list[Tile]:
        found = self.reader.read(_rows(self.shards, [key]))
        return draw_mesh(found[0].mesh if found else None, list(ANGLES.values()), window)


class Views(Contents):
    def __init__(self, folder: Path) -> None:
        self.shards = Shards(folder, "views")
        self.window = self.shards.metadata["window"]
        views = np.unique(self.shards.index["view"]).tolist()
        self.first, *others = views[:: -(-len(views) // 4)]
        self.others = others

    def measure(self, keys: Sequence[Key]) -> dict[str, list[int | float]]:
        rows = _rows(self.shards, keys, view=self.first)
        images = [decode_png(row["image"]) for row in self.shards.read(rows, ["image"])]
        return {
            "size_px": _range([len(image) for image in images]),
            "channels": _range([image.shape[2] for image in images]),
            "covered_share": _range([float((image[..., -1] > 127).mean()) for image in images]),
        }

    def columns(self) -> list[str]:
        moments = ["frame before", "this frame", "frame after"]
        return [f"view {self.first}\n{moment}" for moment in moments] + [
            f"view {view}\nthis frame" for view in self.others
        ]

    def tiles(self, key: Key, window: float) -> list[Tile]:
        clip = [Key(key.split, key.clip, key.frame + step) for step in (-1, 0, 1)]
        wanted = [(moment, self.first) for moment in clip] + [(key, view) for view in self.others]
        tiles = []
        for moment, view in wanted:
            found = self.shards.read(_rows(self.shards, [moment], view=view), ["image"])
            tiles += [on_white(decode_png(row["image"])) for row in found] or [blank()]
        return tiles


class Points(Contents):
    def __init__(self, folder: Path) -> None:
        self.shards = Shards(folder, "points")
        self.window = 2 * self.shards.metadata["half"]

    def measure(self, keys: Sequence[Key]) -> dict[str, list[int | float]]:
        found = [self._read(key) for key in keys]
        return {
            "points": _range([len(inside) for _, inside in found]),
            "inside_share": _range([float(inside.mean()) for _, inside in found]),
        }

    def columns(self) -> list[str]:
        return ["points, front\nred: inside", "points, side", f"points\n|z| < {SLICE:g} m"]

    def tiles(self, key: Key, window: float) -> list[Tile]:
        if not _rows(self.shards, [key]):
            return [blank() for _ in self.columns()]
        points, inside = self._read(key)
        near = np.abs(points[:, 2]) < SLICE
        return [
            _scatter(points, inside, ANGLES["front"], window, width=1),
            _scatter(points, inside, ANGLES["side"], window, width=1),
            _scatter(points[near], inside[near], ANGLES["front"], window, width=3),
        ]

    def _read(self, key: Key) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
        (row,) = self.shards.read(_rows(self.shards, [key]), ["points", "inside"])
        points = dequantise(unpack_codes(row["points"]))
        return points, unpack_bits(row["inside"], len(points))


_KINDS: dict[str, Callable[[Path], Contents]] = {"meshes": Meshes, "views": Views, "points": Points}


def open_folder(data: Path) -> list[Contents]:
    """The shards in `data`, or in its folders meshes, views and points.

    Raises DataError if there are none, or if they are foreign, outdated or damaged.
    """
    own = [path for split in SPLITS for path in sorted(data.glob(f"{split}-*.parquet"))]
    if own:
        return [_KINDS[_kind(own[0])](data)]
    found: list[Contents] = [
        contents(data / kind) for kind, contents in _KINDS.items() if (data / kind).is_dir()
    ]
    if not found:
        raise DataError(
            f"{data}: holds no shards and no folder meshes, views or points; write them first "
            "(dvc repro, or tpifu render)"
        )
    return found


def _kind(shard: Path) -> str:
    try:
        header = json.loads((pq.read_schema(shard).metadata or {}).get(b"tpifu", b"{}"))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{shard}: not a readable Parquet file ({error}); write it again"
        ) from error
    if header.get("kind") not in _KINDS:
        raise DataError(f"{shard}: holds no {', '.join(_KINDS)} of tpifu; write it again")
    return header["kind"]


def describe(contents: Contents) -> dict[str, Any]:
    """Counts by split, properties of the sampled frames and metadata, ready for JSON."""
    shards, index = contents.shards, contents.shards.index
    splits = {}
    for split in SPLITS:
        own = index["split"] == split
        if not own.any():
            continue
        clips, clip = np.unique(index["clip"][own], return_inverse=True)
        frames = np.unique(np.stack([clip, index["frame"][own]]), axis=1).shape[1]
        paths = [path for path in shards.paths if path.name.rpartition("-")[0] == split]
        splits[split] = {
            "rows": int(own.sum()),
            "frames": frames,
            **({"views": len(np.unique(index["view"][own]))} if "view" in index else {}),
            "clips": len(clips),
            "sequences": len(np.unique(index["sequence"][own])),
            "row_groups": sum(path in paths for path, _ in shards.groups),
            "files": len(paths),
            "bytes": sum(path.stat().st_size for path in paths),
        }
    metadata = dict(shards.metadata)
    keys = sample(contents)
    return {
        "folder": str(shards.folder),
        "kind": metadata.pop("kind"),
        "version": metadata.pop("version"),
        "bytes": sum(path.stat().st_size for path in shards.folder.iterdir()),
        "splits": splits,
        "sampled": {"frames": len(keys), **contents.measure(keys)},
        "metadata": metadata,
    }


def sample(contents: Contents) -> list[Key]:
    """SAMPLED frames of each split, spread evenly over its clips."""
    index, keys = contents.shards.index, []
    once = (
        index["view"] == index["view"][0]
        if "view" in index
        else np.full(len(contents.shards), True)
    )
    for split in SPLITS:
        rows = np.flatnonzero((index["split"] == split) & once)
        count = min(SAMPLED, len(rows))
        for row in rows[(2 * np.arange(count) + 1) * len(rows) // (2 * count or 1)]:
            keys.append(Key(split, str(index["clip"][row]), int(index["frame"][row])))
    return keys


def contact_sheet(folders: Sequence[Contents], path: Path) -> None:
    """Write one row for each sampled frame: its mesh, views and points, as far as they exist.

    Meshes and points are drawn at one scale; views keep their own.
    """
    keys = sample(folders[0])
    windows = [contents.window for contents in folders if contents.window]
    # Meshes alone have no window: take one that holds every sampled body.
    window = max(windows) if windows else 1.05 * folders[0].measure(keys)["width_m"][-1]
    tiles = [[tile for contents in folders for tile in contents.tiles(key, window)] for key in keys]
    labels = [
        "\n".join(
            [key.split, *textwrap.wrap(key.clip.rpartition("/")[2], 17), f"frame {key.frame}"]
        )
        for key in keys
    ]
    sheet(tiles, [name for contents in folders for name in contents.columns()], labels, path)


def _rows(shards: Shards, keys: Sequence[Key], **view: int) -> list[int]:
    """Numbers of the rows with these keys."""
    found = [shards.rows(key.split, key.clip, frame=key.frame, **view) for key in keys]
    return list(chain(*found))


def _range(numbers: Sequence[int | float]) -> list[int | float]:
    """One value, or the smallest and the largest."""
    return sorted({min(numbers), max(numbers)})


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
