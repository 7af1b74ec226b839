"""Machine settings, from environment variables. They change results by rounding at most."""

import os
from typing import cast, get_args

from tpifu.config import Precision
from tpifu.errors import ConfigError


def jobs() -> int:
    """TPIFU_JOBS: processes of the data stages and of evaluation; by default one a core."""
    return _number("TPIFU_JOBS", "processes") or len(os.sched_getaffinity(0))


def scheduler() -> str | None:
    """TPIFU_DASK: HOST:PORT of a Dask scheduler for the data stages; by default none."""
    return os.environ.get("TPIFU_DASK")


def readers() -> int:
    """TPIFU_READERS: processes that read training batches ahead; by default 0, a thread."""
    return _number("TPIFU_READERS", "processes") or 0


def parts() -> int:
    """TPIFU_PARTS: parts of a training batch, computed one after the other; by default 1."""
    return _number("TPIFU_PARTS", "parts of a batch") or 1


def precision() -> Precision:
    """TPIFU_PRECISION: arithmetic of training steps; by default float32."""
    chosen = os.environ.get("TPIFU_PRECISION", "float32")
    if chosen not in get_args(Precision):
        raise ConfigError(f"TPIFU_PRECISION is {chosen!r}: use {', '.join(get_args(Precision))}")
    return cast(Precision, chosen)


def compiled() -> bool:
    """TPIFU_COMPILE: 1 compiles training steps with torch.compile; by default 0."""
    chosen = os.environ.get("TPIFU_COMPILE", "0")
    if chosen not in ("0", "1"):
        raise ConfigError(f"TPIFU_COMPILE is {chosen!r}: use 1 or 0")
    return chosen == "1"


def _number(name: str, what: str) -> int | None:
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{name} is {text!r}: a number of {what}, 1 or more")
    return int(text)


def device_name() -> str | None:
    """TPIFU_DEVICE: cpu, cuda, cuda:1 ...; by default CUDA if available."""
    return os.environ.get("TPIFU_DEVICE")
