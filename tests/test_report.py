import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from tpifu.checkpoint import TrainedModel
from tpifu.config import Evaluate, Hourglass, Model
from tpifu.errors import DataError
from tpifu.evaluate import MEASURES, evaluate, write_metrics
from tpifu.pifu import PIFu
from tpifu.report import PAPER, Side, compare, paired_differences, table2

SOURCE = {"source": "cmu", "licence": "free", "citation": "The data was obtained somewhere."}
CONFIG = Evaluate(points=60, frames=2, sequence=2, resolution=16)


@pytest.fixture(scope="module")
def sides(tiny, tmp_path_factory) -> list[Side]:
    """Two untrained networks, evaluated."""
    root = tmp_path_factory.mktemp("sides")
    config = Model(hourglass=Hourglass(stacks=1, depth=1, dim=8), mlp=(8,), z_normalization=0.3)
    result = []
    for name, neighborhood in (("baseline", 1), ("temporal", 3)):
        torch.manual_seed(neighborhood)
        network = PIFu(config, neighborhood, 2.56).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(8)
            network.classifier.layers[-1].bias.fill_(0.55)
        model = TrainedModel(network, config, neighborhood, 2.56, 32, 0.5)
        side = Side(name, root / name, root / f"{name}.json", root / "models" / name)
        metrics = evaluate(model, tiny / "views", tiny / "points", side.report, CONFIG, 0)
        write_metrics(side.metrics, metrics)
        side.model.mkdir(parents=True)
        rows = "".join(f"{step},{0.25 - 0.001 * step},0.001\n" for step in range(100))
        (side.model / "loss.csv").write_text("step,loss,learning_rate\n" + rows)
        result.append(side)
    return result


def compared(tiny, sides, out: Path) -> dict:
    parts = (tiny / "meshes", tiny / "views", tiny / "points")
    return compare(sides, *parts, out, CONFIG, seed=0, profile="laptop")


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def row(split="test", clip="a", frame=0, **values):
    return {"split": split, "clip": clip, "frame": frame, **dict.fromkeys(MEASURES, 0.5), **values}


def test_the_comparison_has_table_figures_losses_and_true_meshes(tiny, sides, tmp_path):
    out = tmp_path / "comparison"
    difference = compared(tiny, sides, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "figure4_test.png",
        "figure4_unseen_motion.png",
        "figure5.png",
        "loss.png",
        "meshes",
        "table2.md",
    ]
    assert {*MEASURES, "unseen_motion"} == set(difference)
    # Rows: two frames; columns: input, then truth and both models from three angles.
    assert pixels(out / "figure4_test.png").shape == (40 + 160 * 2, 130 + 160 * 10)
    assert pixels(out / "figure5.png").shape == (40 + 160 * 10, 130 + 160 * 2)
    for mesh in (out / "meshes").iterdir():
        assert trimesh.load(mesh, force="mesh").is_watertight


def test_tiles_show_the_body_beside_its_reconstructions(tiny, sides, tmp_path):
    out = tmp_path / "comparison"
    compared(tiny, sides, out)
    sheet = pixels(out / "figure4_test.png")
    tiles = [sheet[40:200, 130 + 160 * n : 290 + 160 * n] for n in range(10)]
    body = [(tile < 250) for tile in tiles]
    assert 0.02 < body[0].mean() < 0.3  # the input
    # The true mesh from the front fills the pixels of the input.
    assert (body[0] & body[1]).sum() / (body[0] | body[1]).sum() > 0.7  # 32 px, enlarged
    # A view from the side is another picture.
    assert (body[1] != body[2]).mean() > 0.01


def test_the_comparison_again_gives_the_same_bytes(tiny, sides, tmp_path):
    for name in ("one", "two"):
        compared(tiny, sides, tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes(), path.name


def test_a_frame_in_which_nothing_was_predicted_has_empty_tiles(tiny, sides, tmp_path):
    report = shutil.copytree(sides[1].report, tmp_path / "report")
    for mesh in (report / "meshes").iterdir():
        mesh.unlink()
    nothing = Side("temporal", report, sides[1].metrics, sides[1].model)
    compared(tiny, [sides[0], nothing], tmp_path / "comparison")
    sheet = pixels(tmp_path / "comparison" / "figure4_test.png")
    assert (sheet[40:, 130 + 160 * 7 :] == 255).all()
    assert (sheet[40:, 130 : 130 + 160 * 4] < 255).any()


def test_differences_are_paired_per_mesh():
    first = [row(frame=t, iou=0.5 + 0.1 * t) for t in range(4)]
    second = [row(frame=t, iou=0.6 + 0.1 * t) for t in range(4)]
    found = paired_differences(first, second, seed=0)
    assert found["iou"] == pytest.approx({"difference": 0.1, "low": 0.1, "high": 0.1})
    assert found["mse"] == pytest.approx({"difference": 0, "low": 0, "high": 0})


def test_the_interval_resamples_clips_and_holds_the_mean():
    rng = np.random.default_rng(0)
    first = [row(clip=str(c), frame=t) for c in range(10) for t in range(5)]
    second = [{**r, "iou": 0.5 + rng.normal(0.02, 0.01)} for r in first]
    found = paired_differences(first, second, seed=0)["iou"]
    assert found["low"] < found["difference"] < found["high"]
    assert found["low"] > 0
    assert found == paired_differences(first, second, seed=0)["iou"]


def test_unseen_motions_have_their_own_differences():
    first = [row(), row(split="unseen_motion", clip="k")]
    second = [row(), row(split="unseen_motion", clip="k", iou=0.4)]
    found = paired_differences(first, second, seed=0)
    assert found["iou"]["difference"] == 0
    assert found["unseen_motion"]["iou"]["difference"] == pytest.approx(-0.1)


def test_evaluations_of_other_meshes_are_refused():
    with pytest.raises(DataError, match="of different meshes; evaluate both models anew"):
        paired_differences([row(frame=0)], [row(frame=1)], seed=0)


def test_the_table_has_ours_the_papers_and_the_difference():
    names = [Side(name, Path(), Path(), Path()) for name in ("baseline", "temporal")]
    metrics = [
        {
            **dict.fromkeys(MEASURES, value),
            "meshes": 100,
            "unseen_motion": {"iou": 0.4, "meshes": 9},
        }
        for value in (0.7, 0.71)
    ]
    change = {"difference": 0.01, "low": -0.002, "high": 0.022}
    differences = {**dict.fromkeys(MEASURES, change), "unseen_motion": {"iou": change}}
    text = table2(names, metrics, differences, "laptop", 3, SOURCE)
    lines = text.splitlines()
    assert lines[0] == "Table 2, profile laptop, seed 3"
    (iou,) = (line for line in lines if line.startswith("| iou "))
    assert [cell.strip() for cell in iou.strip("|").split("|")] == [
        "iou",
        "0.7000",
        "0.7100",
        "+0.0100 [-0.0020, +0.0220]",
        "0.8118, 0.8599",
    ]
    (unseen,) = (line for line in lines if line.startswith("| unseen_motion: iou"))
    assert unseen.endswith("|  |")  # the paper has no such row
    assert "its numbers are not the paper's" in text
    assert text.endswith("Motion: cmu (free).\nThe data was obtained somewhere.\n")
    assert "its numbers" not in table2(names, metrics, differences, "paper", 3, SOURCE)


def test_the_papers_numbers_are_those_of_its_table_2():
    # Its row "Accuracy" stands beside recall, which its own IoU and precision imply.
    assert json.loads(json.dumps(PAPER)) == {
        "iou": [0.8118, 0.8599],
        "mse": [0.0649, 0.0462],
        "precision": [0.8565, 0.8980],
        "recall": [0.9381, 0.9515],
    }
    for model in (0, 1):
        iou, precision, recall = (PAPER[name][model] for name in ("iou", "precision", "recall"))
        implied = 1 / (1 / iou + 1 - 1 / precision)
        assert implied == pytest.approx(recall, abs=0.002)
