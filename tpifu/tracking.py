"""MLflow runs: the only module that imports mlflow, and only once a run starts (it takes seconds).

Tracking never stops the work it describes: the first failure prints one warning, and no more is
recorded. The store is MLFLOW_TRACKING_URI, else `root`/mlflow.db with artifacts in `root`/mlruns.
TPIFU_TRACKING=off records nothing, =system the machine's load as well.
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
from typing import TYPE_CHECKING, Any, Protocol, TextIO, runtime_checkable

from tpifu.errors import ConfigError, Stopped
from tpifu.files import hold

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


EXPERIMENT = "tpifu"
FLUSH_CALLS = 50
"""Calls of `log_metrics` that are written together: a single one costs as much as a batch."""
FLUSH_SECONDS = 30.0
"""Metrics wait no longer than this, if more are logged: slow steps show up in the browser too."""
LOAD_SECONDS = 5.0
"""Between two readings of the machine's load."""
_CHOICES = ("on", "off", "system")
_BATCH = {"metrics": 1000, "params": 100}
"""What MLflow takes in one request."""


@runtime_checkable
class Run(Protocol):
    """A run that is being recorded, or only seems to be: none of its methods raises."""

    @property
    def id(self) -> str | None:
        """None if nothing is recorded."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...

    def log_params(self, params: dict[str, Any]) -> None:
        """Flat parameters; see `flatten`."""

    def log_artifact(self, path: Path) -> None:
        """A file or a folder, copied."""

    def set_tags(self, tags: dict[str, str]) -> None: ...

    def close(self, status: str = "FINISHED") -> None:
        """Write what is buffered and set the status; `start_run` does it."""


class NullRun:
    """Records nothing."""

    id = None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        pass

    def log_params(self, params: dict[str, Any]) -> None:
        pass

    def log_artifact(self, path: Path) -> None:
        pass

    def set_tags(self, tags: dict[str, str]) -> None:
        pass

    def close(self, status: str = "FINISHED") -> None:
        pass


class MlflowRun:
    """A run in an MLflow store, until the first error; from then on it does nothing."""

    def __init__(self, client: "MlflowClient", run_id: str, load: "_Load | None" = None) -> None:
        self.id = run_id
        self._client = client
        self._load = load
        self._step = 0
        self._working = True
        self._calls = 0
        self._written = time.monotonic()
        self._metrics: list[tuple[str, float, int, int]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._step = step or 0
        self._keep(metrics)
        if self._load and self._load.due:
            self._keep(self._load.read())
        self._calls += 1
        late = time.monotonic() - self._written > FLUSH_SECONDS
        if late or self._calls >= FLUSH_CALLS:
            self._attempt(self._flush)

    def log_params(self, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        rows = [Param(key, str(value)) for key, value in params.items()]
        for some in _batches(rows, _BATCH["params"]):
            self._attempt(partial(self._client.log_batch, self.id, params=some))

    def log_artifact(self, path: Path) -> None:
        self._attempt(partial(self._client.log_artifact, self.id, str(path)))

    def set_tags(self, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        rows = [RunTag(key, value) for key, value in tags.items()]
        self._attempt(partial(self._client.log_batch, self.id, tags=rows))

    def close(self, status: str = "FINISHED") -> None:
        if self._load:
            self._keep(self._load.read())
        self._attempt(self._flush)
        self._attempt(partial(self._client.set_terminated, self.id, status))

    def _keep(self, metrics: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        self._metrics += [(key, float(value), now, self._step) for key, value in metrics.items()]

    def _flush(self) -> None:
        from mlflow.entities import Metric

        rows = [Metric(*row) for row in self._metrics]
        self._metrics, self._calls, self._written = [], 0, time.monotonic()
        for some in _batches(rows, _BATCH["metrics"]):
            self._client.log_batch(self.id, metrics=some)

    def _attempt(self, action: Callable[[], Any]) -> None:
        if not self._working:
            self._metrics = []
            return
        try:
            action()
        except Exception as error:  # a store fails in the ways of its database, server or disk
            self._working = False
            _warn("nothing", error)


class _Load:
    """Load of CPU, memory, disk, network and GPUs, as MLflow's own monitor measures it.

    That monitor's thread asks the store before each reading, and the end of a run waits for it:
    here the readings are written with the metrics of the work.
    """

    def __init__(self, run_id: str, uri: str) -> None:
        self._monitor: SystemMetricsMonitor | None = None
        self._run = {"run_id": run_id, "tracking_uri": uri}
        self._working = True
        self.read()  # CPU load is the mean since the reading before

    @property
    def due(self) -> bool:
        return time.monotonic() - self._last >= LOAD_SECONDS

    def read(self) -> dict[str, float]:
        """Named as MLflow's pages expect; nothing, after one warning, if it cannot be measured."""
        self._last = time.monotonic()
        if not self._working:
            return {}
        try:
            return {f"system/{name}": value for name, value in self._measure().items()}
        except Exception as error:  # psutil and the GPUs' libraries fail in the ways of the machine
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
) -> Iterator[Run]:
    """Record what happens inside, if `recorded`: it ends FINISHED, KILLED if interrupted (Ctrl-C,
    SIGTERM), or FAILED.

    `params` may be nested. The tags git.commit and git.dirty (of `root`), dvc.stage and dvc.exp are
    added where they are known. `memory` is a folder that keeps the run's id: as long as nobody
    empties it, the next call goes on with that run, or with a new one if the store does not know
    it. Raises ConfigError for an unknown TPIFU_TRACKING.
    """
    choice = os.environ.get("TPIFU_TRACKING", "on")
    if choice not in _CHOICES:
        raise ConfigError(f"TPIFU_TRACKING is {choice!r}: one of {', '.join(_CHOICES)}")
    with ExitStack() as held:
        run: Run = NullRun()
        if recorded and choice != "off":
            run = _open_run(name, root.resolve(), tags, memory, held, load=choice == "system")
        run.log_params(flatten(params))
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


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"mlp": [1]}} -> {"model.mlp": [1]}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _open_run(
    name: str, root: Path, tags: dict[str, str], memory: Path | None, held: ExitStack, *, load: bool
) -> Run:
    if chosen := os.environ.get("MLFLOW_TRACKING_URI"):
        uri, artifacts = chosen, None  # a server has its own place for artifacts
    else:
        uri, artifacts = f"sqlite:///{root / 'mlflow.db'}", (root / "mlruns").as_uri()
    try:
        client, experiment = _connect(uri, artifacts)
        note = held.enter_context(_note(memory)) if memory else None
        known = note.read() if note else ""
        run_id = _reopen(client, known) if known else None
        if run_id is None:
            run_id = client.create_run(experiment, run_name=name).info.run_id
            if note:
                note.truncate(0)
                note.write(run_id)
                note.flush()
        run = MlflowRun(client, run_id, _Load(run_id, uri) if load else None)
        run.set_tags(_origin(root) | tags)
        return run
    except Exception as error:  # see MlflowRun._attempt; and mlflow itself may not import
        _warn("nothing", error)
        return NullRun()


@contextmanager
def _note(folder: Path) -> Iterator[TextIO]:
    """The file with the run's id, for this process alone: a second trainer, which is refused its
    work, must not end the run of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mlflow-run").open("a+") as file:
        try:
            hold(file)
        except BlockingIOError as error:
            raise BlockingIOError(f"{folder}: another process records this very run") from error
        file.seek(0)
        yield file


def _connect(uri: str, artifacts: str | None) -> tuple["MlflowClient", str]:
    """A client and the id of the experiment, created at first use."""
    for key, value in {
        # mlflow alone tries for minutes. So a server that is silent costs the work 20 s, once:
        # less than the processes of a team wait for each other (tpifu.team.PATIENCE).
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

        for chatter in ("mlflow", "alembic"):
            logging.getLogger(chatter).setLevel(logging.CRITICAL)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment:
            return client, experiment.experiment_id
        return client, client.create_experiment(EXPERIMENT, artifact_location=artifacts)


@contextmanager
def _store_lock(uri: str) -> Iterator[None]:
    """Let one process at a time create an SQLite store: two would race in its migrations."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # mlflow tries a file that is no database for minutes; this fails at once.
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")
        yield


def _reopen(client: "MlflowClient", run_id: str) -> str | None:
    """Set a run going again; None if the store has lost it."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return run_id


def _origin(root: Path) -> dict[str, str]:
    """The tags that lead from a run back to the code and the experiment."""
    tags = {"dvc.stage": os.environ.get("DVC_STAGE"), "dvc.exp": os.environ.get("DVC_EXP_NAME")}
    tags["git.commit"] = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain")
    if tags["git.commit"] and changes is not None:
        tags["git.dirty"] = str(bool(changes)).lower()
    return {key: value for key, value in tags.items() if value}


def _git(root: Path, *command: str) -> str | None:
    """What git says in `root`; None where there is no repository, or no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *command], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _batches(rows: list[Any], size: int) -> Iterator[list[Any]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _warn(what: str, error: Exception) -> None:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    sys.stderr.write(
        f"warning: MLflow records {what} from here on ({lines[0][:200]}); the results do not "
        "depend on it, TPIFU_TRACKING=off leaves it out\n"
    )
