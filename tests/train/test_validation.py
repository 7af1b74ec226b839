import pytest
import torch
from helpers.training import outputs, run, train, windows

from tpifu.config import Evaluate
from tpifu.evaluate.measure import measure
from tpifu.model.folder import load_model
from tpifu.model.pifu import PIFu
from tpifu.train.distributed import Processes
from tpifu.train.validation import MEASURES, validate

CPU = torch.device("cpu")


def test_validation_measures_what_evaluation_measures(tiny, tiny_model, tmp_path):
    train(run(tiny, tiny_model), tmp_path / "m")
    model = load_model(tmp_path / "m", CPU)
    held_out = windows(tiny, "validation")
    found = validate(model.network, held_out, 20, 7, Processes())
    settings = Evaluate(points=20, resolution=8, surface_points=10)
    clips = measure(model, tiny / "meshes", held_out, "validation", settings, 7)
    rows = [row for clip in clips for row in clip.rows]
    for name in MEASURES:
        assert found[name] == pytest.approx(sum(row[name] for row in rows) / len(rows), abs=1e-6)
    assert model.network.training  # as between steps


def test_ranks_share_the_views_of_one_clip(tiny, tiny_model, monkeypatch):
    torch.manual_seed(0)
    network = PIFu(tiny_model, 2.56)
    held_out = windows(tiny, "validation")
    assert len(held_out.clips) == 1
    alone = validate(network, held_out, 20, 7, Processes())
    reduced = []
    monkeypatch.setattr(Processes, "mean", lambda self, value: reduced.append(value) or value)
    for rank in (0, 1):
        validate(network, held_out, 20, 7, Processes(rank, world_size=2))
    assert [float(sums[-1]) for sums in reduced] == [3, 3]  # windows: one view of three frames
    iou, mse, count = sum(reduced)
    assert float(iou / count) == pytest.approx(alone["iou"], abs=1e-6)
    assert float(mse / count) == pytest.approx(alone["mse"], abs=1e-6)


def test_the_model_has_the_weights_that_did_best_on_validation(
    tiny, tiny_model, tmp_path, monkeypatch
):
    scores = iter([0.9, 0.1])
    monkeypatch.setattr(
        "tpifu.train.trainer.validate", lambda *_: {"iou": next(scores), "mse": 0.5}
    )
    train(run(tiny, tiny_model), tmp_path / "best")
    assert (tmp_path / "best" / "validation.csv").read_text() == (
        "step,iou,mse\n2,0.9,0.5\n5,0.1,0.5\n"
    )
    train(run(tiny, tiny_model, steps=3, validate_every=0), tmp_path / "half")
    assert "validation.csv" not in outputs(tmp_path / "half")
    best, half = (load_model(tmp_path / n, CPU).network.state_dict() for n in ("best", "half"))
    assert all(torch.equal(best[name], half[name]) for name in best)
