import os
import pickle

import pytest
import torch

from tpifu.config import DataRecord
from tpifu.errors import ConfigError, DataError
from tpifu.model.folder import FORMAT, MODEL_NAME, TrainedModel, device_from, load_model, save_model
from tpifu.model.pifu import PIFu

CPU = torch.device("cpu")
RECORD = DataRecord(light="environment", occlusion=16, source="cmu", origin="pelvis")


@pytest.fixture
def trained(tiny_model) -> TrainedModel:
    torch.manual_seed(0)
    return TrainedModel(PIFu(tiny_model, 2.56), tiny_model, 2.56, 32, 0.5, RECORD)


def test_a_model_loads_as_saved(trained, tmp_path):
    save_model(tmp_path, trained)
    for path in (tmp_path, tmp_path / MODEL_NAME):
        found = load_model(path, CPU)
        assert found.config == trained.config
        assert (found.config.neighborhood, found.window, found.size) == (3, 2.56, 32)
        assert found.data == RECORD
        assert not found.network.training
        for name, value in trained.network.state_dict().items():
            assert torch.equal(found.network.state_dict()[name], value)


def test_equal_models_have_equal_bytes_and_leave_no_other_file(trained, tmp_path):
    save_model(tmp_path / "one", trained)
    save_model(tmp_path / "two", trained)
    assert [path.name for path in (tmp_path / "one").iterdir()] == [MODEL_NAME]
    one, two = (tmp_path / name / MODEL_NAME for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


class Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/tpifu-was-here",)


@pytest.mark.parametrize(
    "content", [b"", b"hello", pickle.dumps({"a": 1}), pickle.dumps(Malicious())]
)
def test_a_foreign_file_is_rejected_and_its_code_does_not_run(content, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.pt: not a model file") as caught:
        load_model(path, CPU)
    assert "\n" not in str(caught.value)
    assert not os.path.exists("/tmp/tpifu-was-here")


def test_missing_damaged_and_foreign_torch_files_are_rejected(tmp_path, trained):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("foreign.pt", "list.pt"):
        with pytest.raises(DataError, match=rf"not a model of this project \({FORMAT}\)"):
            load_model(tmp_path / name, CPU)
    with pytest.raises(DataError, match=r"nowhere\.pt: no such model file"):
        load_model(tmp_path / "nowhere.pt", CPU)
    save_model(tmp_path, trained)
    os.truncate(tmp_path / MODEL_NAME, 1000)
    with pytest.raises(DataError, match="or damaged"):
        load_model(tmp_path, CPU)


def test_unknown_and_absent_devices_are_rejected():
    assert device_from("cpu") == CPU
    assert device_from(None).type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="device 'gpu' is unknown: use cpu, cuda"):
        device_from("gpu")
    with pytest.raises(ConfigError, match=r"device 'cuda:99': torch finds \d+ CUDA devices here"):
        device_from("cuda:99")
