"""The released models, NAME/model.pt and NAME/config.yaml, and card.json. `make release` makes all
files."""

import json
from pathlib import Path
from typing import Any

from tpifu.errors import ConfigError, warn

RELEASED = Path(__file__).parent


def find_model(name: str) -> Path:
    """The path that an argument names: a released model for released/NAME, else the path itself.

    A local file or folder of that name has precedence, with a warning. Raises ConfigError if no
    released model has the name.
    """
    path = Path(name)
    if len(path.parts) != 2 or path.parts[0] != RELEASED.name:
        return path
    model = RELEASED / path.parts[1]
    if path.exists():
        warn(f"{name}: this local model is used, not the released one of the same name")
        return path
    if not model.is_dir():
        names = ", ".join(f"{RELEASED.name}/{own}" for own in read_card()["models"])
        raise ConfigError(f"{name}: no such released model; there are {names}")
    return model


def read_card() -> dict[str, Any]:
    """The model card: licence, data, training, checksums, and means of the measures."""
    card: dict[str, Any] = json.loads((RELEASED / "card.json").read_text(encoding="utf-8"))
    return card
