"""`tpifu study`: a tiny study is planned, run by DVC, killed, resumed and reported."""

import csv
import subprocess
import sys

import numpy as np
import psutil
import pytest
from helpers.repository import REPOSITORY, copied, ran
from PIL import Image

from pipeline.studies.plan import read_study, runs_of
from tpifu.errors import ConfigError

STUDY = """
question: Do three frames help?
expected: They do not, after six steps.
seeds: [0, 1]
variants:
  one frame: {model.neighborhood: 1, train.points: 60}
  three frames: {model.neighborhood: 3, train.points: 60}
compare:
- [one frame, three frames]
"""
COMMAND = [sys.executable, "-c", "from tpifu.cli.app import main; main()", "study"]


def runs(output: str) -> int:
    return sum("run@" in stage for stage in ran(output))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A repository whose study was killed when the second run started."""
    run = copied(tmp_path_factory.mktemp("studies") / "tpifu", "study")
    for file in (run.folder / "studies").glob("*.yaml"):
        if file.name != "dvc.yaml":
            file.unlink()
    (run.folder / "studies" / "frames.yaml").write_text(STUDY)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    options = {**run.options(), **pipes}
    with subprocess.Popen([*COMMAND, "frames"], **options) as process:
        begun = 0
        while begun < 2:
            begun += "Running stage 'run@" in process.stdout.readline()
        _, *children = psutil.Process(process.pid).children(recursive=True)
        for child in children:  # DVC and the stage; their parent sees that they are gone
            child.kill()
    return run


@pytest.fixture(scope="module")
def whole(killed):
    """The repository, and the output of the command that resumed the study."""
    output = killed(*COMMAND, "frames")
    killed.commit()
    return killed, output


@pytest.mark.slow
def test_a_killed_study_resumes_with_the_missing_runs(whole):
    run, output = whole
    assert runs(output) == 3
    folder = run.folder / "studies" / "frames"
    text = (folder / "README.md").read_text()
    assert "# Do three frames help?" in text
    assert "| three frames minus one frame | " in text
    assert "over 2 seeds and 2 clips (12 meshes)" in text
    with Image.open(folder / "figure.png") as figure:
        assert np.array(figure).std() > 0
    with (folder / "table.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    one, three, difference = (row for row in rows if row["measure"] == "iou")
    change = float(three["mean"]) - float(one["mean"])
    assert float(difference["mean"]) == pytest.approx(change, abs=1e-4)
    assert float(difference["low"]) < float(difference["mean"]) < float(difference["high"])
    assert run("git", "status", "--short") == ""


@pytest.mark.slow
def test_a_finished_study_runs_nothing_even_if_the_top_level_changes(whole):
    run, _ = whole
    with run.parameter("train.steps", 9):
        assert ran(run(*COMMAND, "frames")) == []


@pytest.mark.slow
def test_a_new_variant_runs_alone(whole):
    run, _ = whole
    file = run.folder / "studies" / "frames.yaml"
    before = file.read_text()
    file.write_text(
        before.replace("compare:", "  far: {model.stride: 2, train.points: 60}\ncompare:")
    )
    try:
        output = run(*COMMAND, "frames")
    finally:
        file.write_text(before)
    assert runs(output) == 2
    assert "| far | " in (run.folder / "studies" / "frames" / "README.md").read_text()


@pytest.mark.slow
def test_a_table_changed_by_hand_is_reported(whole):
    run, _ = whole
    table = next((run.folder / "studies" / "runs").glob("*/measures.csv"))
    before = table.read_bytes()
    table.write_bytes(before.replace(b"0.", b"0.9", 1))
    try:
        assert "modified" in run("dvc", "--cd", "studies", "status", f"run@{table.parent.name}")
    finally:
        table.write_bytes(before)


@pytest.mark.slow
def test_the_other_runs_finish_if_one_fails(whole):
    run, _ = whole
    (run.folder / "studies" / "wrong.yaml").write_text(
        STUDY.replace("[0, 1]", "[5]").replace(
            "{model.neighborhood: 1", "{train.loss: cross_entropy"
        )
    )
    output = run(*COMMAND, "wrong", code=1)
    assert "train.loss is cross_entropy, but model.last_activation is tanh" in output
    assert runs(output) == 2
    assert not (run.folder / "studies" / "wrong" / "README.md").exists()


@pytest.mark.slow
def test_the_stages_of_a_study_are_listed_for_a_queue(whole):
    run, _ = whole
    stages = run(*COMMAND, "frames", "--stages").split()
    kinds = [stage.partition("@")[0] for stage in stages]
    assert kinds == ["data"] + ["run"] * 4
    assert "no such study; there are frames" in run(*COMMAND, "other", code=2)


def test_runs_are_identified_by_their_effective_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    study = read_study(write(tmp_path, STUDY.replace("1, train", "1, model.stride: 2, train")))
    other = read_study(write(tmp_path, STUDY))
    one, same = (runs_of("x", each) for each in (study, other))
    folders = {name: [run.folder for run in own] for name, own in one.items()}
    assert folders == {name: [run.folder for run in own] for name, own in same.items()}
    assert len({*folders["one frame"], *folders["three frames"]}) == 4


def write(folder, text):
    file = folder / "study.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("question:", "frage:", "question: Field required"),
        ("- [one frame, three frames]", "- [one, three frames]", "no variant is named 'one'"),
        ("seeds: [0, 1]", "seeds: []", "seeds: "),
        ("seeds: [0, 1]", "seeds: [0, 1", "not valid YAML"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(tmp_path, old, new, words):
    with pytest.raises(ConfigError, match=r"study\.yaml: ") as caught:
        read_study(write(tmp_path, STUDY.replace(old, new)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_parameter_of_a_variant_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    study = read_study(write(tmp_path, STUDY.replace("train.points", "train.point")))
    with pytest.raises(ConfigError, match=r"x\.yaml: one frame: train\.point: unknown parameter"):
        runs_of("x", study)


@pytest.mark.parametrize("key", ["seed", "profile"])
def test_a_variant_that_would_be_ignored_is_refused(tmp_path, monkeypatch, key):
    monkeypatch.chdir(REPOSITORY)
    study = read_study(write(tmp_path, STUDY.replace("train.points", key, 1)))
    with pytest.raises(ConfigError, match=f"one frame: a variant cannot set {key}"):
        runs_of("x", study)
