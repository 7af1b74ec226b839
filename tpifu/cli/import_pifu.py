"""`tpifu import`: convert PIFu's published weights to a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from tpifu.cli import options


def import_weights(
    net: Annotated[
        Path,
        typer.Argument(metavar="NET_G", help="PIFu's published shape network (not net_C)."),
    ],
    out: Annotated[Path, options.out("MODEL_DIR", "New folder for model.pt.")],
    neighborhood: Annotated[
        int,
        typer.Option(help="Frames per window, odd. 1 is PIFu; more averages over the frames."),
    ] = 1,
    window: Annotated[
        float, typer.Option(help="Width of the input images, metres, up to 5.12. PIFu has 2.048.")
    ] = 2.048,
    size: Annotated[
        int, typer.Option(help="Size of the input images, pixels, a multiple of 16. PIFu has 512.")
    ] = 512,
) -> None:
    """Convert PIFu's published weights to a model for `tpifu eval` and `tpifu reconstruct`."""
    from tpifu.config import Params
    from tpifu.params_file import override

    given = {"camera.window": window, "render.size": size, "model.neighborhood": neighborhood}
    override(Params(), given, "tpifu import")

    from tpifu.import_pifu import import_pifu
    from tpifu.model.folder import MODEL_NAME, save_model
    from tpifu.model.widen import widen

    options.require_new(out)
    model = import_pifu(net, window=window, size=size)
    save_model(out, widen(model, neighborhood))
    print(f"{out}/{MODEL_NAME}: {net} for {neighborhood} frames of {size} px over {window:g} m")
