"""Options that several commands share."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tpifu.config import Lighting, Params
    from tpifu.model.folder import TrainedModel


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


def warn_of_light(folder: Path, model: "TrainedModel", images: "Lighting | None") -> None:
    """Print a line if the images in `folder` have another light than the training images."""
    if images and (warning := model.lighting.warning(images)):
        print(f"{folder}: {warning}", file=sys.stderr)
