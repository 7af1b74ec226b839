"""One row of measures per mesh and view: the per-mesh table, means over views, the metrics file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tpifu.measures.names import HEADLINE, MEASURES, Row
from tpifu.shards.schema import HELD_OUT

PER_MESH_NAME = "per_mesh.parquet"


def over_views(rows: Sequence[Row]) -> list[Row]:
    """One row for each mesh: the mean of each measure over the views that have it, else nan."""
    views: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        views.setdefault((row["split"], row["clip"], row["frame"]), []).append(row)
    result = []
    for own in views.values():
        table = np.array([[row[measure] for measure in MEASURES] for row in own], np.float64)
        known = np.isfinite(table)
        views_with = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
        means = np.where(known, table, 0).sum(axis=0) / views_with
        key = {name: own[0][name] for name in ("split", "sequence", "clip", "frame")}
        result.append({**key, **dict(zip(MEASURES, means.tolist(), strict=True))})
    return result


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Contents of a model's metrics file: means of HEADLINE with four digits. Measures that no mesh
    has are omitted."""
    found: dict[str, dict[str, Any]] = {}
    by_mesh = over_views(rows)
    for split in dict.fromkeys(row["split"] for row in by_mesh):
        own = [row for row in by_mesh if row["split"] == split]
        means: dict[str, Any] = {}
        for measure in HEADLINE:
            values = np.array([row[measure] for row in own])
            if (known := np.isfinite(values)).any():
                means[measure] = round(float(values[known].mean()), 4)
        found[split] = {**means, "meshes": len(own)}
    return metrics(found)


def metrics(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Contents of a metrics file: the test split's values at the top level, those of other splits
    under their names."""
    main = found.get(HELD_OUT[0], {})
    return main | {split: own for split, own in found.items() if split != HELD_OUT[0]}


def table(rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table: the key columns, then every measure as float64."""
    keys = [(name, pa.string()) for name in ("split", "sequence", "clip")]
    keys += [(name, pa.int32()) for name in ("frame", "view")]
    schema = pa.schema([*keys, *((measure, pa.float64()) for measure in MEASURES)])
    return pa.Table.from_pylist(list(rows), schema=schema)
