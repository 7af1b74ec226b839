"""`tpifu train`: shard folders to a model."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from tpifu.cli import options


def train(
    shards: options.ShardFolder,
    out: Annotated[
        Path,
        options.out_folder("MODEL_DIR", "Folder for model.pt, loss.csv and config.yaml."),
    ],
    params: options.ParamsFile = None,
    profile: options.Profile = None,
    settings: options.Settings = None,
    neighborhood: Annotated[
        int | None,
        typer.Option(help="Frames in a window, odd; 1 is PIFu (model.neighborhood)."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Start from this model's weights, with its network. A single-frame model is "
            "widened to --neighborhood.",
        ),
    ] = None,
    device: options.Device = None,
    readers: Annotated[
        int, typer.Option(min=0, help="Processes that read batches ahead; 0: a thread.")
    ] = 0,
    parts: Annotated[
        int,
        typer.Option(min=1, help="Split each batch into parts, one after the other; saves memory."),
    ] = 1,
    precision: Annotated[
        str,
        typer.Option(
            metavar="float32|bfloat16|fastest",
            help="Arithmetic of training steps; fastest: whichever runs faster on this machine.",
        ),
    ] = "float32",
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Compile steps, which takes minutes; for long GPU runs."),
    ] = False,
    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Folder for checkpoints; runs may share it.",
            show_default="MODEL_DIR/../.tpifu-train",
        ),
    ] = None,
    track: Annotated[
        bool,
        typer.Option("--track", help="Track in MLflow: MLFLOW_TRACKING_URI, or ./mlflow.db."),
    ] = False,
) -> None:
    """Train a model. Repeat the command to resume interrupted training."""
    from tpifu.config import check_precision
    from tpifu.model.folder import device_from, load_model

    first = load_model(start, device_from("cpu")).config if start else None
    given = {"model.neighborhood": neighborhood}
    chosen = options.read_params(params, profile, settings, given, model=first)
    arithmetic = check_precision(precision, "--precision")

    from tpifu.shards.folder import DataFolder
    from tpifu.tracking import start_run
    from tpifu.train.distributed import start_distributed
    from tpifu.train.fit import fit
    from tpifu.train.run import Machine, Run

    data = DataFolder(shards)
    options.check_pool(data.points, "train.points", chosen.train.points)
    run = Run(
        data=data,
        model=chosen.model,
        train=chosen.train,
        seed=chosen.seed,
        start=start,
    )
    scratch = scratch or out.resolve().parent / ".tpifu-train"
    last: dict[str, float] = {}
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

        def log(metrics: dict[str, float], step: int) -> None:
            last.update(metrics)
            tracker.log_metrics(metrics, step)

        machine = Machine(
            device=own,
            readers=readers,
            parts=parts,
            processes=processes,
            precision=arithmetic,
            compiled=compile,
        )
        fit(run, out, scratch, machine, log)
    if processes.is_main:
        with suppress(OSError):  # other runs may have checkpoints there
            scratch.rmdir()
        loss = f", last loss {last['loss']:.4g}" if last else ""
        print(f"{out}/model.pt: {chosen.train.steps} steps{loss}")
