"""`tpifu render`: a clip of mesh files to meshes, views and points."""

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tpifu.cli.options import NO_DRAW, checked_params
from tpifu.errors import DataError

if TYPE_CHECKING:
    from tpifu.geometry.mesh import Mesh


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
    light: Annotated[
        str,
        typer.Option(
            metavar="camera|environment|environment_clip|fixed",
            help="Light on the body: at the camera; a random environment for every image, or for "
            "every view of the clip; one fixed environment, from the upper left.",
        ),
    ] = "camera",
    occlusion: Annotated[
        int,
        typer.Option(help="Rays from each vertex for ambient occlusion; 0 or more; 0: none."),
    ] = 0,
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
    seed: Annotated[int, typer.Option(help="Seed of the points and the lights; 0 or more.")] = 0,
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
    params = checked_params(
        "render",
        {
            "seed": seed,
            "camera.window": window,
            "render.size": size,
            "render.views": views,
            "render.light": light,
            "render.occlusion": occlusion,
            "render.backend": backend,
            "sample.near_surface": near_surface,
            "sample.uniform": uniform,
            "sample.sigma": sigma,
            "sample.grid": grid,
            **NO_DRAW,
        },
    )
    _check_replaceable(out, meshes, force)

    import joblib

    from tpifu.files import whole_folder
    from tpifu.geometry.mesh_files import load_mesh
    from tpifu.prepare.points import write_points
    from tpifu.prepare.views import write_views
    from tpifu.render.backend import choose_backend, explain
    from tpifu.shards.meshes import MeshFrame, write_meshes

    chosen = choose_backend(params.render.backend)
    name = clip or out.resolve().name
    frames = []
    for number, path in enumerate(meshes):
        mesh = load_mesh(path, scale=METRES[unit], centred=origin == Origin.mass)
        _check_size(path, mesh, views, window, origin)
        frames.append(MeshFrame(split, name, name, number, number, "unknown", mesh))

    if reason := explain(params.render.backend, chosen):
        print(reason, file=sys.stderr)
    jobs = jobs or joblib.cpu_count()
    # All folders or none take the place of older ones.
    fresh = out / ".fresh"
    with whole_folder(fresh) as scratch:
        write_meshes(
            scratch / "meshes",
            [frames],
            {
                "provenance": {"source": "files", "licence": "your own", "citation": ""},
                "units": f"metres, y up, {ORIGINS[origin]}",
            },
        )
        write_views(
            scratch / "meshes",
            scratch / "views",
            params.render,
            window=window,
            seed=seed,
            backend=chosen,
            jobs=jobs,
        )
        write_points(
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

    from tpifu.geometry.camera import calibration, project
    from tpifu.shards.coding import POINT_HALF

    # A window of 2 m makes ndc metres. Depth counts as well: points are queried in the box alone.
    turned = [project(calibration(360 * view / views, 2.0), mesh.vertices) for view in range(views)]
    needed = 2 * float(np.abs(turned).max())
    if needed > 2 * POINT_HALF or needed < 0.1 * window:
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
    from tpifu.shards.reader import Shards

    stored = Shards(views, "views")
    for row, (view, frame) in enumerate(
        zip(stored.index["view"], stored.index["frame"], strict=True)
    ):
        path = out / f"v{view}" / f"{names[frame]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.read([row], ["image"])[0]["image"])
