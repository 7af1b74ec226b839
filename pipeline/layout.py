"""Where this repository keeps data, models and results."""

import os
from pathlib import Path

from ruamel.yaml import YAML

from tpifu.config import Params
from tpifu.params_file import load
from tpifu.shards.folder import DataFolder

OWN = Path("motion")
"""A user's own motion."""
SURREAL = Path("data/surreal")
DATA = DataFolder(Path("data"))
MODELS = Path("models")
METRICS = Path("metrics")
REPORTS = Path("reports")

NAMES = ("baseline", "temporal")


def load_params() -> Params:
    return load(Path("params.yaml"))


def root() -> Path:
    """The repository itself, even if `dvc exp run --temp` or `--queue` runs the stage in a
    temporary copy."""
    return Path(os.environ.get("DVC_ROOT", "."))


def scratch() -> Path:
    return root() / ".cache" / "train"


def downloads() -> Path:
    """Cache of downloads, outside the stages' outs, which DVC deletes before each run."""
    return root() / ".cache" / "downloads"


def data_tags() -> dict[str, str]:
    """Tags of a tracked run that identify its data: hashes from dvc.lock."""
    lock = Path("dvc.lock")
    stages = YAML(typ="safe", pure=True).load(lock.read_text())["stages"] if lock.exists() else {}
    return {
        f"dvc.{out['path'].replace('/', '.')}.md5": out["md5"]
        for stage in ("render", "sample")
        for out in stages.get(stage, {}).get("outs", [])
    }


def model_tags(name: str) -> dict[str, str]:
    """Tags of a tracked run that identify its model: its name and the fingerprint of its
    training."""
    settings = YAML(typ="safe", pure=True).load((MODELS / name / "config.yaml").read_text())
    return {"model": name, "fingerprint": settings["fingerprint"]}
