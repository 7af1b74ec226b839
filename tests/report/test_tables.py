import numpy as np
import pytest

from tpifu.body.skeleton import PARTS
from tpifu.errors import DataError
from tpifu.measures.names import COMPARED, MEASURES, PAPER, TABLE2, words
from tpifu.report.tables import (
    by_mesh,
    confusion_rows,
    differences,
    long_rows,
    motion_of,
    paired,
    paired_by,
    part_rows,
    table2,
    write_csv,
)

NAMES = ("baseline", "temporal")
SOURCE = {"source": "cmu", "licence": "free", "citation": "The data was obtained somewhere."}


def row(split="test", clip="a", frame=0, view=0, sequence="21_walk", **values):
    key = {"split": split, "sequence": sequence, "clip": clip, "frame": frame, "view": view}
    return {**key, **dict.fromkeys(MEASURES, 0.5), **values}


def test_differences_are_paired_per_mesh():
    first = [row(frame=t, iou=0.5 + 0.1 * t) for t in range(4)]
    second = [row(frame=t, iou=0.6 + 0.1 * t) for t in range(4)]
    found = paired(by_mesh(first, second), ["iou", "mse"], seed=0)
    one = found["iou"]
    assert (one.first, one.second) == pytest.approx((0.65, 0.75))
    assert (one.difference, one.low, one.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found["mse"].difference == 0
    assert one.meshes == 4


def test_meshes_that_one_model_lacks_are_left_out_of_both():
    first = [row(frame=0, chamfer_cm=1.0), row(frame=1, chamfer_cm=9.0), row(frame=2, genus=None)]
    second = [row(frame=0, chamfer_cm=2.0), row(frame=1, chamfer_cm=None), row(frame=2, genus=None)]
    found = paired(by_mesh(first, second), ["chamfer_cm", "genus", "flicker"], seed=0)
    assert (found["chamfer_cm"].first, found["chamfer_cm"].second) == (0.75, 1.25)
    assert found["chamfer_cm"].meshes == 2
    assert found["genus"].meshes == 2
    nowhere = [row(flicker=None)]
    assert paired(by_mesh(nowhere, nowhere), ["flicker"], seed=0) == {}


def test_the_interval_resamples_clips_and_holds_the_mean():
    rng = np.random.default_rng(0)
    first = [row(clip=str(c), frame=t) for c in range(10) for t in range(5)]
    second = [{**r, "iou": 0.5 + rng.normal(0.02, 0.01)} for r in first]
    found = paired(by_mesh(first, second), ["iou"], seed=0)["iou"]
    assert found.low < found.difference < found.high
    assert found.low > 0
    assert found == paired(by_mesh(first, second), ["iou"], seed=0)["iou"]


def test_evaluations_of_other_meshes_are_refused():
    with pytest.raises(DataError, match="of different meshes; evaluate both models again"):
        by_mesh([row(frame=0)], [row(frame=1)])


def test_the_metrics_file_has_chosen_measures_with_four_digits():
    found = {
        split: paired([(row(iou=0.123456, genus=3.0), row(iou=0.2, genus=1.0))], MEASURES, 0)
        for split in ("test", "unseen")
    }
    written = differences(found)
    assert written["iou"] == {"difference": 0.0765, "low": 0.0765, "high": 0.0765}
    assert written["unseen"]["iou"] == written["iou"]
    assert "genus" not in written  # it is in tables/measures.csv
    assert set(written) == {*COMPARED, "unseen"}
    everything = {row["measure"] for row in long_rows("split", found)}
    assert everything == set(MEASURES)


def test_the_table_has_ours_the_papers_and_the_difference():
    pairs = [(row(iou=0.7), row(iou=0.7)), (row(frame=1, iou=0.7), row(frame=1, iou=0.72))]
    found = {"test": paired(pairs, MEASURES, 0)}
    found["unseen_motion"] = found["test"]
    text = table2(NAMES, found, "laptop", 3, SOURCE)
    lines = text.splitlines()
    assert lines[0] == "Table 2, profile laptop, seed 3"
    (iou,) = (line for line in lines if line.startswith("| iou "))
    assert [cell.strip() for cell in iou.strip("|").split("|")] == [
        "iou",
        "0.7000",
        "0.7100",
        "+0.0100 [+0.0100, +0.0100]",
        "0.8118, 0.8599",
    ]
    assert all(f"| {measure} " in text for measure in TABLE2)
    (unseen,) = (line for line in lines if line.startswith("| unseen_motion: iou"))
    assert unseen.endswith("|  |")  # the paper has no such row
    assert "its numbers are not the paper's" in text
    assert text.endswith("Motion: cmu (free).\nThe data was obtained somewhere.\n")
    assert "its numbers" not in table2(NAMES, found, "paper", 3, SOURCE)


def test_motions_are_sequences_without_the_subject():
    assert motion_of("21_jumping_jack") == "jumping_jack"
    assert motion_of("07_broad_lie_back_12") == "broad_lie_back"
    assert motion_of("10_01") == "10_01"  # CMU's sequence numbers do not encode a motion
    assert motion_of("ung_104_02") == "ung_104_02"


def test_meshes_are_paired_in_groups():
    clips = {"a": "walk", "b": "walk", "c": "run"}
    first = [row(clip=clip, sequence=name) for clip, name in clips.items()]
    second = [
        row(clip="a", sequence="walk"),
        *(row(clip=c, sequence=clips[c], iou=0.6) for c in "bc"),
    ]
    found = paired_by(lambda own: own["sequence"], by_mesh(first, second), ["iou"], seed=0)
    assert list(found) == ["walk", "run"]
    assert found["run"]["iou"].difference == pytest.approx(0.1)
    assert found["walk"]["iou"].difference == pytest.approx(0.05)
    assert found["walk"]["iou"].meshes == 2


def test_rows_for_plots_have_every_part_motion_and_model(tmp_path):
    found = paired([(row(iou_arms=0.4), row(iou_arms=0.6))], MEASURES, 0)
    parts = part_rows(NAMES, found)
    assert len(parts) == 2 * len(PARTS)
    assert {r["part"]: r["iou"] for r in parts}["arms (temporal)"] == 0.6
    assert part_rows(NAMES, {}) == []
    shares = confusion_rows(NAMES, {"walk": found})
    assert {(r["model"], r["outcome"]) for r in shares} >= {
        ("baseline", "inside_found"),
        ("temporal", "outside_missed"),
    }
    for rows, head in ((parts, "part,iou,p2s_cm,completeness_cm\n"), ([], "")):
        write_csv(tmp_path / "rows.csv", rows)
        assert (tmp_path / "rows.csv").read_text().partition("\n")[0] == head.strip()


def test_every_measure_has_a_name_in_words():
    assert words("iou") == "IoU"
    assert words("completeness_cm_arms") == "surface points to prediction, cm: arms"
    assert words("normal_consistency") == "normal consistency"
    assert all("_" not in words(measure) for measure in MEASURES)


def test_the_papers_accuracy_is_recall():
    # Its row "Accuracy" stands beside recall, which its own IoU and precision imply.
    for model in (0, 1):
        iou, precision, recall = (PAPER[name][model] for name in ("iou", "precision", "recall"))
        implied = 1 / (1 / iou + 1 - 1 / precision)
        assert implied == pytest.approx(recall, abs=0.002)
