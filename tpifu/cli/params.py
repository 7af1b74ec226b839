"""`tpifu params`: every parameter with its value, limits and meaning."""

import json
from typing import Any

from tpifu.cli import options

_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}


def print_params(
    params: options.ParamsFile = None,
    settings: options.Settings = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the key, value, limits and meaning of every parameter."""
    from tpifu.config import flatten
    from tpifu.params_file import schemas

    values = flatten(options.read_params(params, settings).model_dump(mode="json"))
    rows = [
        (key, values[key], _allowed(schema), " ".join(schema["description"].split()))
        for key, schema in schemas()
    ]
    if as_json:
        names = ("value", "allowed", "meaning")
        print(json.dumps({key: dict(zip(names, row, strict=True)) for key, *row in rows}, indent=2))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("key", "value", "meaning (allowed)", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    table.columns[1].max_width = 14
    for key, value, allowed, meaning in rows:
        text = value if isinstance(value, str) else json.dumps(value)
        table.add_row(key, Text(text), Text(f"{meaning} ({allowed})"))
    Console().print(table)


def _allowed(schema: dict[str, Any]) -> str:
    """Describe a JSON schema's type and limits in words."""
    if "anyOf" in schema:
        return " or ".join(map(_allowed, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(schema["enum"])
    if "items" in schema:
        return f"list of {_allowed(schema['items'])}"
    limits = [f"{words} {schema[name]:g}" for name, words in _LIMITS.items() if name in schema]
    return ", ".join([schema["type"], *limits])
