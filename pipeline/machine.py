"""Machine settings, from the environment; they change no result."""

import os
from typing import cast, get_args

from tpifu.config import Precision
from tpifu.errors import ConfigError


def jobs() -> int:
    """Worker processes of the data stages: TPIFU_JOBS, or one a core."""
    return _number("TPIFU_JOBS", "processes") or len(os.sched_getaffinity(0))


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


def device_name() -> str | None:
    """TPIFU_DEVICE: cpu, cuda, cuda:1 ...; unset takes CUDA where there is one."""
    return os.environ.get("TPIFU_DEVICE")
