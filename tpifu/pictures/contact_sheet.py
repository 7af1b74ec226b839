"""What folders of shards hold, for a person: counts, sizes, provenance, and a contact sheet.

Of each row only its key is read, and all of the few frames that are measured and pictured.
"""

import json
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float

from tpifu.errors import DataError
from tpifu.geometry.camera import calibration, ndc_to_pixel, project
from tpifu.pictures.figures import sheet
from tpifu.pictures.tiles import ANGLES, TILE, Tile, blank, on_white
from tpifu.render.render import render
from tpifu.shards.coding import decode_png, dequantise, unpack_bits, unpack_codes
from tpifu.shards.meshes import MeshReader
from tpifu.shards.reader import Shards
from tpifu.shards.schema import SPLITS

SAMPLED = 3
"""Frames of each split that are measured and pictured, evenly spread."""
SLICE = 0.03
"""Metres from the plane z = 0 within which the slice shows points."""
INSIDE, OUTSIDE = (200, 50, 30), (140, 165, 205)


@dataclass(frozen=True)
class Key:
    """One frame, in whatever kind of shards."""

    split: str
    clip: str
    frame: int


class Kept(ABC):
    """One kind of shards."""

    shards: Shards
    window: float | None = None
    """Metres across its pictures or its box; None for meshes, which have neither."""

    @abstractmethod
    def measure(self, keys: Sequence[Key]) -> dict[str, list[int | float]]:
        """Of these frames: the one value, or the least and the greatest."""

    @abstractmethod
    def columns(self) -> list[str]:
        """Headings of `tiles`."""

    @abstractmethod
    def tiles(self, key: Key, window: float) -> list[Tile]:
        """Pictures of one frame, `window` metres wide; white where there is no such frame."""


class Meshes(Kept):
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
        calibs = np.stack([calibration(angle, window) for angle in ANGLES.values()])
        for frame in self.reader.read(_rows(self.shards, [key])):
            # Embree, whatever drew the views: the picture is the same on every machine.
            return [on_white(image) for image in render(frame.mesh, calibs, TILE, "embree")]
        return [blank() for _ in calibs]


class Views(Kept):
    def __init__(self, folder: Path) -> None:
        self.shards = Shards(folder, "views")
        self.window = self.shards.metadata["window"]
        views = np.unique(self.shards.index["view"]).tolist()
        self.first, *others = views[:: -(-len(views) // 4)]
        self.others = others

    def measure(self, keys: Sequence[Key]) -> dict[str, list[int | float]]:
        rows = _rows(self.shards, keys, self.first)
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
            found = self.shards.read(_rows(self.shards, [moment], view), ["image"])
            tiles += [on_white(decode_png(row["image"])) for row in found] or [blank()]
        return tiles


class Points(Kept):
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


_KINDS: dict[str, Callable[[Path], Kept]] = {"meshes": Meshes, "views": Views, "points": Points}


def open_folder(data: Path) -> list[Kept]:
    """The shards in `data`, or in its folders meshes, views and points.

    Raises DataError where there are none, and for foreign, older or damaged ones.
    """
    own = [path for split in SPLITS for path in sorted(data.glob(f"{split}-*.parquet"))]
    if own:
        return [_KINDS[_kind(own[0])](data)]
    found: list[Kept] = [
        kept(data / kind) for kind, kept in _KINDS.items() if (data / kind).is_dir()
    ]
    if not found:
        raise DataError(
            f"{data}: neither shards nor a folder meshes, views or points of shards; write them "
            "first (dvc repro, or tpifu render)"
        )
    return found


def _kind(shard: Path) -> str:
    try:
        header = json.loads((pq.read_schema(shard).metadata or {}).get(b"tpifu", b"{}"))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shard}: not a readable Parquet file ({error}); write it anew") from error
    if header.get("kind") not in _KINDS:
        raise DataError(f"{shard}: holds no {', '.join(_KINDS)} of tpifu; write it anew")
    return header["kind"]


def describe(kept: Kept) -> dict[str, Any]:
    """Counts by split, measures of the sampled frames, metadata; JSON knows all of its types."""
    shards, index = kept.shards, kept.shards.index
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
    keys = sample(kept)
    return {
        "folder": str(shards.folder),
        "kind": metadata.pop("kind"),
        "version": metadata.pop("version"),
        "bytes": sum(path.stat().st_size for path in shards.folder.iterdir()),
        "splits": splits,
        "sampled": {"frames": len(keys), **kept.measure(keys)},
        "metadata": metadata,
    }


def sample(kept: Kept) -> list[Key]:
    """SAMPLED frames of each split, evenly spread over its clips."""
    index, keys = kept.shards.index, []
    once = index["view"] == index["view"][0] if "view" in index else np.full(len(kept.shards), True)
    for split in SPLITS:
        rows = np.flatnonzero((index["split"] == split) & once)
        count = min(SAMPLED, len(rows))
        for row in rows[(2 * np.arange(count) + 1) * len(rows) // (2 * count or 1)]:
            keys.append(Key(split, str(index["clip"][row]), int(index["frame"][row])))
    return keys


def contact_sheet(folders: Sequence[Kept], path: Path) -> None:
    """Write a picture: a row a sampled frame, with its mesh, views and points where there are any.

    All at one scale, except that views keep theirs.
    """
    keys = sample(folders[0])
    windows = [kept.window for kept in folders if kept.window]
    # Meshes alone have no window: one that holds every sampled body.
    window = max(windows) if windows else 1.05 * folders[0].measure(keys)["width_m"][-1]
    tiles = [[tile for kept in folders for tile in kept.tiles(key, window)] for key in keys]
    labels = [
        "\n".join(
            [key.split, *textwrap.wrap(key.clip.rpartition("/")[2], 17), f"frame {key.frame}"]
        )
        for key in keys
    ]
    sheet(tiles, [name for kept in folders for name in kept.columns()], labels, path)


def _rows(shards: Shards, keys: Sequence[Key], view: int | None = None) -> list[int]:
    """Numbers of the rows that have these keys."""
    index, rows = shards.index, []
    for key in keys:
        own = (index["frame"] == key.frame) & (index["clip"] == key.clip)
        own &= index["split"] == key.split
        if view is not None:
            own &= index["view"] == view
        rows += np.flatnonzero(own).tolist()
    return rows


def _range(numbers: Sequence[int | float]) -> list[int | float]:
    """The one value, or the least and the greatest."""
    return sorted({min(numbers), max(numbers)})


def _scatter(
    points: Float[np.ndarray, "n 3"],
    inside: Bool[np.ndarray, " n"],
    yaw: float,
    window: float,
    *,
    width: int,
) -> Tile:
    """Points of `width` pixels on white, those inside over the others, those beyond the window at
    its edge; twice as fine as a tile, so that shrinking smooths them."""
    size = 2 * TILE
    image = np.full((size, size, 3), 255, np.uint8)
    pixels = ndc_to_pixel(project(calibration(yaw, window), points), size, size).astype(int)
    reach = np.arange(width) - width // 2
    for kind, colour in ((~inside, OUTSIDE), (inside, INSIDE)):
        column, row = pixels[kind].T
        for down, right in product(reach, reach):
            image[(row + down).clip(0, size - 1), (column + right).clip(0, size - 1)] = colour
    return image
