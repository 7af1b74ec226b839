"""Model folders and model files: written atomically, read with `weights_only` and without training
code."""

import os
import pickletools
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tpifu.config import DataRecord, Model
from tpifu.errors import ConfigError, DataError
from tpifu.files import whole_file
from tpifu.model.pifu import PIFu

FORMAT = "tpifu-6"
MODEL_NAME = "model.pt"
LOSS_NAME = "loss.csv"
_LONGEST_NAME = 1000
VALIDATION_NAME = "validation.csv"
SETTINGS_NAME = "config.yaml"


@dataclass(frozen=True)
class TrainedModel:
    """A network and everything needed to use it."""

    network: PIFu
    config: Model
    window: float
    """Width of the images, metres."""
    size: int
    """Image width and height, pixels."""
    level: float
    """A point of a reconstruction or a grid is inside if its occupancy is greater. For points of
    which half are inside, as in training and Table 2, the level is 0.5."""
    data: DataRecord
    """Properties of the training data in which other data may differ."""


def device_from(name: str | None) -> torch.device:
    """The device 'cpu', 'cuda' or 'cuda:N'; None selects CUDA if available. Raises ConfigError if
    the device is unknown, missing or does not work."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    # torch also parses other backends' names, and reads cuda:256 as cuda:0.
    if (match := re.fullmatch(r"cpu|cuda(?::([0-9]+))?", name)) is None:
        raise ConfigError(f"device {name!r} is unknown: use cpu, cuda or cuda:N")
    if name == "cpu":
        return torch.device(name)
    if int(match[1] or 0) >= (count := torch.cuda.device_count()):
        raise ConfigError(f"device {name!r}: torch finds {count} CUDA devices here; use cpu")
    device = torch.device(name)
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:  # for example, the driver is too old or the memory is full
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} does not work ({reason}); use cpu") from error
    return device


def network_of(config: Model, window: float, weights: dict[str, Tensor]) -> PIFu:
    """A network with copies of `weights`, on their device and in evaluation mode. It draws no
    random numbers. Raises ValueError if the weights do not fit."""
    if max(config.hourglass.stacks, config.hourglass.depth, len(config.mlp)) > len(weights):
        raise ValueError("weights of another network")  # whose layers would not fit into memory
    with torch.device("meta"):
        network = PIFu(config, window)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != shapes:
        raise ValueError("weights of another network")
    network.to_empty(device=next(iter(weights.values())).device).load_state_dict(weights)
    return network.eval()


def model_file(path: Path) -> Path:
    """A model file itself, or the model.pt of a folder."""
    return path / MODEL_NAME if path.is_dir() else path


def load_model(path: Path, device: torch.device) -> TrainedModel:
    """Read a model file, a checkpoint, or the model.pt of a folder. Raises DataError for any other
    file."""
    file = model_file(path)
    state = read_state(file)
    try:
        config = Model.model_validate(state["config"])
        return TrainedModel(
            network=network_of(config, float(state["window"]), state["network"]).to(device),
            config=config,
            window=float(state["window"]),
            size=int(state["size"]),
            level=float(state["level"]),
            data=DataRecord.model_validate(state["data"]),
        )
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(f"{file}: a damaged model file ({reason})") from error


def save_model(folder: Path, model: TrainedModel) -> None:
    """Write `folder`/model.pt."""
    write_state(folder / MODEL_NAME, model_state(model))


def model_state(model: TrainedModel) -> dict[str, Any]:
    """The contents of a model file."""
    return {
        "format": FORMAT,
        "config": model.config.model_dump(),
        "window": model.window,
        "size": model.size,
        "level": model.level,
        "data": model.data.model_dump(),
        "network": {name: value.cpu() for name, value in model.network.state_dict().items()},
    }


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace a file. If writing fails, the old file remains and DataError is raised."""
    try:
        with whole_file(path) as part, part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # the content must reach the disk before the name
    except (OSError, RuntimeError) as error:
        # torch may raise a second error when it closes its archive; the first one has the reason.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise DataError(
            f"{path}: cannot be written ({cause.strerror}); the file written before is kept"
        ) from error


def read_state(path: Path) -> dict[str, Any]:
    """The contents of a file written by `write_state`. Raises DataError for any other file."""
    state = read_tensors(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(
            f"{path}: not a model of this project ({FORMAT}); train one with tpifu train"
        )
    return state


def read_tensors(path: Path) -> Any:
    """The contents of a file written by torch: tensors, numbers and strings in dicts and lists.
    Runs no code from the file. Raises DataError if it is missing, damaged, or contains anything
    else."""
    if not path.is_file():
        raise DataError(f"{path}: no such model file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below is enough
            if zipfile.is_zipfile(path):  # torch ignores its checksums
                with zipfile.ZipFile(path) as archive:
                    if broken := archive.testzip():
                        raise zipfile.BadZipFile(broken)
                    for name in archive.namelist():
                        if name.endswith("/data.pkl"):
                            _check_names(archive.read(name))
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # errors from zipfile, pickle and torch
        raise DataError(f"{path}: not a model file, or damaged") from error


def _check_names(content: bytes) -> None:
    """Raise ValueError for a long name in a pickle: torch takes minutes to write its error."""
    for _, argument, _ in pickletools.genops(content):
        if isinstance(argument, str) and len(argument) > _LONGEST_NAME:
            raise ValueError("a name is too long")
