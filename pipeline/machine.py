"""Machine settings from environment variables. Only TPIFU_PRECISION, TPIFU_PARTS and TPIFU_COMPILE
change results, by rounding."""

import os

from tpifu.config import Precision, check_precision
from tpifu.errors import ConfigError


def jobs() -> int:
    """TPIFU_JOBS: number of processes for data stages and evaluation; default: one per core."""
    return _number("TPIFU_JOBS", "processes") or len(os.sched_getaffinity(0))


def scheduler() -> str | None:
    """TPIFU_DASK: HOST:PORT of a Dask scheduler whose workers run the data stages; unset: processes
    of this machine."""
    return os.environ.get("TPIFU_DASK")


def readers() -> int:
    """TPIFU_READERS: number of processes that prefetch training batches; default: a thread."""
    return _number("TPIFU_READERS", "processes") or 0


def parts() -> int:
    """TPIFU_PARTS: parts of a training batch that are processed one after the other."""
    return _number("TPIFU_PARTS", "parts of a batch") or 1


def precision() -> Precision:
    """TPIFU_PRECISION: arithmetic of training steps."""
    return check_precision(os.environ.get("TPIFU_PRECISION", "float32"), "TPIFU_PRECISION")


def compiled() -> bool:
    """TPIFU_COMPILE: whether torch.compile compiles training steps, 1 or 0."""
    chosen = os.environ.get("TPIFU_COMPILE", "0")
    if chosen not in ("0", "1"):
        raise ConfigError(f"TPIFU_COMPILE is {chosen!r}: use 1 or 0")
    return chosen == "1"


def _number(name: str, unit: str) -> int | None:
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{name} is {text!r}: a number of {unit}, 1 or more")
    return int(text)


def device_name() -> str | None:
    """TPIFU_DEVICE: cpu, cuda or cuda:N; unset: CUDA if available."""
    return os.environ.get("TPIFU_DEVICE")
