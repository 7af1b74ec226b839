"""The `tpifu` command: the library on a person's own files, without DVC.

Heavy modules are imported inside the commands, so that `tpifu --help` answers at once.
"""

import errno
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tpifu.errors import ConfigError, DataError, exit_on_error

if TYPE_CHECKING:
    from tpifu.config import Params
    from tpifu.mesh import Mesh


class Arithmetic(StrEnum):
    """`tpifu.config.Precision`, which is not imported before a command runs."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    fastest = "fastest"


class Unit(StrEnum):
    """Of a mesh file's coordinates."""

    m = "m"
    cm = "cm"
    mm = "mm"


METRES = {Unit.m: 1.0, Unit.cm: 0.01, Unit.mm: 0.001}


class Origin(StrEnum):
    """Of a mesh's coordinates."""

    mass = "mass"
    file = "file"


ORIGINS = {Origin.mass: "centre of mass at the origin", Origin.file: "origin as in the files"}


class Split(StrEnum):
    train = "train"
    test = "test"


FOLDERS = ("meshes", "views", "points", "png")
"""What `tpifu render` writes."""

_NO_DRAW = {"train.points": 2, "evaluate.points": 2}
"""For commands that draw no points: any pool is large enough."""

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


Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda or cuda:N.", metavar="NAME", show_default="CUDA where there is one"
    ),
]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="model.pt, or the folder that holds it.")
]


@app.command("render")
def render_clip(
    meshes: Annotated[
        list[Path],
        typer.Argument(
            metavar="MESH...",
            help="Watertight meshes of any format trimesh reads, y up, facing +z: consecutive "
            "frames of one clip, in order.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            file_okay=False,
            help="Where meshes/, views/ and points/ are written.",
        ),
    ],
    unit: Annotated[Unit, typer.Option(help="Unit of the mesh files' coordinates.")] = Unit.m,
    origin: Annotated[
        Origin,
        typer.Option(
            help="What is put at 0 in each mesh: its centre of mass, or nothing: it stays where "
            "the file has it, as bodies for a model of the pipeline should, with the pelvis at 0."
        ),
    ] = Origin.mass,
    size: Annotated[
        int, typer.Option(help="Image width and height, pixels; a multiple of 16.")
    ] = 512,
    views: Annotated[
        int, typer.Option(help="Yaw views of each mesh, evenly spaced over 360 degrees; 1 or more.")
    ] = 4,
    window: Annotated[
        float,
        typer.Option(help="Width of the image and of the sampling box, metres; above 0, to 5.12."),
    ] = 2.56,
    backend: Annotated[
        str,
        typer.Option(
            metavar="auto|pyrender|embree",
            help="Who draws: Pyrender needs OpenGL; auto takes it where that has a GPU, else "
            "Embree.",
        ),
    ] = "auto",
    split: Annotated[Split, typer.Option(help="What the meshes are for.")] = Split.test,
    clip: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the clip.", show_default="DIR's name"),
    ] = None,
    near_surface: Annotated[
        int, typer.Option(help="Points of each mesh that lie near its surface; 1 or more.")
    ] = 16000,
    uniform: Annotated[
        int, typer.Option(help="Points of each mesh spread over the box; 1 or more.")
    ] = 1000,
    sigma: Annotated[
        float,
        typer.Option(help="Standard deviation of near-surface points, metres; above 0."),
    ] = 0.05,
    grid: Annotated[
        int,
        typer.Option(help="Grid for the volumetric IoU (split test), cells a side; 1 or more."),
    ] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the points; 0 or more.")] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; 1 or more.", show_default="one a core"),
    ] = None,
    png: Annotated[
        bool, typer.Option("--png", help="Also write the pictures: DIR/png/vVIEW/FRAME_MESH.png.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what DIR holds.")] = False,
) -> None:
    """Meshes of a clip -> pictures and labelled points, for `tpifu eval` and `tpifu train`."""
    params = _checked(
        "render",
        {
            "seed": seed,
            "camera.window": window,
            "render.size": size,
            "render.views": views,
            "render.backend": backend,
            "sample.near_surface": near_surface,
            "sample.uniform": uniform,
            "sample.sigma": sigma,
            "sample.grid": grid,
            **_NO_DRAW,
        },
    )
    _check_replaceable(out, meshes, force)

    import joblib

    from tpifu import occupancy, render, shards
    from tpifu.mesh import load_mesh

    chosen = render.choose_backend(params.render.backend)
    name = clip or out.resolve().name
    frames = []
    for number, path in enumerate(meshes):
        mesh = load_mesh(path, scale=METRES[unit], centred=origin == Origin.mass)
        _check_size(path, mesh, views, window, origin)
        frames.append(shards.MeshFrame(split, name, name, number, number, "unknown", mesh))

    if reason := render.explain(params.render.backend, chosen):
        print(reason, file=sys.stderr)
    jobs = jobs or joblib.cpu_count()
    # All folders or none take the place of older ones.
    fresh = out / ".fresh"
    with shards.whole_folder(fresh) as scratch:
        shards.write_meshes(
            scratch / "meshes",
            [frames],
            {
                "provenance": {"source": "files", "licence": "your own", "citation": ""},
                "units": f"metres, y up, {ORIGINS[origin]}",
            },
        )
        render.write_views(
            scratch / "meshes",
            scratch / "views",
            size=size,
            views=views,
            window=window,
            backend=chosen,
            jobs=jobs,
        )
        occupancy.write_points(
            scratch / "meshes",
            scratch / "points",
            params.sample,
            half=window / 2,
            seed=seed,
            jobs=jobs,
        )
        if png:
            _write_pictures(
                scratch / "views",
                scratch / "png",
                [f"{i:04d}_{p.stem}" for i, p in enumerate(meshes)],
            )
    for folder in FOLDERS:
        shutil.rmtree(out / folder, ignore_errors=True)
        if (fresh / folder).exists():
            (fresh / folder).rename(out / folder)
    fresh.rmdir()
    print(f"{out}: {len(meshes)} meshes of clip {name} ({split}), {views} views each")


def _check_replaceable(out: Path, meshes: list[Path], force: bool) -> None:
    """DataError if `out` holds what must stay: shards, unless forced; anything else in any case."""
    if not any((out / name).exists() for name in FOLDERS):
        return
    for path in meshes:
        for name in FOLDERS:
            if path.resolve().is_relative_to((out / name).resolve()):
                raise DataError(
                    f"{path}: lies where {out / name} is written: choose another folder"
                )
    # Pictures come with views, and go with them.
    for name in FOLDERS[:3]:
        if (out / name).exists() and not any((out / name).glob("*.parquet")):
            raise DataError(
                f"{out / name}: holds no shards, and is in the way: choose another folder"
            )
    if (out / "png").exists() and not (out / "views").exists():
        raise DataError(f"{out / 'png'}: is in the way: choose another folder")
    if not force:
        raise DataError(f"{out}: holds shards already: choose another folder, or add --force")


def _check_size(path: Path, mesh: "Mesh", views: int, window: float, origin: Origin) -> None:
    """DataError if `mesh` sticks out of the window in a view, or is lost in it."""
    import numpy as np

    from tpifu import camera, shards

    # A window of 2 m makes ndc metres. Depth counts as well: points are queried in the box alone.
    turned = [
        camera.project(camera.calibration(360 * view / views, 2.0), mesh.vertices)
        for view in range(views)
    ]
    needed = 2 * float(np.abs(turned).max())
    if needed > 2 * shards.POINT_HALF or needed < 0.1 * window:
        raise DataError(
            f"{path}: would need a window of {needed:.3g} m, which is no person's size: "
            "say its unit with --unit"
            + (", or leave out --origin file" if origin == Origin.file else "")
        )
    if needed > window:
        raise DataError(
            f"{path}: does not fit the window of {window:g} m: "
            f"--window {np.ceil(100 * needed) / 100:g} holds it"
        )


def _write_pictures(views: Path, out: Path, names: list[str]) -> None:
    """The stored PNGs of one clip as files, a folder a view."""
    from tpifu.shards import Shards

    stored = Shards(views, "views")
    for row, (view, frame) in enumerate(
        zip(stored.index["view"], stored.index["frame"], strict=True)
    ):
        path = out / f"v{view}" / f"{names[frame]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.read([row], ["image"])[0]["image"])


@app.command("inspect")
def inspect_shards(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA_DIR",
            help="A folder of shards (meshes, views or points), or the folder that holds such.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PICTURE.png",
            dir_okay=False,
            help="Also write a contact sheet: a few frames of each split, all that is stored of "
            "them.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout instead of the tables.")
    ] = False,
) -> None:
    """What shards hold: counts, sizes, provenance, and pictures of a few frames."""
    if out and out.suffix != ".png":
        raise DataError(f"{out}: a contact sheet is written as .png only")

    from tpifu import inspect

    folders = inspect.open_folder(data)
    found = [inspect.describe(stored) for stored in folders]
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        for description in found:
            _print_shards(description)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        inspect.contact_sheet(folders, out)
        print(f"{out}: contact sheet", file=sys.stderr)


def _print_shards(description: dict[str, Any]) -> None:
    """One of `inspect.describe`: a table with a column a split, then the rest, a line a fact."""
    from rich.console import Console
    from rich.table import Table

    splits = description["splits"]
    title = "{folder}: {kind}, schema version {version}, {bytes:,} bytes"
    counts = Table(title=title.format(**description), title_justify="left")
    counts.add_column()
    for split in splits:
        counts.add_column(split, justify="right")
    for name in next(iter(splits.values())):
        counts.add_row(name.replace("_", " "), *(_number(own[name]) for own in splits.values()))
    facts = Table.grid(padding=(0, 2))
    for name, text in _flat({"sampled": description["sampled"], **description["metadata"]}):
        facts.add_row(name, text)
    console = Console()
    console.print(counts, facts, "")


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as text under dotted keys; a list is the least and the greatest of many."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, " to ".join(map(_number, value))
        elif value != "":
            yield prefix + name, value if isinstance(value, str) else _number(value)


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


@app.command()
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
    from tpifu import config

    base = config.load(params) if params else config.Params()
    if start:
        from tpifu.checkpoint import device_from, load_model

        first = load_model(start, device_from("cpu"))
        base = base.model_copy(update={"model": first.config})
    given = {
        **_NO_DRAW,
        **_pool(shards / "points"),
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
    chosen = _checked("train", given, base)

    from tpifu import tracking
    from tpifu.checkpoint import device_from
    from tpifu.team import assembled
    from tpifu.train import Machine, Run, fit

    run = Run(
        views=shards / "views",
        points=shards / "points",
        model=chosen.model,
        train=chosen.train,
        seed=chosen.seed,
        start=start,
    )
    scratch = scratch or out.resolve().parent / ".tpifu-train"
    name = f"train {out.resolve().name}"
    last: dict[str, float] = {}
    with (
        assembled(device_from(device)) as (team, own),
        tracking.start_run(
            name,
            root=Path(),
            params=run.settings(),
            tags={"fingerprint": run.fingerprint},
            memory=run.folder(scratch),
            recorded=track and team.leads,
        ) as tracker,
    ):

        def log(metrics: dict[str, float], step: int) -> None:
            last.update(metrics)
            tracker.log_metrics(metrics, step)

        machine = Machine(
            device=own,
            workers=workers,
            parts=parts,
            team=team,
            precision=precision.value,
            compiled=compile,
        )
        fit(run, out, scratch, machine, log)
    if team.leads:
        with suppress(OSError):  # other runs may have checkpoints there
            scratch.rmdir()
        loss = f", last loss {last['loss']:.4g}" if last else ""
        print(f"{out}/model.pt: {chosen.train.steps} steps{loss}")


@app.command("import")
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
    _checked(
        "import",
        {"camera.window": window, "render.size": size, "model.neighborhood": neighborhood},
    )

    from tpifu import pretrained
    from tpifu.checkpoint import MODEL_NAME, save_model

    if (out / MODEL_NAME).exists():
        raise DataError(f"{out}: holds a model already: choose another folder")
    model = pretrained.import_pifu(net, window=window, size=size)
    save_model(out, pretrained.widen(model, neighborhood))
    print(f"{out}/{MODEL_NAME}: {net} for {neighborhood} frames of {size} px over {window:g} m")


@app.command("eval")
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
        **_NO_DRAW,
        **_pool(shards / "points"),
        "seed": seed,
        "evaluate.points": points,
        "evaluate.resolution": resolution,
        "evaluate.frames": frames,
    }
    params = _checked("eval", given)

    import joblib

    from tpifu import evaluate
    from tpifu.checkpoint import device_from, load_model
    from tpifu.parallel import cluster

    trained = load_model(model, device_from(device))
    meshes, views, pool = (shards / name for name in FOLDERS[:3])
    with cluster(dask):
        metrics = evaluate.evaluate(
            trained,
            meshes,
            views,
            pool,
            params.evaluate,
            seed,
            out,
            jobs=jobs or joblib.cpu_count(),
        )
    if out:
        evaluate.write_json(out / "metrics.json", metrics)
    if as_json:
        print(json.dumps(metrics, indent=2))
    else:
        _print_table(metrics, evaluate.HEADLINE)


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


class MeshFormat(StrEnum):
    """Formats of meshes."""

    glb = "glb"
    obj = "obj"
    ply = "ply"
    stl = "stl"


@app.command()
def reconstruct(
    model: ModelFile,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Consecutive frames of one clip: pictures in order, a folder of pictures (frame2 "
            "before frame10), or one animated picture (WebP, APNG, GIF), square, of the model's "
            "size, with the person's mask as alpha channel; or a folder of shards (tpifu render).",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="A .glb, .obj, .ply or .stl file for the mesh of the middle frame, or a folder "
            "for meshes of all frames, clip.glb and pictures that move. Metres, y up; z towards "
            "the viewer of pictures, the world's axes for shards.",
        ),
    ],
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which clip of the shards.",
            show_default="the first, of split test where there is one",
        ),
    ] = None,
    view: Annotated[
        int | None,
        typer.Option(min=0, help="Which of the shards' views; 0 or more.", show_default="0"),
    ] = None,
    resolution: Annotated[
        int, typer.Option(help="Grid cells a side; 8 or more. 128 cells of 2.56 m are 2 cm each.")
    ] = 128,
    start: Annotated[
        int,
        typer.Option(
            help="Intervals a side of the lattice that is refined; 1 or more. 16 is twice as fast "
            "as 32, and may miss small detached parts."
        ),
    ] = 32,
    level: Annotated[
        float | None,
        typer.Option(
            help="Occupancy at the surface, above 0 and below 1; higher is thinner. [default: the "
            "model's own, where a point is as likely inside as outside]",
        ),
    ] = None,
    largest: Annotated[
        bool, typer.Option("--largest/--no-largest", help="Keep the largest connected part only.")
    ] = False,
    format: Annotated[MeshFormat, typer.Option(help="Of the meshes in a folder.")] = MeshFormat.glb,
    fps: Annotated[
        float,
        typer.Option(
            help="Frames a second of clip.glb and side_by_side.webp; 0.01 or more, to 1000."
        ),
    ] = 6.0,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures",
            help="Also write clip.glb, turntable.webp and side_by_side.webp into the folder.",
        ),
    ] = True,
    device: Device = None,
) -> None:
    """A clip -> meshes; an interrupted run goes on when the command is repeated."""
    _checked("reconstruct", {"evaluate.resolution": resolution, "evaluate.start": start})
    if level is not None and not 0 < level < 1:
        raise ConfigError(f"level: is {level:g}: must be above 0 and below 1")
    if not 0.01 <= fps <= 1000:
        raise ConfigError(f"fps: is {fps:g}: must be 0.01 or more, to 1000")

    from tpifu import clip as clips
    from tpifu.checkpoint import device_from, load_model
    from tpifu.reconstruct import SUFFIXES, save_mesh

    single = bool(out.suffix) and not out.is_dir()
    if single and out.suffix.lower() not in SUFFIXES:
        raise DataError(f"{out}: cannot write a mesh as {out.suffix}: use {', '.join(SUFFIXES)}")
    if not single and out.is_file():
        raise DataError(f"{out}: is a file: name a folder, or a file with a mesh's suffix")
    of_shards = len(inputs) == 1 and clips.holds_shards(inputs[0])
    if not of_shards and not (clip is None and view is None):
        raise ConfigError(
            f"--clip and --view choose from one folder of shards, which {inputs[0]} is not: leave "
            "them out"
        )
    trained = load_model(model, device_from(device))
    if of_shards:
        frames = clips.read_shards(inputs[0], clip, view or 0, trained.size, trained.window)
        print(f"{inputs[0]}: {frames.title}", file=sys.stderr)
    else:
        frames = clips.read_pictures(inputs, trained.size)
    if not single and len(set(frames.names)) < len(frames.names):
        raise DataError(f"{out}: several images have one name: each mesh is named by its image")
    settings = clips.Settings(
        resolution=resolution,
        start=start,
        level=level or trained.level,
        largest=largest,
        suffix=out.suffix.lower() if single else f".{format}",
    )
    if single:
        middle = len(frames.names) // 2
        save_mesh(clips.reconstruct_frame(trained, frames, middle, settings), out)
        print(f"{out}: mesh of {frames.names[middle]}")
        return
    with clips.held(out):
        paths, empty = clips.reconstruct_clip(trained, frames, out, settings)
        if len(empty) == len(paths):
            raise DataError(f"{out}: no frame has a mesh; the first: {empty[0]}")
        if pictures:
            clips.write_pictures(frames, paths, out, trained.window, fps)
    if empty:
        print(f"{len(empty)} frames give no mesh; the first: {empty[0]}", file=sys.stderr)
    print(f"{out}: {len(paths) - len(empty)} of {len(paths)} meshes")


def _checked(command: str, given: dict[str, Any], base: "Params | None" = None) -> "Params":
    """`base` (Table 1) under the options given, by dotted key; checked as a params.yaml is."""
    from tpifu import config

    values = (base or config.Params()).model_dump()
    for key, value in given.items():
        if value is None:
            continue
        section = values
        *path, name = key.split(".")
        for part in path:
            section = section[part]
        section[name] = value
    return config.parse(values, f"tpifu {command}")


def _pool(points: Path) -> dict[str, int]:
    """The points written of each mesh, under params.yaml's keys: a draw is checked against them."""
    from tpifu.shards import Shards

    metadata = Shards(points, "points").metadata
    return {f"sample.{kind}": metadata[kind] for kind in ("near_surface", "uniform")}
