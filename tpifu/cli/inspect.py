"""`tpifu inspect`: what shard folders hold, as a table or JSON, and a contact sheet."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tpifu.errors import DataError


def inspect_shards(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA_DIR",
            help="A folder of shards (meshes, views or points), or the folder that holds such.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PICTURE.png",
            dir_okay=False,
            help="Also write a contact sheet: a few frames of each split, all that is stored of "
            "them.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout instead of the tables.")
    ] = False,
) -> None:
    """What shards hold: counts, sizes, provenance, and pictures of a few frames."""
    if out and out.suffix != ".png":
        raise DataError(f"{out}: a contact sheet is written as .png only")

    from tpifu.pictures.contact_sheet import contact_sheet, describe, open_folder

    folders = open_folder(data)
    found = [describe(stored) for stored in folders]
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        for description in found:
            _print_shards(description)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(folders, out)
        print(f"{out}: contact sheet", file=sys.stderr)


def _print_shards(description: dict[str, Any]) -> None:
    """One of `inspect.describe`: a table with a column a split, then the rest, a line a fact."""
    from rich.console import Console
    from rich.table import Table

    splits = description["splits"]
    title = "{folder}: {kind}, schema version {version}, {bytes:,} bytes"
    counts = Table(title=title.format(**description), title_justify="left")
    counts.add_column()
    for split in splits:
        counts.add_column(split, justify="right")
    for name in next(iter(splits.values())):
        counts.add_row(name.replace("_", " "), *(_number(own[name]) for own in splits.values()))
    facts = Table.grid(padding=(0, 2))
    for name, text in _flat({"sampled": description["sampled"], **description["metadata"]}):
        facts.add_row(name, text)
    console = Console()
    console.print(counts, facts, "")


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as text under dotted keys; a list is the least and the greatest of many."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, " to ".join(map(_number, value))
        elif value != "":
            yield prefix + name, value if isinstance(value, str) else _number(value)


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
