import multiprocessing

import pytest
import torch

from tpifu.errors import DataError
from tpifu.train.checkpoints import STATE_NAME, Checkpoints
from tpifu.train.distributed import Processes


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "run", Processes())


def test_a_damaged_checkpoint_is_one_line_that_says_what_to_do(checkpoints):
    with checkpoints.locked():
        checkpoints.save({"weight": torch.ones(1000)})
        path = checkpoints.folder / STATE_NAME
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(DataError, match=r"state\.pt: .* damaged; delete it to restart"):
            checkpoints.load()


def test_a_folder_that_cannot_be_created_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"run: cannot create .*\(Not a directory\)$"),
        Checkpoints(tmp_path / "file" / "run", Processes()).locked(),
    ):
        pass


def test_a_second_trainer_is_rejected_until_the_first_has_died(checkpoints, locked_elsewhere):
    checkpoints.folder.mkdir()
    with locked_elsewhere(checkpoints.folder / "lock") as other:
        with (
            pytest.raises(DataError, match="another process trains this run"),
            checkpoints.locked(),
        ):
            pass
        other.kill()
        other.wait()
        with checkpoints.locked():
            pass


def test_a_forked_reader_does_not_keep_the_lock_of_a_killed_trainer(checkpoints):
    context = multiprocessing.get_context("fork")
    started, done = context.Event(), context.Event()

    def train():
        with checkpoints.locked():
            reader = context.Process(target=done.wait)
            reader.start()
            started.set()
            reader.join()

    trainer = context.Process(target=train)
    trainer.start()
    assert started.wait(60)
    trainer.kill()
    trainer.join()
    try:
        with checkpoints.locked():
            pass
    finally:
        done.set()
