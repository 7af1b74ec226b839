"""`tpifu eval`: measures of a model on held-out clips."""

import json
from pathlib import Path
from typing import Annotated, Any

from tpifu.cli import options


def evaluate_model(
    model: options.ModelFile,
    shards: options.ShardFolder,
    out: Annotated[
        Path | None,
        options.out("DIR", "New folder for metrics.json, per_mesh.parquet and meshes/*.glb."),
    ] = None,
    params: options.ParamsFile = None,
    settings: options.Settings = None,
    device: options.Device = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure a model at points (Table 2), on a grid, on surfaces, and from frame to frame."""
    chosen = options.read_params(params, settings)
    if out:
        options.require_new(out)

    from tpifu.config import DataRecord
    from tpifu.evaluate.evaluate import evaluate
    from tpifu.files import write_json
    from tpifu.measures.names import HEADLINE
    from tpifu.model.folder import device_from, load_model
    from tpifu.parallel import cluster
    from tpifu.params_file import environment
    from tpifu.shards.folder import DataFolder
    from tpifu.shards.reader import Shards

    data, host = DataFolder(shards), environment()
    trained = load_model(model, device_from(device))
    options.warn_of_data(shards, trained, DataRecord.of(Shards(data.views, "views").metadata))
    with cluster(host.dask):
        metrics = evaluate(trained, data, chosen.evaluate, chosen.seed, out, jobs=host.jobs)
    if out:
        write_json(out / "metrics.json", metrics)
    if as_json:
        print(json.dumps(metrics, indent=2))
    else:
        _print_table(metrics, HEADLINE)


def _print_table(metrics: dict[str, Any], measures: tuple[str, ...]) -> None:
    """Print the result of `evaluate`: one row per measure, one column per split."""
    from rich.console import Console
    from rich.table import Table

    splits = {name: value for name, value in metrics.items() if isinstance(value, dict)}
    test = {name: value for name, value in metrics.items() if name not in splits}
    if test:  # the measures of split test stand at the top level
        splits = {"test": test} | splits
    table = Table("measure")
    for split in splits:
        table.add_column(split, justify="right")
    for measure in measures:
        cells = [f"{v[measure]:.4f}" if measure in v else "-" for v in splits.values()]
        table.add_row(measure, *cells)
    table.add_row("meshes", *(str(values["meshes"]) for values in splits.values()))
    Console().print(table)
