import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.checks import contents, one_line

from tpifu.errors import DataError
from tpifu.resumable import build
from tpifu.shards.coding import pack_codes
from tpifu.shards.reader import Shards
from tpifu.shards.schema import item_seed

CLIPS = [("train", f"clip{number:02d}") for number in range(12)] + [("test", "last")]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    """A few clips fill a shard."""
    monkeypatch.setattr("tpifu.shards.writer.SHARD_BYTES", 20_000)


def rows(clip: tuple[str, str], log: Path | None = None, stop_at: str = "", pause: float = 0):
    """Two frames of a clip, one row group each; appends the name to `log`, raises at `stop_at`."""
    split, name = clip
    if name == stop_at:
        raise KeyboardInterrupt
    if log:
        with log.open("a") as file:
            file.write(f"{name}\n")
    time.sleep(pause)
    rng = np.random.default_rng(item_seed(0, name, 0))
    return [
        [
            {
                "split": split,
                "sequence": name,
                "clip": name,
                "frame": frame,
                "points": pack_codes(rng.integers(-9, 9, (1000, 3)).astype(np.int16)),
                "inside": bytes(125),
                "grid": None,
            }
        ]
        for frame in range(2)
    ]


def write(folder, *, metadata=None, jobs=1, **task):
    task = partial(rows, **task)
    build(folder, "points", task, CLIPS, metadata or {}, jobs=jobs)


@pytest.fixture
def whole(tmp_path) -> dict[str, bytes]:
    """The files of an uninterrupted call."""
    write(tmp_path / "whole")
    return contents(tmp_path / "whole")


def test_rows_depend_neither_on_jobs_nor_on_the_shard_size(tmp_path, whole, monkeypatch):
    assert len(whole) > 4
    write(tmp_path / "points", jobs=2)
    assert contents(tmp_path / "points") == whole
    stored = Shards(tmp_path / "points", "points")
    assert stored.index["clip"].tolist() == [name for _, name in CLIPS for _ in range(2)]
    monkeypatch.setattr("tpifu.shards.writer.SHARD_BYTES", 2**20)
    write(tmp_path / "large")
    assert sorted(contents(tmp_path / "large")) == ["test-00000.parquet", "train-00000.parquet"]
    large = Shards(tmp_path / "large", "points")
    everything = range(len(stored))
    assert large.read(everything, ["points"]) == stored.read(everything, ["points"])


def test_a_resumed_call_computes_only_missing_items(tmp_path, whole):
    folder, log = tmp_path / "points", tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        write(folder, log=log, stop_at="clip07")
    assert not folder.exists()
    stopped = log.read_text().split()
    assert stopped == [name for _, name in CLIPS[:7]]
    write(folder, log=log)
    computed = log.read_text().split()[len(stopped) :]
    assert computed[-1] == "last"
    assert 0 < len(computed) < len(CLIPS) - 3
    assert contents(folder) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "points", "whole"]


def test_a_call_with_other_settings_starts_over(tmp_path):
    folder, log = tmp_path / "points", tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        write(folder, stop_at="clip07")
    write(folder, log=log, metadata={"sigma": 1})
    assert log.read_text().split() == [name for _, name in CLIPS]


def test_a_truncated_shard_is_written_again(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "points", stop_at="clip07")
    shard = tmp_path / ".points.part" / "shards" / "train-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:100])
    write(tmp_path / "points")
    assert contents(tmp_path / "points") == whole


@pytest.mark.slow
def test_a_call_that_is_killed_ten_times_ends_with_the_same_bytes(tmp_path, whole, ends):
    log = tmp_path / "log"
    call = (
        "import sys; sys.path.insert(0, 'tests'); from pathlib import Path; "
        "from test_resumable import write; from tpifu.shards import writer; "
        "writer.SHARD_BYTES = 20_000; "
        f"write(Path({str(tmp_path / 'points')!r}), jobs=2, log=Path({str(log)!r}), pause=0.05)"
    )
    rng = np.random.default_rng(0)

    def computed() -> int:
        return len(log.read_text().split()) if log.exists() else 0

    for last in [*rng.integers(1, 8, 10).tolist(), None]:
        before = computed()
        process = subprocess.Popen(
            [sys.executable, "-c", call], cwd=Path(__file__).parents[1], start_new_session=True
        )
        while process.poll() is None and (last is None or computed() < before + last):
            time.sleep(rng.uniform(0, 0.05))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode == 0:
            break
        process.wait()
    assert process.returncode == 0
    assert computed() > len(CLIPS)  # killed items are computed again
    assert contents(tmp_path / "points") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "points", "whole"]


def test_a_full_disk_is_one_line_and_keeps_finished_shards(tmp_path, whole, monkeypatch):
    written = pq.ParquetWriter.write_table
    calls = iter(range(1000))

    def full(*args, **kwargs):
        if next(calls) >= 15:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(*args, **kwargs)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    message = r"points: cannot be written \(No space left on device\).*then repeat the command"
    with one_line(DataError, message):
        write(tmp_path / "points")
    monkeypatch.undo()
    monkeypatch.setattr("tpifu.shards.writer.SHARD_BYTES", 20_000)
    log = tmp_path / "log"
    write(tmp_path / "points", log=log)
    assert len(log.read_text().split()) < len(CLIPS)
    assert contents(tmp_path / "points") == whole


def test_a_folder_that_cannot_be_created_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"points: cannot be written \(.*Not a directory"):
        write(tmp_path / "file" / "points")


def test_a_folder_behind_a_symbolic_link_is_replaced_and_the_link_kept(tmp_path, whole):
    (tmp_path / "disk" / "target").mkdir(parents=True)
    (tmp_path / "disk" / "target" / "old.parquet").write_text("")
    link = tmp_path / "points"
    link.symlink_to(tmp_path / "disk" / "target")
    write(link)
    assert link.is_symlink()
    assert contents(tmp_path / "disk" / "target") == whole
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["target"]


def test_a_second_process_is_rejected(tmp_path, locked_elsewhere):
    part = tmp_path / ".points.part"
    part.mkdir()
    with (
        locked_elsewhere(part / "lock"),
        pytest.raises(DataError, match="another process writes this folder"),
    ):
        write(tmp_path / "points")


def test_nothing_to_write_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nothing to write"):
        build(tmp_path / "points", "points", rows, [], {}, jobs=1)
    assert list(tmp_path.iterdir()) == []
