"""Arguments and options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tpifu.cli.released import find_model
from tpifu.errors import ConfigError, DataError, warn

if TYPE_CHECKING:
    from tpifu.config import DataRecord, Model, Params
    from tpifu.model.folder import TrainedModel

ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        parser=find_model,
        help="A model.pt, the folder that holds it, or a released model, such as "
        "released/temporal; `tpifu models` lists the released models.",
    ),
]
ShardFolder = Annotated[
    Path,
    typer.Argument(metavar="SHARDS", help="A folder with meshes/, views/ and points/."),
]
ParamsFile = Annotated[
    Path | None,
    typer.Option("--params", metavar="FILE", help="A params.yaml.", show_default="tpifu's own"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a parameter, such as profile=paper or train.steps=100; repeatable. `tpifu "
        "params` lists all.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="TPIFU_DEVICE",
        help="cpu, cuda or cuda:N.",
        show_default="CUDA if available",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def out(metavar: str, help: str) -> Any:
    """The option --out."""
    return typer.Option("--out", "-o", metavar=metavar, help=help)


def require_new(out: Path) -> None:
    """Raise DataError if the folder `out` exists and is not empty, or cannot be created."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out}: already exists: choose another --out, or delete it")
    for parent in out.absolute().parents:
        if parent.exists() and not parent.is_dir():
            raise DataError(f"{out}: {parent} is a file, not a folder: choose another --out")


def read_params(
    file: Path | None, settings: list[str] | None, model: "Model | None" = None
) -> "Params":
    """Parameters of `file`, overridden by `model`, then by `settings`, the KEY=VALUE pairs of
    --set."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from tpifu.params_file import default_file, load, override

    values = {}
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: write KEY=VALUE, such as train.steps=100")
        try:
            values[key] = YAML(typ="safe", pure=True).load(text)
        except (YAMLError, ValueError) as error:
            raise ConfigError(f"--set {setting}: the value is not valid YAML") from error
    params = load(file or default_file(), values.get("profile"))
    if model:
        params = params.model_copy(update={"model": model})
    return override(params, values, "command line")


def warn_of_data(folder: Path, model: "TrainedModel", data: "DataRecord | None") -> None:
    """Print a warning if the views in `folder` differ from the training data."""
    if data and (difference := model.data.warning(data)):
        warn(f"{folder}: {difference}")
