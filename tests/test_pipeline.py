"""Runs the stages with DVC in a scratch copy of the repository with small settings."""

import csv
import json
import re
import shlex
import shutil
import sys
from types import SimpleNamespace

import grimp
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.acclaim import amc_text, asf_text, walking
from helpers.http_server import serving
from helpers.repository import REPOSITORY, copied, ran
from PIL import Image
from ruamel.yaml import YAML

from pipeline.studies.plan import report_stages
from tpifu.model.folder import load_model
from tpifu.sources.cmu.takes import urls

STAGES = YAML(typ="safe", pure=True).load((REPOSITORY / "dvc.yaml").read_text())["stages"]
# Code that does not change results. Its parameters are listed separately in dvc.yaml, tracking and
# progress bars only report. layout, plan and DataFolder name outs, deps and parameters.
PLUMBING = {
    "pipeline",
    "pipeline.layout",
    "pipeline.studies",
    "pipeline.studies.plan",
    "tpifu",
    "tpifu.config",
    "tpifu.errors",
    "tpifu.files",
    "tpifu.parallel",
    "tpifu.params_file",
    "tpifu.resumable",
    "tpifu.shards.folder",
    "tpifu.tracking",
}

ALL_STAGES = {
    f"{stage}@{name}" if name else stage
    for stage, definition in STAGES.items()
    for name in definition.get("foreach", [""])
}


STUDIES = YAML(typ="safe", pure=True).load((REPOSITORY / "studies/dvc.yaml").read_text())["stages"]
REPORT = YAML(typ="safe", pure=True).load(report_stages("name", []))["stages"]
MODULES = {
    **{f"pipeline.{stage}": definition for stage, definition in STAGES.items()},
    **{f"pipeline.studies.{stage}": definition for stage, definition in (STUDIES | REPORT).items()},
}


@pytest.mark.parametrize("module", MODULES)
def test_a_stage_depends_on_the_code_it_imports(module):
    graph = grimp.build_graph("tpifu", "pipeline")
    used = {module} | graph.find_upstream_modules(module)
    expected = {
        f"{name.replace('.', '/')}.py"
        for name in used - PLUMBING
        if not (REPOSITORY / name.replace(".", "/")).is_dir()
    }
    definition = MODULES[module].get("do", MODULES[module])
    deps = [path.lstrip("./") for path in definition["deps"]]
    code = [path for path in deps if path.startswith(("tpifu/", "pipeline/"))]
    for path in expected:
        assert any(path == dep or path.startswith(f"{dep}/") for dep in code), path
    for dep in code:
        assert any(path == dep or path.startswith(f"{dep}/") for path in expected), dep


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("copy") / "tpifu", "laptop")


@pytest.fixture(scope="module")
def whole(copy):
    """After `dvc repro`."""
    output = copy("dvc", "repro")
    copy.commit()
    return SimpleNamespace(run=copy, folder=copy.folder, output=output)


@pytest.fixture(scope="module")
def wider(whole):
    """The pipeline after `dvc exp run -S model.neighborhood=5`."""
    output = whole.run("dvc", "exp", "run", "-n", "wider", "-S", "model.neighborhood=5")
    return SimpleNamespace(run=whole.run, folder=whole.folder, output=output)


@pytest.mark.slow
def test_repro_goes_from_motion_to_table_2(whole):
    assert set(ran(whole.output)) == ALL_STAGES
    for name in ("baseline", "temporal"):
        metrics = json.loads((whole.folder / "metrics" / f"{name}.json").read_text())
        assert (metrics["meshes"], metrics["unseen_motion"]["meshes"]) == (12, 6)
        for measure in ("iou", "mse", "precision", "recall", "accuracy", "volumetric_iou"):
            assert 0 <= metrics[measure] <= 1
        assert len((whole.folder / "models" / name / "loss.csv").read_text().splitlines()) == 7
    reports = whole.folder / "reports"
    assert "Table 2" in (reports / "index.html").read_text()
    parts = (reports / "tables" / "parts.csv").read_text().splitlines()
    assert parts[0] == "part,iou,p2s_cm,completeness_cm"
    assert any(line.startswith("arms (temporal),") for line in parts)
    rows = pq.read_table(reports / "temporal" / "per_mesh.parquet").to_pylist()
    assert len(rows) == 2 * (12 + 6)  # two views of each mesh
    assert any(row["iou_arms"] is not None for row in rows)
    table = (reports / "tables" / "table2.md").read_text()
    assert table.startswith("Table 2, profile laptop, seed 0")
    comparison = reports / "comparison"
    for picture in ("figure4_test", "figure4_unseen_motion", "figure5", "loss"):
        assert np.array(Image.open(comparison / f"{picture}.png")).std() > 0
    assert (whole.folder / "mlflow.db").exists()
    assert not list(whole.folder.glob(".cache/train/*"))


@pytest.mark.slow
def test_repro_again_runs_nothing(whole):
    assert ran(whole.run("dvc", "repro")) == []
    assert "up to date" in whole.run("dvc", "status")


@pytest.mark.slow
def test_git_holds_metrics_and_lock_and_no_data(whole):
    tracked = whole.run("git", "ls-files").split()
    assert {"dvc.lock", "metrics/baseline.json", "metrics/difference.json"} <= set(tracked)
    assert not [name for name in tracked if name.startswith(("data/", "models/", "reports/"))]
    assert whole.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_any_number_of_workers_writes_the_same_data(whole, workers):
    before = whole.run.lock()
    output = whole.run("dvc", "repro", "-f", "render", "sample", TPIFU_JOBS=workers)
    assert set(ran(output)) == {"download", "meshes", "render", "sample"}
    assert whole.run.lock() == before


@pytest.mark.slow
def test_switching_sources_runs_two_stages_and_reuses_cached_results(whole):
    before = whole.run.lock()
    with serving() as server:
        skeleton, motion = asf_text().encode(), amc_text(walking(400)).encode()
        server.files = {
            f"/subjects/{file}": skeleton if file.endswith(".asf") else motion for file in urls()
        }
        with whole.run.parameter("data.source", "cmu"):
            output = whole.run("dvc", "repro", "meshes", CMU_URL=server.url(""))
            assert ran(output) == ["download", "meshes"]
            after = whole.run.lock()
    assert before != after
    # The server is gone; both results come from the run cache.
    assert ran(whole.run("dvc", "repro", "meshes")) == []
    assert whole.run.lock() == before
    with whole.run.parameter("data.source", "cmu"):
        assert ran(whole.run("dvc", "repro", "meshes")) == []
        assert whole.run.lock() == after
    whole.run("dvc", "repro", "meshes")


@pytest.mark.slow
def test_a_changed_file_in_motion_reruns_the_download(whole):
    before, run = whole.run.lock(), whole.run
    mine = whole.folder / "motion" / "mine"
    mine.mkdir()
    (mine / "03.asf").write_text(asf_text())
    (mine / "03_1.amc").write_text(amc_text(walking(60)))
    tree = whole.folder / "data" / "surreal" / "cmu" / "test" / "run0"
    with run.parameter("data.source", "cmu"), run.parameter("data.cmu.folder", "motion/mine"):
        assert ran(run("dvc", "repro", "download")) == ["download"]
        assert ran(run("dvc", "repro", "download")) == []
        assert [path.name for path in tree.iterdir()] == ["03_1"]
        (mine / "03_2.amc").write_text(amc_text(walking(60)))
        assert ran(run("dvc", "repro", "download")) == ["download"]
        assert sorted(path.name for path in tree.iterdir()) == ["03_1", "03_2"]
        (mine / "03_2.amc").write_text(amc_text(walking(80)))
        assert "motion" in run("dvc", "status", "download")
        assert run("git", "status", "--porcelain", "motion") == ""
        with run.parameter("data.cmu.folder", "data/mine"):
            output = run(sys.executable, "-m", "pipeline.download", code=2)
        assert output == (
            "error: data/mine: is outside motion/, so DVC would not notice changes; copy it to "
            "motion/\n"
        )
    shutil.rmtree(mine)
    run("dvc", "repro", "download")
    assert run.lock() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameter", "value", "stages"),
    [
        ("model.stride", 2, {"train@temporal"}),
        ("model.fusion", "attention", {"train@temporal"}),
        ("train.steps", 9, {"train@baseline", "train@temporal"}),
        ("data.unseen", [], {"download", "meshes"}),
        ("profile", "paper", ALL_STAGES),
    ],
)
def test_a_changed_value_reruns_the_stages_that_use_it(whole, parameter, value, stages):
    with whole.run.parameter(parameter, value):
        output = whole.run("dvc", "repro", "--dry")
    assert set(ran(output)) == stages  # a real run also runs the stages after these


@pytest.mark.slow
def test_a_wider_neighborhood_trains_the_temporal_model_alone(wider):
    assert set(ran(wider.output)) == {"train@temporal", "evaluate@temporal", "report"}
    model = load_model(wider.folder / "models" / "temporal", torch.device("cpu"))
    assert model.config.neighborhood == 5
    assert model.network.classifier.layers[0].in_features == 5 * 8 + 1
    baseline = load_model(wider.folder / "models" / "baseline", torch.device("cpu"))
    assert baseline.config.neighborhood == 1


@pytest.mark.slow
def test_experiments_can_be_compared(wider):
    metrics = json.loads(wider.run("dvc", "metrics", "diff", "--json"))
    assert "iou" in metrics["metrics/temporal.json"]
    assert "metrics/baseline.json" not in metrics
    params = json.loads(wider.run("dvc", "params", "diff", "--json"))
    assert params == {"params.yaml": {"model.neighborhood": {"old": None, "new": 5}}}
    page = wider.run("dvc", "plots", "diff", "-o", "plots")
    assert page.strip().endswith("index.html")
    assert "failed" not in page
    html = (wider.folder / "plots" / "index.html").read_text()
    for plot in ("Training loss", "confusion by motion", "body parts, IoU"):
        assert f'"text": "{plot}' in html
    # The file has few rows, with four digits each.
    table = wider.run("dvc", "metrics", "diff", "--all").splitlines()
    assert 20 < len(table) < 120
    readme = (wider.folder / "README.md").read_text()
    (command,) = re.findall(r"^dvc exp show .*?(?=  )", readme, re.M)
    rows = list(csv.DictReader(wider.run(*shlex.split(command), "--csv").splitlines()))
    assert "wider" in [row["Experiment"] for row in rows]
    assert rows[0].keys() - {"Experiment", "rev", "typ", "Created"} == {
        "metrics/baseline.json:iou",
        "metrics/temporal.json:iou",
        "model.neighborhood",
    }


@pytest.mark.slow
def test_models_and_tracked_runs_lead_to_each_other(wider):
    """Finds runs with the searches in docs/tracking.md."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{wider.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tpifu").experiment_id
    yaml = YAML(typ="safe", pure=True)
    settings = yaml.load((wider.folder / "models" / "temporal" / "config.yaml").read_text())
    of_model = f"tags.fingerprint = '{settings['fingerprint']}'"
    runs = client.search_runs([experiment], of_model)
    assert {run.info.run_name for run in runs} == {"train temporal", "evaluate temporal"}
    of_experiment = client.search_runs([experiment], "tags.`dvc.exp` = 'wider'")
    assert {run.info.run_id for run in runs} < {run.info.run_id for run in of_experiment}
    stages = {run.data.tags["dvc.stage"] for run in of_experiment}
    assert stages == {"train@temporal", "evaluate@temporal", "report"}
    # In reverse: find the results of an experiment by the name in its run's tag.
    results = wider.run.lock()
    wider.run("dvc", "exp", "apply", runs[0].data.tags["dvc.exp"])
    assert wider.run.lock() == results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "parameter", "environment", "words"),
    [
        ("train", ("train.steps", 0), {}, "params.yaml: train.steps: is 0: "),
        ("train", ("seed", None), {}, "seed: is empty, but no profile sets it"),
        ("train", ("model.neighborhood", 99), {}, "neighborhood is 99, but the longest train clip"),
        ("meshes", ("profiles.laptop.data.train_meshes", 5000), {}, "lower data.train_meshes"),
        ("train", ("seed", 0), {"TPIFU_DEVICE": "cuda:77"}, "device 'cuda:77': torch finds"),
        ("render", ("seed", 0), {"TPIFU_JOBS": "many"}, "TPIFU_JOBS: is 'many': "),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(whole, stage, parameter, environment, words):
    name, value = parameter
    command = [
        sys.executable,
        "-m",
        f"pipeline.{stage}",
        *(["temporal"] if stage == "train" else []),
    ]
    with whole.run.parameter(name, value):
        output = whole.run(*command, code=2, TPIFU_TRACKING="off", **environment)
    (line,) = output.splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.slow
def test_a_rejected_value_can_be_replaced(wider):
    params, model = wider.folder / "params.yaml", wider.folder / "models" / "baseline" / "model.pt"
    before = params.read_bytes(), wider.run.lock(), model.read_bytes()
    output = wider.run("dvc", "exp", "run", "-S", "train.steps=0", code=255)
    assert "error: params.yaml: train.steps: is 0: " in output
    # DVC removed models/baseline before the stage began.
    wider.run("dvc", "exp", "run", "-S", "train.steps=null")
    assert (params.read_bytes(), wider.run.lock(), model.read_bytes()) == before
