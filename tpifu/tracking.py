"""MLflow runs. No other module imports mlflow, and this one imports it only when a run starts.

Tracking never stops the work that it records: after the first error it prints one warning and
records nothing more. The store is MLFLOW_TRACKING_URI, by default `root`/mlflow.db with artifacts
in `root`/mlruns.
"""

import fcntl
import logging
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpifu.config import flatten
from tpifu.errors import Stopped, warn
from tpifu.files import locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "tpifu"
FLUSH_SECONDS = 10.0
"""Time between writes of metrics; a request with many metrics costs the same as one with a few."""


class TrackedRun:
    """A run in an MLflow store. Without a client it records nothing. Its methods never raise."""

    def __init__(self, client: "MlflowClient | None" = None, run_id: str = "") -> None:
        self.id = run_id
        self._client = client
        self._metrics: list[tuple[str, float, int, int]] = []
        self._flushed = time.monotonic()

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        if self._client is None:
            return
        now = int(time.time() * 1000)
        self._metrics += [(key, float(value), now, step) for key, value in metrics.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._attempt(self._flush)

    def log_artifact(self, path: Path) -> None:
        """Copy a file or a folder to the store."""
        self._attempt(lambda client: client.log_artifact(self.id, str(path)))

    def close(self, status: str) -> None:
        """Write buffered metrics and set the run's status."""
        self._attempt(self._flush)
        self._attempt(lambda client: client.set_terminated(self.id, status))

    def _flush(self, client: "MlflowClient") -> None:
        from mlflow.entities import Metric

        rows = [Metric(*row) for row in self._metrics]
        self._metrics, self._flushed = [], time.monotonic()
        client.log_batch(self.id, metrics=rows)  # MLflow splits large batches

    def _attempt(self, action: Callable[["MlflowClient"], None]) -> None:
        if self._client is None:
            return
        try:
            action(self._client)
        except Exception as error:  # databases, servers and disks raise many types
            self._client = None
            _warn(error)


@contextmanager
def start_run(
    name: str,
    *,
    root: Path,
    params: dict[str, Any],
    tags: dict[str, str],
    memory: Path | None = None,
    recorded: bool = True,
) -> Iterator[TrackedRun]:
    """Record the block as an MLflow run, unless `recorded` is False.

    The run ends as FINISHED, as KILLED after Ctrl-C or SIGTERM, or as FAILED. Nested `params` get
    dotted names. Tags of the git commit of `root` and of the DVC stage and experiment are added. A
    call with the same folder `memory`, which holds the run's id, resumes the run.
    """
    with ExitStack() as locks:
        run = TrackedRun()
        if recorded:
            try:
                run = _open_run(name, root.resolve(), params, tags, memory, locks)
            except Exception as error:  # as in TrackedRun; mlflow's import may fail, too
                _warn(error)
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        except (KeyboardInterrupt, Stopped):
            status = "KILLED"
            raise
        finally:
            run.close(status)


def _open_run(
    name: str,
    root: Path,
    params: dict[str, Any],
    tags: dict[str, str],
    memory: Path | None,
    locks: ExitStack,
) -> TrackedRun:
    client, experiment = _connect(root)
    from mlflow.entities import Param, RunTag

    run_id = ""
    if memory:
        # A second trainer of the same run must not end the first trainer's MLflow run.
        folder = memory / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        locks.enter_context(locked(folder, "records this run"))
        note = folder / "run"
        run_id = note.read_text() if note.exists() else ""
    if run_id and client.search_runs([experiment], f"attributes.run_id = '{run_id}'"):
        client.update_run(run_id, status="RUNNING")
    else:
        run_id = client.create_run(experiment, run_name=name).info.run_id
        if memory:
            note.write_text(run_id)
    client.log_batch(
        run_id,
        params=[Param(key, str(value)) for key, value in flatten(params).items()],
        tags=[RunTag(key, value) for key, value in (_origin(root) | tags).items()],
    )
    return TrackedRun(client, run_id)


def _connect(root: Path) -> tuple["MlflowClient", str]:
    """A client, and the id of the experiment, which is created on first use."""
    own = f"sqlite:///{root / 'mlflow.db'}"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or own
    artifacts = (root / "mlruns").as_uri() if uri == own else None  # a server chooses the place
    for key, value in {
        # By default mlflow retries for minutes. These settings limit the wait to 20 s, less than
        # other ranks wait for the main process (tpifu.train.distributed.TIMEOUT).
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        os.environ.setdefault(key, value)
    with _store_lock(uri):
        from mlflow import MlflowClient

        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        client = MlflowClient(uri)
        if experiment := client.get_experiment_by_name(EXPERIMENT):
            return client, experiment.experiment_id
        return client, client.create_experiment(EXPERIMENT, artifact_location=artifacts)


@contextmanager
def _store_lock(uri: str) -> Iterator[None]:
    """Let one process at a time create an SQLite store; its migrations are not safe otherwise."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # Fails at once if the file is not a database; mlflow would retry for minutes.
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")
        yield


def _origin(root: Path) -> dict[str, str]:
    """Tags that identify the code, the stage and the experiment of a run."""
    tags = {"dvc.stage": os.environ.get("DVC_STAGE"), "dvc.exp": os.environ.get("DVC_EXP_NAME")}
    status = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch"]
    with suppress(OSError, subprocess.CalledProcessError):  # no git, or no repository
        output = subprocess.run(status, capture_output=True, text=True, check=True).stdout
        first, *others = output.splitlines()
        tags["git.commit"] = first.removeprefix("# branch.oid ")
        tags["git.dirty"] = str(any(not line.startswith("#") for line in others)).lower()
    return {key: value for key, value in tags.items() if value}


def _warn(error: Exception) -> None:
    warn(f"MLflow records nothing from here on: {error!r:.200}")
