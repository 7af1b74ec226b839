"""Read params.yaml (YAML 1.2) with its profiles and overrides, and the environment variables
TPIFU_*."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tpifu.config import Environment, Parameters, Params, flatten
from tpifu.errors import ConfigError

Group = TypeVar("Group", bound=BaseModel)
# dvc.yaml reads these only at the top level: they are not empty, and profiles do not set them.
TOP_LEVEL_ONLY = {"profile", "seed"}


def default_file() -> Path:
    """The params.yaml that ships with the package; in a checkout, the one at its root."""
    installed = Path(__file__).with_name("params.yaml")
    return installed if installed.exists() else Path(__file__).parents[1] / "params.yaml"


def load(path: Path, profile: str | None = None, *, top_level: bool = True) -> Params:
    """The parameters of a file with `profile` (default: the file's own).

    A value comes from the first of these that sets it: the file's top level, `profiles.PROFILE`,
    `profiles.paper`, Table 1. Without `top_level`, the file's top level is ignored. Raises a
    one-line ConfigError for an unreadable file, an unknown key, a wrong value, or values that
    contradict each other.
    """
    try:
        document = YAML(typ="safe", pure=True).load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    profiles = document.pop("profiles", {}) if isinstance(document, dict) else None
    if not isinstance(profiles, dict) or not all(isinstance(x, dict) for x in profiles.values()):
        raise ConfigError(f"{path}: parameters and profiles must be `key: value` lines")
    profiles = {"paper": {}, **profiles}
    chosen = document.get("profile", "paper") if profile is None else profile
    if chosen not in list(profiles):
        names = ", ".join(map(str, profiles))
        raise ConfigError(f"{path.name}: profile is {chosen!r}; profiles holds {names}")
    params = Params()
    for name in dict.fromkeys(["paper", chosen]):
        where = f"{path.name}: profiles.{name}"
        params = _parse(Params, _merged(params.model_dump(), profiles[name]), where)
        for key in TOP_LEVEL_ONLY & flatten(profiles[name]).keys():
            raise ConfigError(f"{where}.{key}: set {key} at the top level, not in a profile")
    if not top_level:
        document = {}
    document["profile"] = chosen
    params = _parse(Params, _merged(params.model_dump(), document), path.name)
    for key, value in flatten(document).items():
        if value is None and key in TOP_LEVEL_ONLY:
            raise ConfigError(f"{path.name}: {key}: is empty, but no profile sets it")
    _check_together(params, path.name)
    return params


def override(params: Params, values: dict[str, Any], where: str) -> Params:
    """`params` with `values` by dotted key. Each value is checked; messages start with `where`.

    Values are not checked against each other: a command may not use all of them.
    """
    keys, nested = dict(schemas()), params.model_dump()
    for key, value in values.items():
        if key not in keys:
            raise ConfigError(f"{where}: {_unknown(key)}")
        group = nested
        *path, name = key.split(".")
        for part in path:
            group = group[part]
        group[name] = value
    return _parse(Params, nested, where)


def schemas(
    group: type[Parameters] = Params, prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Dotted key and JSON schema of every parameter; "description" holds its meaning."""
    properties = group.model_json_schema()["properties"]
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Parameters):
            yield from schemas(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, properties[name]


def environment() -> Environment:
    """The machine settings of this process. Raises ConfigError for a wrong value."""
    return _parse(Environment, dict(os.environ), "environment")


def _parse(group: type[Group], values: dict[str, Any], where: str) -> Group:
    """Check nested values. Raises ConfigError, which begins with `where` and names the first wrong
    key, its value and the allowed values."""
    try:
        return group.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{where}: {_unknown(key)}") from error
        message = first["msg"].removeprefix("Value error, ")
        message = f"{message[0].lower()}{message[1:]}"
        raise ConfigError(f"{where}: {key}: is {first['input']!r}: {message}") from error


def _merged(base: dict[str, Any], values: dict[Any, Any]) -> dict[str, Any]:
    """Nested `base`, updated with nested `values`. A null in `values` keeps the value of `base`."""
    result = dict(base)
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            result[name] = _merged(base[name], value)
        elif value is not None or name not in base:
            result[name] = value
    return result


def _unknown(key: str) -> str:
    """The error for a key that is not in `schemas` or is in the wrong place."""
    if key in dict(schemas()):
        return f"{key}: write each part of the key on its own line, indented"
    names = difflib.get_close_matches(key, dict(schemas()), n=3, cutoff=0)
    return f"{key}: unknown parameter; the nearest are {', '.join(names)}"


def _check_together(params: Params, where: str) -> None:
    """Reject parameters that contradict each other."""
    if error := params.model.hourglass.size_error(params.render.size):
        raise ConfigError(f"{where}: render.size is {params.render.size}, but {error}")
    pool = params.sample.near_surface + params.sample.uniform
    for name, points in (("train", params.train.points), ("evaluate", params.evaluate.points)):
        if points > pool:
            raise ConfigError(
                f"{where}: {name}.points is {points}, but sample.near_surface + sample.uniform is "
                f"{pool}: raise the pool or draw fewer points"
            )
