"""The data stages write the same bytes on every x86-64 CPU. Training does not (docs/scaling.md).

A report names NumPy's vector instructions. Further members, switched off below: those of OpenBLAS,
MKL, torch, oneDNN, Arrow and the C library, and the seed of Python's hashes.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import helpers.data_stages
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.io

from tpifu.clips.rounding import STEP, rounded
from tpifu.files import digest

OLD_CPU = {
    # All instructions that NumPy selects at run time.
    "NPY_DISABLE_CPU_FEATURES": " ".join(np._core._multiarray_umath.__cpu_dispatch__),
    "OPENBLAS_CORETYPE": "Prescott",
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ARROW_USER_SIMD_LEVEL": "NONE",
    # The sines and exponentials of the C library.
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-FMA,-FMA4",
    "PYTHONHASHSEED": "7",
}
"""A CPU without AVX, as far as environment variables can switch it off. Embree has no variable."""

CONTENT = {
    "surreal": "266d6de949a93332",
    "meshes": "f87b479572136b95",
    "views": "1a3897a1bb99517c",
    "points": "33486c4a3e7675ab",
}
"""Digests of what the stages write, without metadata. They change with the motion, the body, the
renderer, the sampling or the versions in constraints.txt; nothing else may change them."""
COLUMNS = ("vertices", "calib", "image", "points", "inside", "grid")
FIELDS = ("pose", "shape", "joints3D", "joints2D", "camLoc", "zrot")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function that runs the data stages in a separate process and returns their folder."""

    def write(name: str, environment: dict[str, str]) -> Path:
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, "-W", "ignore", helpers.data_stages.__file__, str(folder)]
        subprocess.run(command, env=os.environ | environment, check=True)
        return folder

    return write


@pytest.fixture(scope="module")
def here(written):
    return written("here", {})


def content(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*_info.mat")):
        fields = scipy.io.loadmat(path)
        for name in FIELDS:
            total.update(fields[name].tobytes())
    for path in sorted(folder.glob("*-*.parquet")):
        table = pq.read_table(path)
        for name in COLUMNS:
            if name in table.column_names:
                total.update(repr(table[name].to_pylist()).encode())
    return total.hexdigest()[:16]


def test_an_old_cpu_writes_the_same_bytes(written, here):
    old = written("old", OLD_CPU)
    for stage in CONTENT:
        assert digest(old / stage) == digest(here / stage), stage


def test_this_cpu_writes_the_committed_content(here):
    assert {stage: content(here / stage) for stage in CONTENT} == CONTENT


def test_rounding_hides_the_last_bits_and_the_sign_of_zero():
    values = np.random.default_rng(0).uniform(-3, 3, 100_000)
    noisy = values * (1 + 1e-15)
    assert rounded(values).tobytes() == rounded(noisy).tobytes()
    assert rounded(np.array([-1e-17])).tobytes() == rounded(np.array([1e-17])).tobytes()
    assert np.abs(rounded(values) - values).max() <= STEP / 2
    assert (rounded(values).astype(np.float32) == rounded(values)).all()
