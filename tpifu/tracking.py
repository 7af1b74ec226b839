"""MLflow runs. No other module imports mlflow, and this one imports it only when a run starts.

Tracking never stops the work that it records: after the first error it prints one warning and
records nothing more. The store is MLFLOW_TRACKING_URI, by default `root`/mlflow.db with artifacts
in `root`/mlruns. TPIFU_TRACKING=off records nothing; =system also records the machine's load.
"""

import fcntl
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tpifu.config import flatten
from tpifu.errors import ConfigError, Stopped
from tpifu.files import lock_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


EXPERIMENT = "tpifu"
FLUSH_CALLS = 50
"""Calls of `log_metrics` that are written together; one request costs the same for all of them."""
FLUSH_SECONDS = 30.0
"""Longest time between two writes while metrics are logged."""
LOAD_SECONDS = 5.0
"""Time between two readings of the machine's load."""
_CHOICES = ("on", "off", "system")
_REQUEST_METRICS, _REQUEST_PARAMS = 1000, 100
"""MLflow's limits for one request."""


class NullRun:
    """Records nothing."""

    id = None

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        pass

    log_metrics = log_params = log_artifact = set_tags = close = _ignore


class MlflowRun:
    """A run in an MLflow store. Its methods never raise; after an error they do nothing."""

    def __init__(self, client: "MlflowClient", run_id: str, load: "_Load | None" = None) -> None:
        self.id = run_id
        self._client = client
        self._load = load
        self._step = 0
        self._working = True
        self._calls = 0
        self._flushed = time.monotonic()
        self._metrics: list[tuple[str, float, int, int]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._step = step or 0
        self._buffer(metrics)
        if self._load and self._load.due:
            self._buffer(self._load.read())
        self._calls += 1
        late = time.monotonic() - self._flushed > FLUSH_SECONDS
        if late or self._calls >= FLUSH_CALLS:
            self._attempt(self._flush)

    def log_params(self, params: dict[str, Any]) -> None:
        """Log parameters under dotted names, such as model.mlp."""
        from mlflow.entities import Param

        rows = [Param(key, str(value)) for key, value in flatten(params).items()]
        for batch in _batches(rows, _REQUEST_PARAMS):
            self._attempt(partial(self._client.log_batch, self.id, params=batch))

    def log_artifact(self, path: Path) -> None:
        """Copy a file or a folder to the store."""
        self._attempt(partial(self._client.log_artifact, self.id, str(path)))

    def set_tags(self, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        rows = [RunTag(key, value) for key, value in tags.items()]
        self._attempt(partial(self._client.log_batch, self.id, tags=rows))

    def close(self, status: str) -> None:
        """Write buffered metrics and set the run's status."""
        if self._load:
            self._buffer(self._load.read())
        self._attempt(self._flush)
        self._attempt(partial(self._client.set_terminated, self.id, status))

    def _buffer(self, metrics: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        self._metrics += [(key, float(value), now, self._step) for key, value in metrics.items()]

    def _flush(self) -> None:
        from mlflow.entities import Metric

        rows = [Metric(*row) for row in self._metrics]
        self._metrics, self._calls, self._flushed = [], 0, time.monotonic()
        for batch in _batches(rows, _REQUEST_METRICS):
            self._client.log_batch(self.id, metrics=batch)

    def _attempt(self, action: Callable[[], Any]) -> None:
        if not self._working:
            self._metrics = []
            return
        try:
            action()
        except Exception as error:  # databases, servers and disks raise many kinds
            self._working = False
            _warn("nothing", error)


class _Load:
    """Load of CPU, memory, disk, network and GPUs, measured by MLflow's own monitor.

    The monitor's thread would delay the end of a run, so readings are taken between steps.
    """

    def __init__(self, run_id: str, uri: str) -> None:
        self._monitor: SystemMetricsMonitor | None = None
        self._run = {"run_id": run_id, "tracking_uri": uri}
        self._working = True
        self.read()  # CPU load is a mean since the previous reading

    @property
    def due(self) -> bool:
        return time.monotonic() - self._last >= LOAD_SECONDS

    def read(self) -> dict[str, float]:
        """Metrics named as MLflow's pages expect. After an error: one warning, then always {}."""
        self._last = time.monotonic()
        if not self._working:
            return {}
        try:
            return {f"system/{name}": value for name, value in self._measure().items()}
        except Exception as error:  # psutil and GPU libraries raise many kinds
            self._working = False
            _warn("no system metrics", error)
            return {}

    def _measure(self) -> dict[str, float]:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = self._monitor or SystemMetricsMonitor(**self._run)
        self._monitor.collect_metrics()
        found = self._monitor.aggregate_metrics()
        for part in self._monitor.monitors:
            part.clear_metrics()
        return found


@contextmanager
def start_run(
    name: str,
    *,
    root: Path,
    params: dict[str, Any],
    tags: dict[str, str],
    memory: Path | None = None,
    recorded: bool = True,
) -> Iterator[MlflowRun | NullRun]:
    """Record the block as an MLflow run, unless `recorded` is False.

    The run ends as FINISHED, as KILLED after Ctrl-C or SIGTERM, or as FAILED. `params` may be
    nested. Tags of the git commit of `root` and of the DVC stage and experiment are added.
    `memory` is a folder for the run's id: a call with the same folder resumes the run. Raises
    ConfigError for an unknown TPIFU_TRACKING.
    """
    choice = os.environ.get("TPIFU_TRACKING", "on")
    if choice not in _CHOICES:
        raise ConfigError(f"TPIFU_TRACKING is {choice!r}: use {', '.join(_CHOICES)}")
    with ExitStack() as resources:
        run: MlflowRun | NullRun = NullRun()
        if recorded and choice != "off":
            run = _open_run(name, root.resolve(), tags, memory, resources, load=choice == "system")
        run.log_params(params)
        status = "FINISHED"
        try:
            yield run
        except (KeyboardInterrupt, Stopped):
            status = "KILLED"
            raise
        except BaseException:
            status = "FAILED"
            raise
        finally:
            run.close(status)


def _open_run(
    name: str,
    root: Path,
    tags: dict[str, str],
    memory: Path | None,
    resources: ExitStack,
    *,
    load: bool,
) -> MlflowRun | NullRun:
    if chosen := os.environ.get("MLFLOW_TRACKING_URI"):
        uri, artifacts = chosen, None  # a server chooses the place of artifacts
    else:
        uri, artifacts = f"sqlite:///{root / 'mlflow.db'}", (root / "mlruns").as_uri()
    try:
        client, experiment = _connect(uri, artifacts)
        id_file = resources.enter_context(_open_id_file(memory)) if memory else None
        previous = id_file.read() if id_file else ""
        run_id = _reopen(client, previous) if previous else None
        if run_id is None:
            run_id = client.create_run(experiment, run_name=name).info.run_id
            if id_file:
                id_file.truncate(0)
                id_file.write(run_id)
                id_file.flush()
        run = MlflowRun(client, run_id, _Load(run_id, uri) if load else None)
        run.set_tags(_origin(root) | tags)
        return run
    except Exception as error:  # as in MlflowRun._attempt; mlflow's import may fail, too
        _warn("nothing", error)
        return NullRun()


@contextmanager
def _open_id_file(folder: Path) -> Iterator[TextIO]:
    """The locked file with the run's id. A second trainer of the same run, which will be refused,
    must not end the first trainer's MLflow run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mlflow-run").open("a+") as file:
        try:
            lock_file(file)
        except BlockingIOError as error:
            raise BlockingIOError(f"{folder}: another process records this run") from error
        file.seek(0)
        yield file


def _connect(uri: str, artifacts: str | None) -> tuple["MlflowClient", str]:
    """A client, and the id of the experiment, which is created on first use."""
    for key, value in {
        # By default mlflow retries for minutes. These settings limit the wait to 20 s, less than
        # other ranks wait for the main process (tpifu.train.distributed.TIMEOUT).
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(key, value)
    with _store_lock(uri):
        from mlflow import MlflowClient

        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment:
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


def _reopen(client: "MlflowClient", run_id: str) -> str | None:
    """Set a run's status to running; None if the store does not have the run."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return run_id


def _origin(root: Path) -> dict[str, str]:
    """Tags that identify the code, the stage and the experiment of a run."""
    tags = {"dvc.stage": os.environ.get("DVC_STAGE"), "dvc.exp": os.environ.get("DVC_EXP_NAME")}
    tags["git.commit"] = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain")
    if tags["git.commit"] and changes is not None:
        tags["git.dirty"] = str(bool(changes)).lower()
    return {key: value for key, value in tags.items() if value}


def _git(root: Path, *command: str) -> str | None:
    """Output of git in `root`; None if there is no repository or no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *command], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _batches(rows: list[Any], size: int) -> Iterator[list[Any]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _warn(recorded: str, error: Exception) -> None:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    sys.stderr.write(
        f"warning: MLflow records {recorded} from here on ({lines[0][:200]}); results do not "
        "depend on it, and TPIFU_TRACKING=off turns it off\n"
    )
