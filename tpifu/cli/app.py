"""The `tpifu` command: the library on a user's own files, without DVC.

Commands import heavy modules when they run, so that `tpifu --help` is fast.
"""

import errno
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tpifu.cli.evaluate import evaluate_model
from tpifu.cli.import_pifu import import_weights
from tpifu.cli.inspect import inspect_shards
from tpifu.cli.models import print_models
from tpifu.cli.params import print_params
from tpifu.cli.reconstruct import reconstruct
from tpifu.cli.render import render_clip
from tpifu.cli.study import run_study
from tpifu.cli.train import train
from tpifu.errors import exit_on_error

# Errors of the user's disk or permissions; any other OSError is a bug.
_DISK_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.EFBIG),
)


class _Commands(TyperGroup):
    """Prints one line and exits with 2 after a user's error. Bugs keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with exit_on_error():
                return super().invoke(ctx)
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            typer.echo(f"error: {error.filename or 'output'}: {error.strerror}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Commands,
    help="PIFu and Temporal PIFu on your own files: images of a moving person to 3D meshes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    # Clean up after SIGTERM, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    app()


app.command("render")(render_clip)
app.command("inspect")(inspect_shards)
app.command()(train)
app.command("import")(import_weights)
app.command("eval")(evaluate_model)
app.command()(reconstruct)
app.command("models")(print_models)
app.command("params")(print_params)
app.command("study")(run_study)


def _print_version(requested: bool) -> bool:
    if requested:
        from importlib.metadata import version

        print(f"tpifu {version('tpifu')}")
        raise typer.Exit
    return requested


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass
