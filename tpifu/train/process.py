"""The training process: memory reuse, SIGTERM."""

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def reuse_memory() -> None:
    """Let the process keep what a step frees for the next one, where its memory is glibc's.

    By default glibc hands large blocks back to the system, which clears them page by page when
    they are asked for again: ten thousand times a step of the laptop's network, a tenth of its
    time. The peak stays the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_THRESHOLD, 2**30)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """A list that holds the signal once SIGTERM has come, in place of the process's end.

    Schedulers send it before they kill. Only the main thread may ask for signals.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
