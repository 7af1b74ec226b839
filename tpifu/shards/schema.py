"""Kinds of shards, their columns, splits and per-item seeds."""

import zlib
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["meshes", "views", "points"]
VERSION = 4
SPLITS = ("train", "validation", "test", "unseen_motion")
HELD_OUT = ("test", "unseen_motion")
"""What models are measured on; validation only tells which of a training's checkpoints to keep."""

_KEY: list[Any] = [("split", pa.string()), ("sequence", pa.string()), ("clip", pa.string())]
SCHEMAS: dict[Kind, pa.Schema] = {
    "meshes": pa.schema(
        [
            *_KEY,
            ("frame", pa.int32()),
            ("source_frame", pa.int32()),  # index in the SURREAL clip
            ("gender", pa.string()),
            ("topology", pa.int32()),  # row of faces.parquet
            ("vertices", pa.list_(pa.float32())),  # x0 y0 z0 x1 ..., metres, pelvis at the origin
        ]
    ),
    "views": pa.schema(
        [
            *_KEY,
            ("view", pa.int16()),
            ("frame", pa.int32()),
            ("yaw", pa.float32()),  # degrees about +y
            ("calib", pa.list_(pa.float32())),  # 3x4 row by row, world -> ndc
            ("image", pa.binary()),  # PNG: grey (or RGB) and mask as alpha
        ]
    ),
    "points": pa.schema(
        [
            *_KEY,
            ("frame", pa.int32()),
            ("points", pa.binary()),  # `pack_codes`, in steps of metadata `point_step` metres
            ("inside", pa.binary()),  # one bit a point, first point in the highest bit
            ("grid", pa.binary()),  # splits in HELD_OUT: one bit a cell, x slowest; else null
        ]
    ),
}

COLUMNS: dict[Kind, dict[str, list[str]]] = {
    "meshes": {
        "use_dictionary": [name for name, _ in _KEY],
        # The bytes of like magnitude together: 15 % smaller, and faster to write and to read.
        "use_byte_stream_split": ["vertices.list.element"],
    },
    "views": {"use_dictionary": [name for name, _ in _KEY]},
    "points": {"use_dictionary": [name for name, _ in _KEY]},
}

Group = list[dict[str, Any]]
"""The rows of a row group."""


def item_seed(seed: int, clip: str, frame: int) -> list[int]:
    """Seed of everything random about one frame, whatever process or order it is handled in."""
    return [seed, zlib.crc32(clip.encode()), frame]
