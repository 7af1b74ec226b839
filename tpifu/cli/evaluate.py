"""`tpifu eval`: measures of a model on held-out clips."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tpifu.cli.options import NO_DRAW, Device, ModelFile, checked_params, warn_of_light
from tpifu.cli.train import stored_pool


def evaluate_model(
    model: ModelFile,
    shards: Annotated[
        Path,
        typer.Argument(
            metavar="SHARDS", help="Folder with meshes/, views/ and points/ (tpifu render)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            file_okay=False,
            help="Also write metrics.json, per_mesh.parquet and meshes/*.glb there.",
        ),
    ] = None,
    points: Annotated[
        int, typer.Option(help="Points a mesh, half of them inside; even, 2 or more.")
    ] = 5000,
    resolution: Annotated[
        int,
        typer.Option(help="Grid of the meshes that are measured, cells a side; 8 or more."),
    ] = 128,
    frames: Annotated[
        int,
        typer.Option(
            help="Meshes of each split written with -o, and 12 consecutive ones of test; 1 or more."
        ),
    ] = 6,
    seed: Annotated[int, typer.Option(help="Seed of the points drawn; 0 or more.")] = 0,
    device: Device = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that share the clips, on a CPU; 1 or more.",
            show_default="one a core",
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Dask scheduler whose workers share the clips instead, on a CPU.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout instead of the table.")
    ] = False,
) -> None:
    """Measure a model: at points (Table 2), on a grid, on surfaces, and from frame to frame."""
    given = {
        **NO_DRAW,
        **stored_pool(shards / "points"),
        "seed": seed,
        "evaluate.points": points,
        "evaluate.resolution": resolution,
        "evaluate.frames": frames,
    }
    params = checked_params("eval", given)

    import joblib

    from tpifu.config import Lighting
    from tpifu.evaluate.evaluate import evaluate
    from tpifu.files import write_json
    from tpifu.measures.names import HEADLINE
    from tpifu.model.folder import device_from, load_model
    from tpifu.parallel import cluster
    from tpifu.shards.folder import DataFolder
    from tpifu.shards.reader import Shards

    trained = load_model(model, device_from(device))
    data = DataFolder(shards)
    warn_of_light(data.views, trained, Lighting.of(Shards(data.views, "views").metadata))
    with cluster(dask):
        metrics = evaluate(
            trained,
            data,
            params.evaluate,
            seed,
            out,
            jobs=jobs or joblib.cpu_count(),
        )
    if out:
        write_json(out / "metrics.json", metrics)
    if as_json:
        print(json.dumps(metrics, indent=2))
    else:
        _print_table(metrics, HEADLINE)


def _print_table(metrics: dict[str, Any], measures: tuple[str, ...]) -> None:
    """The nested dictionary of `evaluate.summary`, a column a split."""
    from rich.console import Console
    from rich.table import Table

    splits = {name: value for name, value in metrics.items() if isinstance(value, dict)}
    own = {name: value for name, value in metrics.items() if name not in splits}
    if own:
        splits = {"test": own} | splits
    table = Table("measure")
    for split in splits:
        table.add_column(split, justify="right")
    for measure in measures:
        cells = [f"{v[measure]:.4f}" if measure in v else "-" for v in splits.values()]
        table.add_row(measure, *cells)
    table.add_row("meshes", *(str(values["meshes"]) for values in splits.values()))
    Console().print(table)
