"""Where this repository keeps data, models and results."""

import os
from pathlib import Path

from ruamel.yaml import YAML

from tpifu.config import Params, load
from tpifu.shards.folder import DataFolder

SURREAL = Path("data/surreal")
DATA = DataFolder(Path("data"))
MODELS = Path("models")
METRICS = Path("metrics")
REPORTS = Path("reports")

NAMES = ("baseline", "temporal")


def params() -> Params:
    return load(Path("params.yaml"))


def root() -> Path:
    """The real repository: under `dvc exp run --temp` or `--queue` the stage runs in a throw-away
    copy."""
    return Path(os.environ.get("DVC_ROOT", "."))


def scratch() -> Path:
    return root() / ".cache" / "train"


def downloads() -> Path:
    """Outside the stages' outs, which DVC empties: a second run fetches only what is missing."""
    return root() / ".cache" / "downloads"


def data_tags() -> dict[str, str]:
    """What dvc.lock knows of the data: leads from a tracked run back to the very shards."""
    lock = Path("dvc.lock")
    stages = YAML(typ="safe", pure=True).load(lock.read_text())["stages"] if lock.exists() else {}
    return {
        f"dvc.{out['path'].replace('/', '.')}.md5": out["md5"]
        for stage in ("render", "sample")
        for out in stages.get(stage, {}).get("outs", [])
    }


def model_tags(name: str) -> dict[str, str]:
    """Which model a tracked run is about: the fingerprint is that of the run which trained it."""
    settings = YAML(typ="safe", pure=True).load((MODELS / name / "config.yaml").read_text())
    return {"model": name, "fingerprint": settings["fingerprint"]}
