"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tpifu.config import Params


NO_DRAW = {"train.points": 2, "evaluate.points": 2}
"""For commands that draw no points: any pool is large enough."""

Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda or cuda:N.", metavar="NAME", show_default="CUDA where there is one"
    ),
]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="model.pt, or the folder that holds it.")
]


def checked_params(command: str, given: dict[str, Any], base: "Params | None" = None) -> "Params":
    """`base` (Table 1) under the options given, by dotted key; checked as a params.yaml is."""
    from tpifu.config import Params, parse

    values = (base or Params()).model_dump()
    for key, value in given.items():
        if value is None:
            continue
        section = values
        *path, name = key.split(".")
        for part in path:
            section = section[part]
        section[name] = value
    return parse(values, f"tpifu {command}")
