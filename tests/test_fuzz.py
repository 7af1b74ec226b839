"""Damaged and hostile files, a few of those of benchmarks/fuzz.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_mutated_files_are_read_or_refused_in_one_line():
    found = subprocess.run(
        [sys.executable, "benchmarks/fuzz.py", "--count", "400"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert found.returncode == 0, found.stdout
    totals = json.loads(found.stdout.splitlines()[-1])
    assert totals["files"] == 400
    assert totals["read"] > 50
