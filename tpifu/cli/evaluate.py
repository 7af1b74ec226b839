"""`tpifu eval`: measure a model on held-out clips."""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tpifu.cli import options
from tpifu.errors import warn

if TYPE_CHECKING:
    from tpifu.config import Params
    from tpifu.model.folder import TrainedModel
    from tpifu.shards.folder import DataFolder

HELD_OUT = {"train_meshes": 0, "validation_meshes": 0}


def evaluate_model(
    model: options.ModelFile,
    shards: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder with meshes/, views/ and points/; or motion, which is rendered like the "
            "model's training images: a tree in SURREAL's layout (its test clips), or .asf and "
            ".amc files.",
        ),
    ],
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
    from tpifu.files import named, write_json
    from tpifu.measures.names import HEADLINE
    from tpifu.model.folder import device_from, load_model
    from tpifu.parallel import cluster
    from tpifu.params_file import environment
    from tpifu.shards.folder import DataFolder
    from tpifu.shards.reader import Shards

    host = environment()
    trained = load_model(model, device_from(device))
    with cluster(host.dask), TemporaryDirectory() as scratch:
        data = DataFolder(shards)
        if tree := _find_tree(shards, Path(scratch), chosen, host.jobs):
            data = DataFolder(Path(scratch))
            with named(tree, shards):
                _prepare(tree, data, trained, chosen, host.jobs)
        views = Shards(data.views, "views")
        options.warn_of_data(shards, trained, DataRecord.of(views.metadata))
        metrics = evaluate(trained, data, chosen.evaluate, chosen.seed, out, jobs=host.jobs)
    if out:
        write_json(out / "metrics.json", metrics)
    if as_json:
        print(json.dumps(metrics, indent=2))
    else:
        _print_table(metrics, HEADLINE)


def _find_tree(folder: Path, scratch: Path, params: "Params", jobs: int) -> Path | None:
    """The tree of clips in `folder`, or one written to `scratch` from the motion in `folder`; None
    for shards."""
    from tpifu.sources.cmu.own import acclaim_files
    from tpifu.sources.tree import write_tree

    data, own = params.data, {"folder": str(folder)}
    if (folder / "cmu").is_dir():
        if (folder / "smpl").is_dir():
            return folder
        surreal = data.surreal.model_copy(update=own)
        chosen = data.model_copy(update={"source": "surreal", "surreal": surreal})
    elif folder.is_dir() and not (folder / "views").is_dir() and acclaim_files(folder):
        chosen = data.model_copy(update={"source": "cmu", "cmu": data.cmu.model_copy(update=own)})
    else:
        return None
    problems = write_tree(
        scratch / "tree",
        chosen.model_copy(update=HELD_OUT),
        params.seed,
        cache=scratch,
        environment=os.environ,
        jobs=jobs,
    )
    if problems:
        warn(f"{len(problems)} files skipped; the first: {problems[0]}")
    return scratch / "tree"


def _prepare(
    tree: Path, data: "DataFolder", model: "TrainedModel", params: "Params", jobs: int
) -> None:
    """Write meshes, views and points of the held-out clips of `tree`, with the camera and the
    light of the model's training images."""
    from tpifu.prepare.meshes import export_meshes
    from tpifu.prepare.points import write_points
    from tpifu.prepare.views import write_views
    from tpifu.render.backend import choose_backend

    held_out = params.data.model_copy(update=HELD_OUT)
    light = {"light": model.data.light, "occlusion": model.data.occlusion}
    render = params.render.model_copy(update={"size": model.size, **light})
    backend, line = choose_backend(render.backend)
    if line:
        print(line, file=sys.stderr)
    window, seed = model.window, params.seed
    choice = export_meshes(tree, data.meshes, held_out, seed, jobs=jobs)
    if choice.skipped:
        warn(f"{len(choice.skipped)} clips skipped; the first: {choice.skipped[0]}")
    write_views(
        data.meshes, data.views, render, window=window, seed=seed, backend=backend, jobs=jobs
    )
    write_points(data.meshes, data.points, params.sample, half=window / 2, seed=seed, jobs=jobs)


def _print_table(metrics: dict[str, Any], measures: tuple[str, ...]) -> None:
    """Print the result of `evaluate`: one row per measure, one column per split."""
    from rich.console import Console
    from rich.table import Table

    splits = {name: value for name, value in metrics.items() if isinstance(value, dict)}
    test = {name: value for name, value in metrics.items() if name not in splits}
    if test:  # the measures of split test are at the top level
        splits = {"test": test} | splits
    table = Table("measure")
    for split in splits:
        table.add_column(split, justify="right")
    for measure in measures:
        cells = [f"{v[measure]:.4f}" if measure in v else "-" for v in splits.values()]
        table.add_row(measure, *cells)
    table.add_row("meshes", *(str(values["meshes"]) for values in splits.values()))
    Console().print(table)
