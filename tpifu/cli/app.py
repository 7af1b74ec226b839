"""The `tpifu` command: the library on a person's own files, without DVC.

Heavy modules are imported inside the commands, so that `tpifu --help` answers at once.
"""

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tpifu.cli.evaluate import evaluate_model
from tpifu.cli.import_pifu import import_weights
from tpifu.cli.inspect import inspect_shards
from tpifu.cli.reconstruct import reconstruct
from tpifu.cli.render import render_clip
from tpifu.cli.train import train
from tpifu.errors import exit_on_error

# Somebody's disk or permissions, not a bug.
_NOT_OURS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
)


class _Commands(TyperGroup):
    """A mistake ends in one line and exit code 2, an interruption in one line and 130.

    Bugs keep their traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            with exit_on_error():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            typer.echo(f"error: {error.filename or 'output'}: {error.strerror}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Commands,
    help="PIFu and Temporal PIFu on your own files: pictures of a person in motion to 3D meshes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    app()


app.command("render")(render_clip)
app.command("inspect")(inspect_shards)
app.command()(train)
app.command("import")(import_weights)
app.command("eval")(evaluate_model)
app.command()(reconstruct)


def _print_version(asked: bool) -> bool:
    if asked:
        from importlib.metadata import version

        print(f"tpifu {version('tpifu')}")
        raise typer.Exit
    return asked


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
