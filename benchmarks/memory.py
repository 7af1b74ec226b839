"""The largest resident memory of this process, for the other scripts (Linux)."""

import re
from pathlib import Path

PROC = Path("/proc/self")


def peak_mb() -> float:
    """Of this process alone: getrusage's peak is at least that of the process which started it."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", (PROC / "status").read_text())
    return int(peak) / 1024


def forget_peak() -> None:
    """What came before does not count any more."""
    (PROC / "clear_refs").write_text("5")
