"""The released models, NAME/model.pt and NAME/config.yaml, and card.json. `make release` writes all
files."""

import json
from pathlib import Path
from typing import Any

from tpifu.errors import ConfigError, warn

RELEASED = Path(__file__).parent


def find_model(name: str) -> Path:
    """The path of a model argument: for released/NAME the released model, else the argument itself.

    A local file or folder released/NAME takes precedence, with a warning. Raises ConfigError if
    there is no such model.
    """
    path = Path(name)
    if len(path.parts) != 2 or path.parts[0] != RELEASED.name:
        return path
    model = RELEASED / path.parts[1]
    if path.exists():
        warn(f"{name}: using this local model, not the released model of the same name")
        return path
    if not model.is_dir():
        names = ", ".join(f"{RELEASED.name}/{own}" for own in read_card()["models"])
        raise ConfigError(f"{name}: no such released model; there are {names}")
    return model


def read_card() -> dict[str, Any]:
    """The model card: licence, data, training, checksums, and mean measures."""
    card: dict[str, Any] = json.loads((RELEASED / "card.json").read_text(encoding="utf-8"))
    return card
