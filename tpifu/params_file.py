"""Reading params.yaml (YAML 1.2): base values, an overlay by profile, single values set on top."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tpifu.config import Params, schemas
from tpifu.errors import ConfigError


def default_file() -> Path:
    """The params.yaml that ships with the package; in a checkout, the one at its root."""
    installed = Path(__file__).with_name("params.yaml")
    return installed if installed.exists() else Path(__file__).parents[1] / "params.yaml"


def load(path: Path, profile: str | None = None) -> Params:
    """The parameters of a file: its base values, overlaid by `profile` (default: the file's own).

    Raises ConfigError in one line for an unreadable file, an unknown key, a wrong value, values
    that contradict each other, or an overlay that would hide a base value that was changed.
    """
    try:
        document = YAML(typ="safe", pure=True).load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file") from error
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold parameters as `key: value` lines")
    profiles = document.pop("profiles", {"paper": {}})
    if profile is not None:
        document["profile"] = profile
    base = _parse(document, path.name)
    if not isinstance(profiles, dict) or base.profile not in profiles:
        known = ", ".join(profiles) if isinstance(profiles, dict) else "none"
        raise ConfigError(f"{path.name}: profile is {base.profile!r}; profiles holds {known}")
    overlay = profiles[base.profile] or {}
    where = f"{path.name}: profiles.{base.profile}"
    _check_overlay(base.model_dump(), Params().model_dump(), overlay, where)
    params = _parse(_merge(base.model_dump(), overlay), where)
    _check_together(params, path.name)
    return params


def override(params: Params, values: dict[str, Any], where: str) -> Params:
    """`params` with `values` by dotted key. Each value is checked; ConfigError begins with `where`.

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
    return _parse(nested, where)


def _parse(values: dict[str, Any], where: str) -> Params:
    """Check nested values. ConfigError names the first wrong key, its value and what is allowed."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{where}: {_unknown(key)}") from error
        message = f"{message[0].lower()}{message[1:]}"
        raise ConfigError(f"{where}: {key}: is {first['input']!r}: {message}") from error


def _unknown(key: str) -> str:
    names = difflib.get_close_matches(key, dict(schemas()), n=3, cutoff=0)
    return f"{key}: unknown parameter; the nearest are {', '.join(names)}"


def _merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if nested else value
    return merged


def _check_overlay(
    base: dict[str, Any], table: dict[str, Any], overlay: Any, where: str, key: str = ""
) -> None:
    """Reject an overlay that hides a changed base value: one that differs from Table 1."""
    if not isinstance(overlay, dict):
        raise ConfigError(f"{where}{key}: must be `key: value` lines")
    for name, value in overlay.items():
        path = f"{key}.{name}"
        if path in (".profile", ".model.neighborhood", ".model.stride"):
            raise ConfigError(f"{where}{path}: set {path[1:]} at the top level, not in a profile")
        if name not in base:
            raise ConfigError(f"{where}: {_unknown(path[1:])}")
        if isinstance(base[name], dict):
            _check_overlay(base[name], table[name], value or {}, where, path)
        elif base[name] != table[name] and base[name] != value:
            profile = where.rsplit("profiles.", 1)[1]
            raise ConfigError(
                f"{path[1:]}={base[name]} would be hidden by profile {profile!r}: "
                f"set profiles.{profile}{path} instead, or profile=paper"
            )


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
