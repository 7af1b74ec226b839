"""tools/ship_models.py, on two untrained networks with made-up measures."""

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest
import ship_models
import torch
from helpers.checks import one_line

from tpifu.config import DataRecord
from tpifu.errors import DataError
from tpifu.evaluate.rows import PER_MESH_NAME, table
from tpifu.measures.names import MEASURES
from tpifu.model.folder import TrainedModel, load_model, save_model
from tpifu.model.pifu import PIFu

SEQUENCES = {"01_walk": "nine motions", "01_broad_crawl_00": "broad family"}
SETTINGS = "seed: 7\ntrain: {steps: 40, batch_size: 4}\n"


@pytest.fixture
def run(tiny, tiny_model, tmp_path):
    """The folder of a finished run. All measures are .25 for baseline and .5 for temporal."""
    folder = tmp_path / "run"
    shutil.copytree(tiny, folder / "data")
    for name, value, frames in (("baseline", 0.25, 1), ("temporal", 0.5, 3)):
        write(
            folder,
            name,
            tiny_model.with_window(frames),
            DataRecord(source="synthetic", motions="nine"),
        )
        rows = [
            {"split": split, "sequence": sequence, "clip": sequence, "frame": 0, "view": view}
            | dict.fromkeys(MEASURES, value)
            for split in ("test", "unseen_motion")
            for sequence in SEQUENCES
            for view in (0, 1)
        ]
        (folder / "reports" / name).mkdir(parents=True)
        pq.write_table(table(rows), folder / "reports" / name / PER_MESH_NAME)
    return folder


def write(run, name, config, record):
    network = PIFu(config, 2.56)
    save_model(run / "models" / name, TrainedModel(network, config, 2.56, 32, 0.6, data=record))
    (run / "models" / name / "config.yaml").write_text(SETTINGS)


def test_models_are_shipped_in_half_precision_with_their_card(run, tmp_path):
    released = tmp_path / "released"
    ship_models.ship(run, released)
    card = json.loads((released / "card.json").read_text())
    for name, own in card["models"].items():
        weights = (released / name / "model.pt").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == own["sha256"]
        cpu = torch.device("cpu")
        ours, theirs = (load_model(f / name, cpu) for f in (released, run / "models"))
        assert (ours.config, ours.level, ours.data) == (theirs.config, theirs.level, theirs.data)
        for one, other in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
            assert one.dtype == torch.float32
        assert (own["seed"], own["steps"], own["batch_size"]) == (7, 40, 4)
    assert [own["frames"] for own in card["models"].values()] == [1, 3]
    sets = card["test_sets"]
    unseen = [f"{family}, unseen" for family in SEQUENCES.values()]
    assert sorted(sets) == sorted([*SEQUENCES.values(), *unseen])
    for own in sets.values():
        assert own["meshes"] == 1  # the views of a mesh are one mesh
        assert (own["baseline"]["iou"], own["temporal"]["iou"]) == (0.25, 0.5)
    assert "meshes of" in card["data"]


@pytest.mark.parametrize("source", ["cmu", "surreal", "files", None])
def test_models_of_other_data_are_not_shipped(run, tiny_model, tmp_path, source):
    write(run, "temporal", tiny_model, DataRecord(source=source))
    with one_line(DataError, f"trained on {source}"):
        ship_models.ship(run, tmp_path / "released")
    assert not (tmp_path / "released").exists()
