"""A scratch copy of the repository with small settings, and commands that run in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[2]
TINY = {
    "data": {
        "synthetic": {"train_subjects": 2, "test_subjects": 2},
        "train_meshes": 24,
        "validation_meshes": 6,
        "test_meshes": 12,
        "unseen_meshes": 6,
    },
    "camera": {},
    "render": {"size": 32, "views": 2},
    "sample": {"near_surface": 300, "uniform": 100, "grid": 12},
    "model": {
        "hourglass": {"stacks": 1, "depth": 1, "dim": 8},
        "mlp": [16, 8],
        "z_normalization": 0.3,
    },
    "train": {"steps": 6, "batch_size": 2, "points": 50, "learning_rate": 0.01},
    "evaluate": {
        "points": 100,
        "frames": 2,
        "sequence": 2,
        "resolution": 16,
        "surface_points": 100,
    },
}


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *command: str, code: int = 0, **environment: str) -> str:
        """Run a command in the repository and return its output; `code` is the expected status."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, **self.options(**environment), **pipes)
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def options(self, **environment: str) -> dict[str, Any]:
        """Options of subprocess for a command in the repository."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = {"OMP_NUM_THREADS": "1", "TPIFU_JOBS": "1", "DVC_NO_ANALYTICS": "1"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TPIFU_", "MLFLOW_"))}
        return {"cwd": self.folder, "env": {**kept, **settings, "PATH": path, **environment}}

    @contextmanager
    def parameter(self, name: str, value: object) -> Iterator[None]:
        """Set `name: value` in params.yaml temporarily."""
        path = self.folder / "params.yaml"
        before = path.read_bytes()
        yaml = YAML()
        params = section = yaml.load(before)
        *parents, last = name.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
        with path.open("w") as file:
            yaml.dump(params, file)
        try:
            yield
        finally:
            path.write_bytes(before)

    def lock(self) -> bytes:
        return (self.folder / "dvc.lock").read_bytes()

    def commit(self) -> None:
        self("git", "add", "-A")
        self("git", "commit", "-q", "-m", "result")


def copied(folder: Path, profile: str) -> Repository:
    """A git repository in `folder` with the project's files; `profile` has the values of TINY."""
    listed = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.check_output(listed, cwd=REPOSITORY, text=True).split("\0")
    left_out = ("tests/", "docs/", "metrics/", "studies/runs/", "studies/dvc.lock", "dvc.lock")
    for name in filter(None, names):
        source = REPOSITORY / name
        if source.is_file() and not name.startswith(left_out):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    yaml = YAML()
    params = yaml.load((folder / "params.yaml").read_text())
    params["profiles"][profile] = TINY
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    run = Repository(folder)
    run("git", "init", "-q", "-b", "main")
    run("git", "config", "user.name", "tpifu")
    run("git", "config", "user.email", "tpifu@example.org")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "small")
    return run


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
