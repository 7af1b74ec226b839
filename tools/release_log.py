"""Timestamped log lines, isolation of failures, and a time limit."""

import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Log:
    """Logs to stderr, and records the lines and the seconds of each part for machine.json. Time is
    measured from the start of the process, because imports count towards the limit."""

    def __init__(self) -> None:
        self.began = time.monotonic() - (time.time() - psutil.Process().create_time())
        self.lines: list[str] = []
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        """Names of the attempts that failed."""

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def __call__(self, text: str) -> None:
        self.lines.append(f"{self.elapsed:6.1f} s  {text}")
        print(self.lines[-1], file=sys.stderr, flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = self.elapsed
        try:
            yield
        finally:
            self.seconds[name] = round(self.elapsed - began, 1)
            self(f"{name}: {self.seconds[name]} s")

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Run and time one part of the work; a failure is logged and does not stop the rest."""
        try:
            with self.part(name):
                yield
        except Exception as error:
            self.failed.append(name)
            self(f"{name} FAILED: {type(error).__name__}: {error}")
            traceback.print_exc()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block when time is up, and again every 5 s if the block catches it.
    Works in the main thread only."""

    def stop(_number: int, _frame: object) -> None:
        raise TimeoutError(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
