import multiprocessing
import os
import pickle
import signal

import pytest
import torch

from tpifu.checkpoint import (
    FORMAT,
    MODEL_NAME,
    Checkpoints,
    TrainedModel,
    device_from,
    fingerprint,
    load_model,
    save_model,
)
from tpifu.errors import ConfigError, DataError
from tpifu.pifu import PIFu

CPU = torch.device("cpu")


@pytest.fixture
def trained(tiny_model) -> TrainedModel:
    torch.manual_seed(0)
    return TrainedModel(PIFu(tiny_model, 2.56), tiny_model, 2.56, 32, 0.5)


def test_a_model_comes_back_as_saved(trained, tmp_path):
    save_model(tmp_path, trained)
    for path in (tmp_path, tmp_path / MODEL_NAME):  # the folder or the file
        found = load_model(path, CPU)
        assert found.config == trained.config
        assert (found.config.neighborhood, found.window, found.size) == (3, 2.56, 32)
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


def test_checkpoints_come_back_and_can_be_forgotten(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    with checkpoints.locked():
        assert checkpoints.load() is None
        checkpoints.save({"losses": [0.5], "network": {"w": torch.ones(2)}})
        checkpoints.save({"losses": [0.5, 0.25], "network": {"w": torch.ones(2)}})
        found = checkpoints.load()
        assert found["losses"] == [0.5, 0.25]
        checkpoints.delete()
    assert not (tmp_path / "run").exists()


def hold(folder, ready, done):
    with Checkpoints(folder).locked():
        ready.set()
        done.wait()


def test_a_second_trainer_of_a_run_is_refused_until_the_first_is_gone(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "run", ready, done))
    other.start()
    assert ready.wait(60)
    with (
        pytest.raises(DataError, match="another process trains this very run"),
        Checkpoints(tmp_path / "run").locked(),
    ):
        pass
    os.kill(other.pid, signal.SIGKILL)  # a dead process holds no lock
    other.join()
    with Checkpoints(tmp_path / "run").locked():
        pass


def test_devices_are_named_or_refused():
    assert device_from("cpu") == CPU
    assert device_from(None).type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="device 'gpu' is unknown: use cpu, cuda"):
        device_from("gpu")
    with pytest.raises(ConfigError, match=r"device 'cuda:99': torch finds \d+ CUDA devices here"):
        device_from("cuda:99")
