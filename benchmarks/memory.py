"""Peak resident memory of this process, for the other benchmarks (Linux only)."""

import re
from pathlib import Path

PROC = Path("/proc/self")


def peak_mb() -> float:
    """Peak memory of this process alone; getrusage's peak includes the parent process's."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", (PROC / "status").read_text())
    return int(peak) / 1024


def forget_peak() -> None:
    """Reset the peak to the current memory use."""
    (PROC / "clear_refs").write_text("5")
