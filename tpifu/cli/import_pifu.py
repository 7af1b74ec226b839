"""`tpifu import`: PIFu's published weights to a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from tpifu.cli.options import checked_params
from tpifu.errors import DataError


def import_weights(
    net: Annotated[
        Path,
        typer.Argument(
            metavar="NET_G", help="PIFu's shape network, as its authors publish it (not net_C)."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="MODEL_DIR",
            file_okay=False,
            help="Where model.pt is written; must hold none.",
        ),
    ],
    neighborhood: Annotated[
        int,
        typer.Option(
            help="Frames the model sees at once; odd. 1 is PIFu itself; more start as the average "
            "of their frames."
        ),
    ] = 1,
    window: Annotated[
        float,
        typer.Option(
            help="Width of the images it will see, metres; above 0, to 5.12. PIFu's own: 2.048."
        ),
    ] = 2.048,
    size: Annotated[
        int,
        typer.Option(help="Their width and height, pixels; a multiple of 16. PIFu's own: 512."),
    ] = 512,
) -> None:
    """PIFu's published weights -> a model for `tpifu eval` and `tpifu reconstruct`."""
    checked_params(
        "import",
        {"camera.window": window, "render.size": size, "model.neighborhood": neighborhood},
    )

    from tpifu.import_pifu import import_pifu
    from tpifu.model.folder import MODEL_NAME, save_model
    from tpifu.model.widen import widen

    if (out / MODEL_NAME).exists():
        raise DataError(f"{out}: holds a model already: choose another folder")
    model = import_pifu(net, window=window, size=size)
    save_model(out, widen(model, neighborhood))
    print(f"{out}/{MODEL_NAME}: {net} for {neighborhood} frames of {size} px over {window:g} m")
