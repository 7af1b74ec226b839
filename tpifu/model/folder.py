"""Model files and training checkpoints: written whole, read with `weights_only`, resumed only when
they fit."""

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tpifu.config import Model
from tpifu.errors import ConfigError, DataError
from tpifu.model.pifu import PIFu

LOSS_NAME = "loss.csv"
VALIDATION_NAME = "validation.csv"
SETTINGS_NAME = "config.yaml"

FORMAT = "tpifu-4"
MODEL_NAME = "model.pt"


@dataclass(frozen=True)
class TrainedModel:
    """A network with all that is needed to use it outside this repository."""

    network: PIFu
    config: Model
    window: float
    """Metres across the image."""
    size: int
    """Image width and height, pixels."""
    level: float
    """Occupancy above it is inside, in reconstructions and on grids (`tpifu.train.surface_level`).
    At points drawn half inside, as in training and Table 2, it is 0.5."""


def device_from(name: str | None) -> torch.device:
    """'cpu', 'cuda', 'cuda:1' ...; None takes CUDA where there is one. ConfigError if it cannot be
    used."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown: use cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name!r}: torch finds {torch.cuda.device_count()} CUDA devices here; use cpu"
        )
    return device


def save_model(folder: Path, model: TrainedModel) -> None:
    """Write `folder`/model.pt."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / MODEL_NAME, described(model))


def described(model: TrainedModel) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "config": model.config.model_dump(),
        "window": model.window,
        "size": model.size,
        "level": model.level,
        "network": {name: value.cpu() for name, value in model.network.state_dict().items()},
    }


def load_model(path: Path, device: torch.device) -> TrainedModel:
    """Read a model file or a checkpoint, or the model.pt of a folder, in evaluation mode. Raises
    DataError if it is not ours."""
    if path.is_dir():
        path = path / MODEL_NAME
    state = read(path)
    if state.get("format") != FORMAT:
        raise DataError(
            f"{path}: not a model of this project ({FORMAT}); train one with tpifu train"
        )
    config = Model.model_validate(state["config"])
    network = PIFu(config, state["window"])
    network.load_state_dict(state["network"])
    return TrainedModel(
        network=network.to(device).eval(),
        config=config,
        window=state["window"],
        size=state["size"],
        level=state["level"],
    )


def model_digest(path: Path) -> str:
    """SHA-256 of a model file, or of the model.pt of a folder. DataError if there is none."""
    path = path / MODEL_NAME if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{path}: no such model file")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # the name must not reach the disk before the content
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        # Closing its archive, torch may fail once more over what the system refused.
        refusal = error if isinstance(error, OSError) else error.__context__
        if not isinstance(refusal, OSError):
            raise
        raise DataError(
            f"{path}: cannot be written ({refusal.strerror}); what was there before is kept"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such model file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below says it in one line
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of zip, pickle and torch alike: not a file that _write() wrote
        raise DataError(f"{path}: not a model file of this project, or damaged") from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: not a model file of this project")
    return state
