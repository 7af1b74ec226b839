"""`tpifu inspect`: contents of shard folders as tables or JSON, and a contact sheet."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tpifu.cli import options
from tpifu.errors import DataError


def inspect_shards(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA_DIR",
            help="A folder of shards (meshes, views or points), or their parent folder.",
        ),
    ],
    out: Annotated[
        Path | None,
        options.out("PICTURE.png", "Also write a contact sheet: a few frames of each split."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the contents of shards: counts, sizes, provenance, and pictures of a few frames."""
    if out and out.suffix != ".png":
        raise DataError(f"{out}: cannot write a contact sheet as {out.suffix}: use .png")

    from tpifu.pictures.contact_sheet import contact_sheet, describe, open_folder

    folders = open_folder(data)
    descriptions = [describe(stored) for stored in folders]
    if as_json:
        print(json.dumps(descriptions, indent=2))
    else:
        for description in descriptions:
            _print_tables(description)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(folders, out)
        print(f"{out}: contact sheet", file=sys.stderr)


def _print_tables(description: dict[str, Any]) -> None:
    """Print the result of `describe`: counts with one column per split, then one fact per line."""
    from rich.console import Console
    from rich.table import Table

    from tpifu.config import flatten

    splits = description["splits"]
    title = "{folder}: {kind}, schema version {version}, {bytes:,} bytes"
    counts = Table(title=title.format(**description), title_justify="left")
    counts.add_column()
    for split in splits:
        counts.add_column(split, justify="right")
    for name in next(iter(splits.values())):
        cells = [_text(values[name]) for values in splits.values()]
        counts.add_row(name.replace("_", " "), *cells)
    facts = Table.grid(padding=(0, 2))
    for name, value in flatten(description["metadata"]).items():
        if value != "":
            facts.add_row(name, _text(value))
    Console().print(counts, facts, "")


def _text(value: str | int | float | list[Any]) -> str:
    """Format a value; a list is a minimum and a maximum."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " to ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
