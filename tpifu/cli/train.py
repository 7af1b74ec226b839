"""`tpifu train`: a model from shard folders."""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tpifu.cli.options import NO_DRAW, Device, checked_params


class Arithmetic(StrEnum):
    """`tpifu.config.Precision`, which is not imported before a command runs."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    fastest = "fastest"


def train(
    shards: Annotated[
        Path,
        typer.Argument(
            metavar="SHARDS", help="Folder with views/ and points/ of split train (tpifu render)."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="MODEL_DIR",
            file_okay=False,
            help="Where model.pt, loss.csv and config.yaml are written.",
        ),
    ],
    params: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A params.yaml; its profile is applied, the options below go over it.",
            show_default="the paper's Table 1",
        ),
    ] = None,
    neighborhood: Annotated[
        int | None,
        typer.Option(
            help="Frames the model sees at once; odd; 1 is PIFu.",
            show_default="3",
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(help="Frames from each of them to the next; 1 or more.", show_default="1"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Training steps; 1 or more.", show_default="44600")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows a step; 1 or more.", show_default="2")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Step size of the optimizer; above 0.", show_default="0.0001"),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="constant|cosine",
            help="Course of the learning rate over the steps.",
            show_default="constant",
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(help="Steps over which the learning rate rises; 0 or more.", show_default="0"),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(
            help="Points a window, half of them inside; even, 2 or more.", show_default="1000"
        ),
    ] = None,
    stacks: Annotated[
        int | None, typer.Option(help="Hourglass stacks; 1 or more.", show_default="4")
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(help="Hourglass channels; a multiple of 8.", show_default="256"),
    ] = None,
    z_normalization: Annotated[
        float | None,
        typer.Option(help="Metres of depth that make a feature of 1; above 0.", show_default="2.0"),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(help="Steps between checkpoints; 1 or more.", show_default="500"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of weights and draws; 0 or more.", show_default="0"),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Start from its weights (tpifu import, or an earlier model), with its network's "
            "settings; one of neighborhood 1 is widened.",
        ),
    ] = None,
    device: Device = None,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes that read ahead; 0 reads in a thread of the training."),
    ] = 0,
    parts: Annotated[
        int,
        typer.Option(
            min=1,
            help="Parts a batch is split into, one after the other, to save memory; 1 or more.",
        ),
    ] = 1,
    precision: Annotated[
        Arithmetic,
        typer.Option(
            help="Arithmetic of a step: bfloat16 may be twice as fast; fastest measures it here."
        ),
    ] = Arithmetic.float32,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Compile steps first, which takes minutes: for GPUs and long runs."
        ),
    ] = False,
    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Where checkpoints are kept; may be shared by many runs.",
            show_default="MODEL_DIR/../.tpifu-train",
        ),
    ] = None,
    track: Annotated[
        bool,
        typer.Option(
            "--track", help="Track with MLflow: MLFLOW_TRACKING_URI, or mlflow.db in this folder."
        ),
    ] = False,
) -> None:
    """Train a model; an interrupted training goes on when the command is repeated."""
    from tpifu.config import Params, load

    base = load(params) if params else Params()
    if start:
        from tpifu.model.folder import device_from, load_model

        first = load_model(start, device_from("cpu"))
        base = base.model_copy(update={"model": first.config})
    given = {
        **NO_DRAW,
        **stored_pool(shards / "points"),
        "seed": seed,
        "model.neighborhood": neighborhood,
        "model.stride": stride,
        "model.z_normalization": z_normalization,
        "model.hourglass.stacks": stacks,
        "model.hourglass.dim": dim,
        "train.steps": steps,
        "train.batch_size": batch_size,
        "train.learning_rate": learning_rate,
        "train.schedule": schedule,
        "train.warmup": warmup,
        "train.points": points if points is not None else base.train.points,
        "train.checkpoint_every": checkpoint_every,
    }
    chosen = checked_params("train", given, base)

    from tpifu.model.folder import device_from
    from tpifu.shards.folder import DataFolder
    from tpifu.tracking import start_run
    from tpifu.train.distributed import start_distributed
    from tpifu.train.fit import fit
    from tpifu.train.run import Machine, Run

    run = Run(
        data=DataFolder(shards),
        model=chosen.model,
        train=chosen.train,
        seed=chosen.seed,
        start=start,
    )
    scratch = scratch or out.resolve().parent / ".tpifu-train"
    name = f"train {out.resolve().name}"
    last: dict[str, float] = {}
    with (
        start_distributed(device_from(device)) as (processes, own),
        start_run(
            name,
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
            readers=workers,
            parts=parts,
            processes=processes,
            precision=precision.value,
            compiled=compile,
        )
        fit(run, out, scratch, machine, log)
    if processes.is_main:
        with suppress(OSError):  # other runs may have checkpoints there
            scratch.rmdir()
        loss = f", last loss {last['loss']:.4g}" if last else ""
        print(f"{out}/model.pt: {chosen.train.steps} steps{loss}")


def stored_pool(points: Path) -> dict[str, int]:
    """The points written of each mesh, under params.yaml's keys: a draw is checked against them."""
    from tpifu.shards.reader import Shards

    metadata = Shards(points, "points").metadata
    return {f"sample.{kind}": metadata[kind] for kind in ("near_surface", "uniform")}
