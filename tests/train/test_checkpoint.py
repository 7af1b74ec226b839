import multiprocessing
import os
import pickle

import pytest
import torch

from tpifu.config import Lighting
from tpifu.errors import ConfigError, DataError
from tpifu.model.folder import FORMAT, MODEL_NAME, TrainedModel, device_from, load_model, save_model
from tpifu.model.pifu import PIFu
from tpifu.train.checkpoints import Checkpoints, fingerprint

CPU = torch.device("cpu")
LIGHTING = Lighting(light="environment", occlusion=16)


@pytest.fixture
def trained(tiny_model) -> TrainedModel:
    torch.manual_seed(0)
    return TrainedModel(PIFu(tiny_model, 2.56), tiny_model, 2.56, 32, 0.5, LIGHTING)


def test_a_model_comes_back_as_saved(trained, tmp_path):
    save_model(tmp_path, trained)
    for path in (tmp_path, tmp_path / MODEL_NAME):  # the folder or the file
        found = load_model(path, CPU)
        assert found.config == trained.config
        assert (found.config.neighborhood, found.window, found.size) == (3, 2.56, 32)
        assert found.lighting == LIGHTING
        assert not found.network.training
        for name, value in trained.network.state_dict().items():
            assert torch.equal(found.network.state_dict()[name], value)


def test_models_saved_twice_are_byte_equal_and_nothing_else_is_left(trained, tmp_path):
    save_model(tmp_path / "one", trained)
    save_model(tmp_path / "two", trained)
    assert [path.name for path in (tmp_path / "one").iterdir()] == [MODEL_NAME]
    one, two = (tmp_path / name / MODEL_NAME for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


class Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/tpifu-was-here",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        pickle.dumps({"a": 1}),
        pickle.dumps(Malicious()),
    ],
)
def test_a_file_that_is_not_ours_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.pt: not a model") as caught:
        load_model(path, CPU)
    assert "\n" not in str(caught.value)
    assert not os.path.exists("/tmp/tpifu-was-here")


def test_other_torch_files_and_missing_ones_are_refused(tmp_path, trained):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
    with pytest.raises(DataError, match=rf"not a model of this project \({FORMAT}\)"):
        load_model(tmp_path / "foreign.pt", CPU)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DataError, match="not a model file of this project"):
        load_model(tmp_path / "list.pt", CPU)
    with pytest.raises(DataError, match=r"nowhere\.pt: no such model file"):
        load_model(tmp_path / "nowhere.pt", CPU)
    save_model(tmp_path, trained)
    whole = (tmp_path / MODEL_NAME).read_bytes()
    (tmp_path / MODEL_NAME).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="or damaged"):
        load_model(tmp_path, CPU)


def test_a_fingerprint_tells_settings_and_data_apart():
    settings = {"seed": 0, "train": {"steps": 5}}
    same = fingerprint({"train": {"steps": 5}, "seed": 0}, "abc")
    assert fingerprint(settings, "abc") == same
    assert len(same) == 12
    others = {
        fingerprint({**settings, "seed": 1}, "abc"),
        fingerprint({**settings, "train": {"steps": 6}}, "abc"),
        fingerprint(settings, "abd"),
    }
    assert len(others | {same}) == 4


def test_checkpoints_come_back_and_can_be_forgotten(trained, tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    with checkpoints.locked():
        assert checkpoints.load() is checkpoints.last is None
        checkpoints.save(trained, {"losses": [0.5]})
        checkpoints.save(trained, {"losses": [0.5, 0.25]})
        found = checkpoints.load()
        assert found["losses"] == [0.5, 0.25]
        for name, value in load_model(checkpoints.last, CPU).network.state_dict().items():
            assert torch.equal(found["network"][name], value)
        checkpoints.delete()
    assert not (tmp_path / "run").exists()


def test_what_a_kill_left_half_written_is_no_checkpoint_and_goes(trained, tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    with checkpoints.locked():
        checkpoints.save(trained, {"losses": [0.5]})
        checkpoints.last.with_suffix(".part").write_bytes(b"half of it")
        assert checkpoints.load()["losses"] == [0.5]
        checkpoints.delete()
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_says_what_to_do(trained, tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    with checkpoints.locked():
        checkpoints.save(trained, {"losses": [0.5]})
        checkpoints.last.write_bytes(checkpoints.last.read_bytes()[:1000])
        with pytest.raises(DataError, match=r"state\.pt: .* damaged; .* begins anew: delete it$"):
            checkpoints.load()


def test_a_folder_for_checkpoints_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"run: cannot be made, .*\(Not a directory\)$"),
        Checkpoints(tmp_path / "file" / "run").locked(),
    ):
        pass


def test_a_second_trainer_of_a_run_is_refused_until_the_first_is_gone(tmp_path, held_elsewhere):
    run = tmp_path / "run"
    run.mkdir()
    with held_elsewhere(run / "lock") as other:
        with (
            pytest.raises(DataError, match="another process trains this very run"),
            Checkpoints(run).locked(),
        ):
            pass
        other.kill()  # a dead process holds no lock
        other.wait()
        with Checkpoints(run).locked():
            pass


def test_a_process_that_is_forked_does_not_hold_the_lock_on(tmp_path):
    """A DataLoader's processes outlive a trainer that is killed, for seconds."""
    context = multiprocessing.get_context("fork")
    checkpoints = Checkpoints(tmp_path / "run")
    born, done = context.Event(), context.Event()

    def train():
        with checkpoints.locked():
            reader = context.Process(target=done.wait)
            reader.start()
            born.set()
            reader.join()

    trainer = context.Process(target=train)
    trainer.start()
    assert born.wait(60)
    trainer.kill()
    trainer.join()
    try:
        with checkpoints.locked():
            pass
    finally:
        done.set()


def test_devices_are_named_or_refused():
    assert device_from("cpu") == CPU
    assert device_from(None).type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="device 'gpu' is unknown: use cpu, cuda"):
        device_from("gpu")
    with pytest.raises(ConfigError, match=r"device 'cuda:99': torch finds \d+ CUDA devices here"):
        device_from("cuda:99")
