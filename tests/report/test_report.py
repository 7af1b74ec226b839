import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.checks import contents
from PIL import Image

from tpifu.config import DataRecord, Evaluate, Hourglass, Model
from tpifu.evaluate.evaluate import evaluate
from tpifu.evaluate.shown import read_shown, write_shown
from tpifu.model.folder import TrainedModel
from tpifu.model.pifu import PIFu
from tpifu.report.compare import compare
from tpifu.report.frames import Side
from tpifu.shards.folder import DataFolder

CONFIG = Evaluate(points=60, frames=2, sequence=2, resolution=16, surface_points=100)


@pytest.fixture(scope="module")
def sides(tiny, tmp_path_factory) -> list[Side]:
    """Two untrained networks, evaluated."""
    root = tmp_path_factory.mktemp("sides")
    config = Model(hourglass=Hourglass(stacks=1, depth=1, dim=8), mlp=(8,), z_normalization=0.3)
    result = []
    for name, neighborhood in (("baseline", 1), ("temporal", 3)):
        torch.manual_seed(neighborhood)
        own = config.with_window(neighborhood)
        network = PIFu(own, 2.56).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(8)
            network.classifier.layers[-1].bias.fill_(0.55)
        model = TrainedModel(network, own, 2.56, 32, 0.5, data=DataRecord())
        side = Side(name, root / name, root / "models" / name)
        evaluate(model, DataFolder(tiny), CONFIG, 0, side.report)
        side.model.mkdir(parents=True)
        rows = "".join(f"{step},{0.25 - 0.001 * step},0.001\n" for step in range(100))
        (side.model / "loss.csv").write_text("step,loss,learning_rate\n" + rows)
        (side.model / "validation.csv").write_text("step,iou,mse\n49,0.6,0.2\n99,0.7,0.1\n")
        (side.model / "config.yaml").write_text(
            f"model: {{neighborhood: {neighborhood}}}\nseed: 0\n"
        )
        result.append(side)
    return result


def compared(tiny, sides, out: Path) -> dict:
    return compare(sides, DataFolder(tiny), out, CONFIG, seed=0, profile="laptop")


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_the_report_has_a_page_tables_figures_curves_and_true_meshes(tiny, sides, tmp_path):
    difference = compared(tiny, sides, tmp_path)
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert {name for name in made if not name.endswith(".glb")} == {
        "index.html",
        "animation/clip.webp",
        "comparison/errors_test.png",
        "comparison/errors_unseen_motion.png",
        "comparison/figure4_test.png",
        "comparison/figure4_unseen_motion.png",
        "comparison/figure5.png",
        "comparison/loss.png",
        "comparison/validation.png",
        "tables/confusion.csv",
        "tables/measures.csv",
        "tables/motions.csv",
        "tables/parts.csv",
        "tables/table2.md",
    }
    assert {"iou", "chamfer_cm", "flicker", "unseen_motion"} < set(difference)
    # Rows: two frames; columns: input, then truth and both models from three angles.
    comparison = tmp_path / "comparison"
    assert pixels(comparison / "figure4_test.png").shape == (40 + 160 * 2, 130 + 160 * 10, 3)
    assert pixels(comparison / "errors_test.png").shape == (40 + 160 * 2, 130 + 160 * 7, 3)
    assert pixels(comparison / "figure5.png").shape == (40 + 160 * 10, 130 + 160 * 2, 3)
    with Image.open(tmp_path / "animation" / "clip.webp") as clip:
        assert (clip.size, clip.n_frames) == ((160 * 4, 200), 3 * 2)
    truth = list((tmp_path / "truth").iterdir())
    assert len(truth) == 4  # two frames of each split, one of them in the clip of two
    for mesh in truth:
        assert trimesh.load(mesh, force="mesh").is_watertight
    page = (tmp_path / "index.html").read_text()
    for text in ("Table 2", "0.8118", "model.neighborhood", "laptop profile is a small network"):
        assert text in page


def test_tiles_show_the_body_beside_its_reconstructions(tiny, sides, tmp_path):
    compared(tiny, sides, tmp_path)
    sheet = pixels(tmp_path / "comparison" / "figure4_test.png")[..., 0]
    tiles = [sheet[40:200, 130 + 160 * n : 290 + 160 * n] for n in range(10)]
    body = [(tile < 250) for tile in tiles]
    assert 0.02 < body[0].mean() < 0.3  # the input
    # The true mesh from the front fills the pixels of the input.
    assert (body[0] & body[1]).sum() / (body[0] | body[1]).sum() > 0.7  # 32 px, enlarged
    # A view from the side is another picture.
    assert (body[1] != body[2]).mean() > 0.01
    # Errors have colours; the truth has none.
    errors = pixels(tmp_path / "comparison" / "errors_test.png").astype(int)
    coloured = [
        np.ptp(errors[40:, 130 + 160 * n : 290 + 160 * n], axis=-1).max() > 50 for n in range(7)
    ]
    assert not any(coloured[:3])
    assert any(coloured[3:])  # large errors are dark everywhere


def test_the_comparison_again_gives_the_same_bytes(tiny, sides, tmp_path):
    for name in ("one", "two"):
        compared(tiny, sides, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_report_without_a_sequence_has_no_clip_to_play(tiny, sides, tmp_path):
    still = [replace(side, report=tmp_path / side.name) for side in sides]
    for side, other in zip(sides, still, strict=True):
        shutil.copytree(side.report, other.report)
        write_shown(other.report, [s for s in read_shown(side.report) if s.figure == 4])
    compared(tiny, still, tmp_path)
    assert not (tmp_path / "comparison" / "figure5.png").exists()
    assert list((tmp_path / "animation").iterdir()) == []
    page = (tmp_path / "index.html").read_text()
    assert "Figure 4" in page
    assert 'class="player"' not in page


def test_a_frame_in_which_nothing_was_predicted_has_empty_tiles(tiny, sides, tmp_path):
    report = shutil.copytree(sides[1].report, tmp_path / "report")
    for mesh in (report / "meshes").iterdir():
        mesh.unlink()
    compared(tiny, [sides[0], Side("temporal", report, sides[1].model)], tmp_path)
    sheet = pixels(tmp_path / "comparison" / "figure4_test.png")[..., 0]
    assert (sheet[40:, 130 + 160 * 7 :] == 255).all()
    assert (sheet[40:, 130 : 130 + 160 * 4] < 255).any()
