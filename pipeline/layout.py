"""Where this repository keeps things, and the machine settings, which come from the environment and
change no result."""

import os
from pathlib import Path
from typing import cast, get_args

from ruamel.yaml import YAML

from tpifu import config
from tpifu.config import Params, Precision
from tpifu.errors import ConfigError

SURREAL = Path("data/surreal")
MESHES = Path("data/meshes")
VIEWS = Path("data/views")
POINTS = Path("data/points")
MODELS = Path("models")
METRICS = Path("metrics")
REPORTS = Path("reports")

NAMES = ("baseline", "temporal")


def params() -> Params:
    return config.load(Path("params.yaml"))


def root() -> Path:
    """The real repository: under `dvc exp run --temp` or `--queue` the stage runs in a throw-away
    copy."""
    return Path(os.environ.get("DVC_ROOT", "."))


def scratch() -> Path:
    return root() / ".cache" / "train"


def downloads() -> Path:
    """Outside the stages' outs, which DVC empties: a second run fetches only what is missing."""
    return root() / ".cache" / "downloads"


def jobs() -> int:
    """Worker processes of the data stages: TPIFU_WORKERS, or one a core."""
    return _number("TPIFU_WORKERS", "processes") or len(os.sched_getaffinity(0))


def scheduler() -> str | None:
    """TPIFU_DASK: HOST:PORT of the Dask scheduler whose workers compute the data stages; unset
    takes processes of this machine."""
    return os.environ.get("TPIFU_DASK")


def readers() -> int:
    """Processes that read training batches ahead: TPIFU_READERS; unset: a thread does."""
    return _number("TPIFU_READERS", "processes") or 0


def parts() -> int:
    """Parts of a training batch that go through the network one after the other: TPIFU_PARTS."""
    return _number("TPIFU_PARTS", "parts of a batch") or 1


def precision() -> Precision:
    """Arithmetic of training steps: TPIFU_PRECISION."""
    chosen = os.environ.get("TPIFU_PRECISION", "float32")
    if chosen not in get_args(Precision):
        raise ConfigError(f"TPIFU_PRECISION is {chosen!r}: use {', '.join(get_args(Precision))}")
    return cast(Precision, chosen)


def compiled() -> bool:
    """Whether torch.compile compiles training steps: TPIFU_COMPILE, 1 or 0."""
    chosen = os.environ.get("TPIFU_COMPILE", "0")
    if chosen not in ("0", "1"):
        raise ConfigError(f"TPIFU_COMPILE is {chosen!r}: use 1, or 0")
    return chosen == "1"


def _number(name: str, what: str) -> int | None:
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{name} is {text!r}: a number of {what}, 1 or more")
    return int(text)


def device() -> str | None:
    """TPIFU_DEVICE: cpu, cuda, cuda:1 ...; unset takes CUDA where there is one."""
    return os.environ.get("TPIFU_DEVICE")


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
