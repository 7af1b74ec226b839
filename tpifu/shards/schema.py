"""Kinds of shards, their columns, splits, and seeds per item."""

import zlib
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["meshes", "views", "points"]
VERSION = 5
FACES_NAME = "faces.parquet"
"""File of the faces and joints, next to the mesh shards."""
SPLITS = ("train", "validation", "test", "unseen_motion")
HELD_OUT = ("test", "unseen_motion")
"""Splits for evaluation. The validation split only selects a checkpoint."""

_KEY: list[Any] = [("split", pa.string()), ("sequence", pa.string()), ("clip", pa.string())]
SCHEMAS: dict[Kind, pa.Schema] = {
    "meshes": pa.schema(
        [
            *_KEY,
            ("frame", pa.int32()),
            ("source_frame", pa.int32()),  # frame number in the SURREAL clip
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
            ("points", pa.binary()),  # `pack_codes`, in steps of `point_step` metres (metadata)
            ("inside", pa.binary()),  # one bit per point, highest bit first
            ("grid", pa.binary()),  # HELD_OUT splits: one bit per cell, x slowest; else null
        ]
    ),
}

OPTIONAL = ("grid", "joints")
"""Columns that may be null."""

Group = list[dict[str, Any]]
"""The rows of one row group."""


def item_seed(seed: int, clip: str, frame: int) -> list[int]:
    """Seed for the random numbers of one frame, independent of process and order."""
    return [seed, zlib.crc32(clip.encode()), frame]
