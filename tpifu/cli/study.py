"""`tpifu study`: run a study of this checkout and write its page."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tpifu.errors import ConfigError


def run_study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="studies/NAME.yaml, without .yaml.")],
    stages: Annotated[
        bool,
        typer.Option(
            "--stages", help="Print the DVC stages of the study's runs, for a queue; run nothing."
        ),
    ] = False,
) -> None:
    """Run a study of this checkout: DVC trains and evaluates the missing runs, one after the other,
    and writes studies/NAME/README.md. Repeat the command to resume."""
    if not Path("studies").is_dir():
        raise ConfigError("no folder studies/ here: run this command in the root of a checkout")
    command = [sys.executable, "-m", "pipeline.studies", name]
    raise typer.Exit(subprocess.run([*command, *(["--stages"] if stages else [])]).returncode)
