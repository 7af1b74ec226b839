import os
import pickle
import re
import zipfile

import pytest
import torch

from tpifu.config import DataRecord
from tpifu.errors import ConfigError, DataError
from tpifu.model.folder import (
    FORMAT,
    MODEL_NAME,
    TrainedModel,
    device_from,
    load_model,
    model_state,
    save_model,
    write_state,
)
from tpifu.model.pifu import PIFu

CPU = torch.device("cpu")
RECORD = DataRecord(light="environment", occlusion=16, source="cmu", origin="pelvis")


def _message(device: str) -> str:
    with pytest.raises(RuntimeError) as caught:
        torch.device(device)
    return str(caught.value)


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


def test_a_long_name_in_a_model_file_is_refused_at_once(tmp_path):
    with zipfile.ZipFile(tmp_path / MODEL_NAME, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02ctorch\n" + b"[" * 10**6 + b"\n.")
        archive.writestr("archive/version", "3\n")
    with pytest.raises(DataError, match="not a model file, or damaged"):
        load_model(tmp_path, CPU)


def test_unknown_and_absent_devices_are_rejected():
    assert device_from("cpu") == CPU
    assert device_from(None).type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="device 'gpu' is unknown: use cpu, cuda"):
        device_from("gpu")
    with pytest.raises(ConfigError, match=r"device 'cuda:99': torch finds \d+ CUDA devices here"):
        device_from("cuda:99")


# The names that torch parses, from its own error message. Beside the published mps and xpu: meta
# computes nothing, torch reads cuda:256 as cuda:0, and accepts cpu:3.
BACKENDS = re.findall(r"\w+", _message("nothing").partition("one of")[2].partition(" device")[0])


@pytest.mark.parametrize("name", [*BACKENDS, "mps:0", "cpu:3", "cuda:256", "cuda:", "cuda:-1", " "])
def test_every_device_that_torch_parses_works_or_is_one_line(name):
    assert {"cpu", "cuda", "mps", "xpu", "meta", "vulkan"} <= set(BACKENDS)
    if name == "cpu" or (name == "cuda" and torch.cuda.is_available()):
        device = device_from(name)
        assert str(device) == name
        assert torch.zeros(2, device=device).sum().item() == 0
        return
    with pytest.raises(ConfigError) as caught:
        device_from(name)
    line = str(caught.value)
    assert line.startswith(f"device {name!r}")
    assert "use cpu" in line
    assert "\n" not in line


def test_a_device_that_does_not_work_is_one_line(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("CUDA driver version is insufficient\nmore lines")

    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.zeros", fail)
    with pytest.raises(
        ConfigError, match=r"device 'cuda' does not work \(CUDA driver .*; use cpu$"
    ):
        device_from("cuda")


def test_a_changed_weight_is_an_error(trained, tmp_path):
    save_model(tmp_path, trained)
    with zipfile.ZipFile(tmp_path / MODEL_NAME) as archive:
        weights = max(map(archive.read, archive.namelist()), key=len)
    data = bytearray((tmp_path / MODEL_NAME).read_bytes())
    data[data.index(weights) + 5] ^= 1
    (tmp_path / MODEL_NAME).write_bytes(data)
    with pytest.raises(DataError, match=r"model\.pt: not a model file, or damaged"):
        load_model(tmp_path, CPU)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("window"),
        lambda state: state.update(size="large"),
        lambda state: state["config"].update(mlp=[16, 9]),
        lambda state: state["config"].update(mlp=[9] * 10**6),
        lambda state: state["config"]["hourglass"].update(dim=-8),
        lambda state: state["config"]["hourglass"].update(dim=8 * 10**6),
        lambda state: state["config"]["hourglass"].update(stacks=10**9),
        lambda state: state["network"].popitem(),
        lambda state: state.update(network=[1]),
        lambda state: state["data"].update(light="moon"),
    ],
)
def test_a_model_that_contradicts_itself_is_one_line(change, trained, tmp_path):
    state = model_state(trained)
    change(state)
    write_state(tmp_path / MODEL_NAME, state)
    with pytest.raises(DataError, match=r"model\.pt: a damaged model file \(") as caught:
        load_model(tmp_path, CPU)
    assert "\n" not in str(caught.value)
