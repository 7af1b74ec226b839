"""`tpifu render`: convert a clip's mesh files to meshes, views and points."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tpifu.cli import options
from tpifu.errors import DataError, warn

if TYPE_CHECKING:
    from tpifu.geometry.mesh import Mesh

CROPPED = 1.1
"""Largest size of a body, in windows. The pipeline crops its own bodies by up to about 10 %."""
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
ORIGINS = {"mass": "centre of mass at the origin", "file": "origin as in the files"}


def render_clip(
    meshes: Annotated[
        list[Path],
        typer.Argument(
            metavar="MESH...",
            help="Consecutive frames of one clip: a folder of closed meshes (frame2 before "
            "frame10), or the files in order. OBJ, PLY, STL, GLB, glTF or OFF, facing +z.",
        ),
    ],
    out: Annotated[
        Path,
        options.out("DIR", "New folder for meshes/, views/ and points/; names the clip."),
    ],
    unit: Annotated[
        Literal["m", "cm", "mm"], typer.Option(help="Unit of the mesh files' coordinates.")
    ] = "m",
    up: Annotated[
        Literal["y", "z"], typer.Option(help="Axis of the mesh files that points up.")
    ] = "y",
    origin: Annotated[
        Literal["mass", "file"],
        typer.Option(
            help="mass: move each mesh's centre of mass to 0. file: keep the coordinates, for "
            "models of the pipeline, which expect the pelvis at 0."
        ),
    ] = "mass",
    split: Annotated[Literal["train", "test"], typer.Option(help="Split of the clip.")] = "test",
    params: options.ParamsFile = None,
    settings: options.Settings = None,
    png: Annotated[
        bool, typer.Option("--png", help="Also write images: DIR/png/vVIEW/FRAME_MESH.png.")
    ] = False,
) -> None:
    """Render the meshes of a clip and label points, for `tpifu eval` and `tpifu train`."""
    chosen = options.read_params(params, settings)
    options.require_new(out)

    from tpifu.files import frame_files, numbering_warning, whole_folder
    from tpifu.geometry.import_mesh.load import SUFFIXES, load_mesh
    from tpifu.parallel import cluster
    from tpifu.params_file import environment
    from tpifu.prepare.points import write_points
    from tpifu.prepare.views import write_views
    from tpifu.render.backend import choose_backend
    from tpifu.shards.folder import DataFolder
    from tpifu.shards.meshes import MeshFrame, write_meshes

    window, views = chosen.camera.window, chosen.render.views
    clip = out.resolve().name
    paths = frame_files(meshes, SUFFIXES)
    if not paths:
        raise DataError(f"{meshes[0]}: holds no meshes ({', '.join(SUFFIXES)})")
    frames, cropped = [], []
    for number, path in enumerate(paths):
        mesh = load_mesh(path, scale=METRES[unit], up=up, centred=origin == "mass")
        if _needed_window(path, mesh, views, window, origin) > window:
            cropped.append(path)
        frames.append(MeshFrame(split, clip, clip, number, number, "unknown", mesh))
    warn(numbering_warning(paths))
    if cropped:
        warn(
            f"{cropped[0]}: reaches beyond the window of {window:g} m and is cropped "
            f"({len(cropped)} of {len(paths)} meshes), as the pipeline crops its own bodies"
        )
    if all(_lies(frame.mesh) for frame in frames):
        warn(f"{paths[0]}: all bodies lie down; if the files have z up, use --up z")
    metadata = {
        "provenance": {"source": "files", "licence": "your own", "citation": ""},
        "units": f"metres, y up, {ORIGINS[origin]}",
        "origin": "mass" if origin == "mass" else None,
    }
    backend, line = choose_backend(chosen.render.backend)
    if line:
        print(line, file=sys.stderr)
    host = environment()
    with cluster(host.dask), whole_folder(out) as scratch:
        data = DataFolder(scratch)
        write_meshes(data.meshes, [frames], metadata)
        write_views(
            data.meshes,
            data.views,
            chosen.render,
            window=window,
            seed=chosen.seed,
            backend=backend,
            jobs=host.jobs,
        )
        write_points(
            data.meshes,
            data.points,
            chosen.sample,
            half=window / 2,
            seed=chosen.seed,
            jobs=host.jobs,
        )
        if png:
            names = [f"{number:04d}_{path.stem}" for number, path in enumerate(paths)]
            _write_images(data.views, scratch / "png", names)
    print(f"{out}: {len(paths)} meshes of clip {clip} ({split}), {views} views each")


def _needed_window(path: Path, mesh: "Mesh", views: int, window: float, origin: str) -> float:
    """Smallest window that shows all of `mesh` in every view, metres.

    Raises DataError if it is not a plausible size for a person or far exceeds `window`.
    """
    import numpy as np

    from tpifu.geometry.camera import calibration, project
    from tpifu.shards.coding import POINT_HALF

    # With a window of 2 m, ndc are metres. Depth counts too: points are labelled inside the box.
    turned = [project(calibration(360 * view / views, 2.0), mesh.vertices) for view in range(views)]
    needed = 2 * float(np.abs(turned).max())
    if needed > 2 * POINT_HALF or needed < 0.1 * window:
        advice = " or remove --origin file" if origin == "file" else ""
        raise DataError(
            f"{path}: needs a window of {needed:.3g} m, not a plausible size for a person: "
            f"set --unit{advice}"
        )
    if needed > CROPPED * window:
        fitting = np.ceil(100 * needed) / 100
        raise DataError(
            f"{path}: does not fit the window of {window:g} m: for a model of the pipeline, scale "
            "the body to 1.8 m and place its pelvis at the origin; for a model of your own, use "
            f"--set camera.window={fitting:g}"
        )
    return needed


def _lies(mesh: "Mesh") -> bool:
    """Whether a body is at least twice as wide or deep as it is high."""
    import numpy as np

    width, height, depth = np.ptp(mesh.vertices, axis=0)
    return bool(max(width, depth) > 2 * height)


def _write_images(views: Path, out: Path, names: list[str]) -> None:
    """Write the stored PNGs of a clip as files, one folder per view."""
    from tpifu.shards.reader import Shards

    stored = Shards(views, "views")
    keys = zip(stored.index["view"], stored.index["frame"], strict=True)
    for row, (view, frame) in enumerate(keys):
        path = out / f"v{view}" / f"{names[frame]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.read([row], ["image"])[0]["image"])
