import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.http_server import reply, serving

from tpifu.tracking import start_run
from tpifu.train.distributed import TIMEOUT

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A migrated database without experiments; copying it is faster than creating another."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path, empty_store, monkeypatch):
    """A folder with its own store, which no environment variable replaces."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_STAGE", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "project"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return root


def client_of(root):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def only_run(root):
    client = client_of(root)
    experiment = client.get_experiment_by_name("tpifu")
    [run] = client.search_runs([experiment.experiment_id])
    return run


def assert_one_warning(capfd):
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("warning: MLflow records nothing from here on: ")
    assert err.count("\n") == 1


def test_a_run_stores_what_is_logged(root, tmp_path, capfd):
    picture = tmp_path / "figure.png"
    picture.write_bytes(b"png")
    folder = tmp_path / "meshes"
    folder.mkdir()
    (folder / "a.glb").write_bytes(b"glb")
    nested = {"seed": 0, "model": {"mlp": [1024, 129], "hourglass": {"dim": 256}}}
    with start_run("train temporal", root=root, params=nested, tags={"profile": "laptop"}) as run:
        for step in range(120):
            run.log_metrics({"loss": 1 / (step + 1), "learning_rate": 1e-3}, step)
        run.log_artifact(picture)
        run.log_artifact(folder)
    stored = only_run(root)
    assert stored.info.run_id == run.id
    assert stored.info.run_name == "train temporal"
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {
        "seed": "0",
        "model.mlp": "[1024, 129]",
        "model.hourglass.dim": "256",
    }
    assert stored.data.tags["profile"] == "laptop"
    client = client_of(root)
    losses = sorted((m.step, m.value) for m in client.get_metric_history(run.id, "loss"))
    assert losses == [(step, 1 / (step + 1)) for step in range(120)]
    assert sorted(f.path for f in client.list_artifacts(run.id)) == ["figure.png", "meshes"]
    assert [path.name for path in root.glob("mlruns/**/*.*")].count("a.glb") == 1
    assert not (tmp_path / "mlruns").exists()  # not in the working directory
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError, "FAILED"), (SystemExit, "FAILED"), (KeyboardInterrupt, "KILLED")],
)
def test_a_run_that_stops_early_has_its_status_and_its_metrics(root, error, status):
    def train():
        with start_run("train", root=root, params={}, tags={}) as run:
            run.log_metrics({"loss": 0.25}, 3)
            raise error

    with pytest.raises(error):
        train()
    assert only_run(root).info.status == status
    assert only_run(root).data.metrics == {"loss": 0.25}


def interrupted(root, memory):
    """A run that Ctrl-C ends after its first step."""

    def work():
        with start_run("train", root=root, params={"seed": 0}, tags={}, memory=memory) as run:
            runs.append(run)
            run.log_metrics({"loss": 1.0}, 0)
            raise KeyboardInterrupt

    runs = []
    with pytest.raises(KeyboardInterrupt):
        work()
    return runs[0]


def test_an_interrupted_run_resumes_until_its_memory_is_deleted(root, tmp_path, capfd):
    memory = tmp_path / "scratch" / "0123456789ab"
    settings = {"root": root, "params": {"seed": 0}, "tags": {}, "memory": memory}
    run = interrupted(root, memory)
    assert only_run(root).info.status == "KILLED"
    with start_run("train", **settings) as resumed:
        assert only_run(root).info.status == "RUNNING"
        resumed.log_metrics({"loss": 0.5}, 1)
    assert resumed.id == run.id
    assert only_run(root).info.status == "FINISHED"
    assert [m.value for m in client_of(root).get_metric_history(run.id, "loss")] == [1.0, 0.5]
    [note] = memory.glob("*/run")
    # If the store lost the run, a new one starts without a warning.
    note.write_text("0" * 32)
    with start_run("train", **settings) as new:
        assert new.id not in ("", run.id, "0" * 32)
    assert note.read_text() == new.id
    note.unlink()
    with start_run("train", **settings) as newer:
        assert newer.id not in ("", run.id, new.id)
    assert capfd.readouterr() == ("", "")


def test_a_second_trainer_does_not_end_the_run_of_the_first(
    root, tmp_path, capfd, locked_elsewhere
):
    memory = tmp_path / "memory"
    first = interrupted(root, memory)
    client_of(root).update_run(first.id, status="RUNNING")
    [note] = memory.glob("*/run")
    with locked_elsewhere(note.with_name("lock")):
        assert interrupted(root, memory).id == ""
    assert "another process records this run" in capfd.readouterr().err
    assert only_run(root).info.status == "RUNNING"
    assert note.read_text() == first.id


def git(root, *command):
    identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *command], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_tags_name_commit_stage_and_experiment(root, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "train@temporal")
    monkeypatch.setenv("DVC_EXP_NAME", "fancy-name")
    (root / ".gitignore").write_text("mlflow.db*\nmlruns\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    expected = {
        "git.commit": git(root, "rev-parse", "HEAD"),
        "git.dirty": "false",
        "dvc.stage": "train@temporal",
        "dvc.exp": "fancy-name",
    }
    for dirty in ("false", "true"):
        with start_run("train", root=root, params={}, tags={}) as run:
            tags = client_of(root).get_run(run.id).data.tags
        assert (expected | {"git.dirty": dirty}).items() <= tags.items()
        (root / "new.py").write_text("")


def test_no_git_tags_outside_git(root, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
    with start_run("train", root=root, params={}, tags={}):
        pass
    assert not [tag for tag in only_run(root).data.tags if tag.startswith(("git.", "dvc."))]


def test_mlflow_tracking_uri_selects_another_store(root, tmp_path, monkeypatch, empty_store):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(empty_store, other / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other / 'mlflow.db'}")
    with start_run("train", root=root, params={}, tags={}) as run:
        pass
    assert only_run(other).info.run_id == run.id
    assert client_of(root).get_experiment_by_name("tpifu") is None


@pytest.mark.parametrize(
    "uri", ["sqlite:///{file}/mlflow.db", "sqlite:///{file}", "http://127.0.0.1:9"]
)
def test_an_unusable_store_is_one_warning(root, tmp_path, monkeypatch, capfd, uri):
    file = tmp_path / "file"
    file.write_text("no database, and no folder either " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(file=file))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with start_run("train", root=root, params={"seed": 0}, tags={"a": "b"}) as run:
        assert run.id == ""
        run.log_metrics({"loss": 1.0}, 0)
    assert_one_warning(capfd)


def test_a_store_that_breaks_later_is_one_warning(root, tmp_path, capfd):
    with start_run("train", root=root, params={}, tags={}) as run:
        run.log_artifact(tmp_path / "missing.png")
        run.log_metrics({"loss": 1.0}, 0)
        run.log_artifact(tmp_path)
    assert_one_warning(capfd)
    assert only_run(root).data.metrics == {}


def test_a_silent_server_is_one_warning_and_one_wait(root, monkeypatch, capfd):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def record(client=None):
        server.seen.clear()
        with start_run("train", root=root, params={"seed": 0}, tags={"a": "b"}) as run:
            if client:
                run._client = client
            for step in range(500):
                run.log_metrics({"loss": 1.0}, step)
        assert len(server.seen) == 1  # it waits once
        assert_one_warning(capfd)

    test_ended = threading.Event()
    with serving() as server:
        server.default = lambda handler: test_ended.wait()
        record(MlflowClient(server.url("")))  # the server fails during the run
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url(""))  # the server never answers
        record()
        test_ended.set()


def test_a_retry_after_header_is_ignored(root, monkeypatch, capfd):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    with serving() as server:
        server.default = reply(503, Retry_After="90")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url(""))
        with start_run("train", root=root, params={}, tags={}) as run:
            assert run.id == ""
    assert server.seen
    assert sum(slept) < 20
    assert_one_warning(capfd)


def test_other_ranks_wait_longer_than_a_silent_server_takes(root, monkeypatch):
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    with start_run("train", root=root, params={}, tags={}):
        wait = int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])
        tries = 1 + int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    assert wait * tries < TIMEOUT.total_seconds() / 2


def python(code, root):
    """Start a fresh interpreter on `code`, in `root`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=root,
        env={**inherited, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_not_recorded_does_not_import_mlflow(tmp_path):
    code = """
import sys
from pathlib import Path
from tpifu import tracking
with tracking.start_run("train", root=Path("."), params={}, tags={}, recorded=False) as run:
    run.log_metrics({"loss": 1.0}, 0)
    run.log_artifact(Path("missing"))
print("mlflow" in sys.modules)
"""
    assert python(code, tmp_path).communicate() == ("False\n", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_can_create_the_store_at_once(tmp_path):
    code = """
from pathlib import Path
from tpifu import tracking
with tracking.start_run("train", root=Path("."), params={}, tags={}) as run:
    run.log_metrics({"loss": 1.0}, 0)
"""
    processes = [python(code, tmp_path) for _ in range(2)]
    # Nothing is printed, neither about migrations nor about the end of a run.
    assert [process.communicate() for process in processes] == [("", "")] * 2
    client = client_of(tmp_path)
    experiment = client.get_experiment_by_name("tpifu").experiment_id
    assert [r.info.status for r in client.search_runs([experiment])] == ["FINISHED"] * 2
