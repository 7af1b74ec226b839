"""`tpifu train`: train a model on shard folders."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from tpifu.cli import options
from tpifu.cli.released import find_model


def train(
    shards: options.ShardFolder,
    out: Annotated[
        Path, options.out("MODEL_DIR", "New folder for model.pt, loss.csv and config.yaml.")
    ],
    params: options.ParamsFile = None,
    settings: options.Settings = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            parser=find_model,
            help="Start from this model's weights, with its network. A single-frame model is "
            "widened to model.neighborhood frames.",
        ),
    ] = None,
    device: options.Device = None,
    track: Annotated[
        bool,
        typer.Option("--track", help="Track in MLflow: MLFLOW_TRACKING_URI, or ./mlflow.db."),
    ] = False,
) -> None:
    """Train a model. Repeat the command to resume interrupted training.

    The environment variables TPIFU_PRECISION, TPIFU_PARTS, TPIFU_READERS and TPIFU_COMPILE set the
    arithmetic, the memory and the processes of training (docs/scaling.md).
    """
    options.require_new(out)

    from tpifu.config import DataRecord
    from tpifu.model.folder import device_from, load_model

    first = load_model(start, device_from("cpu")) if start else None
    chosen = options.read_params(params, settings, model=first.config if first else None)

    from tpifu.params_file import environment
    from tpifu.shards.folder import DataFolder
    from tpifu.shards.reader import Shards
    from tpifu.tracking import start_run
    from tpifu.train.distributed import start_distributed
    from tpifu.train.fit import fit
    from tpifu.train.run import Machine, Run

    data, host = DataFolder(shards), environment()
    run = Run(data=data, model=chosen.model, train=chosen.train, seed=chosen.seed, start=start)
    scratch = out.resolve().parent / ".tpifu-train"
    with (
        start_distributed(device_from(device)) as (processes, own),
        start_run(
            f"train {out.resolve().name}",
            root=Path(),
            params=run.settings(),
            tags={"fingerprint": run.fingerprint},
            memory=run.folder(scratch),
            recorded=track and processes.is_main,
        ) as tracker,
    ):
        if first and processes.is_main:
            views = Shards(data.views, "views")
            options.warn_of_data(shards, first, DataRecord.of(views.metadata))
        machine = Machine.of(host, own, processes)
        try:
            fit(run, out, scratch, machine, tracker.log_metrics)
        finally:
            if processes.is_main:
                with suppress(OSError):  # it may hold checkpoints
                    scratch.rmdir()
    if processes.is_main:
        print(f"{out}/model.pt: {chosen.train.steps} steps")
