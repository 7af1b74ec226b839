"""`tpifu render`: mesh files of a clip to meshes, views and points."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tpifu.cli import options
from tpifu.errors import DataError

if TYPE_CHECKING:
    from tpifu.geometry.mesh import Mesh

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
ORIGINS = {"mass": "centre of mass at the origin", "file": "origin as in the files"}
FOLDERS = ("meshes", "views", "points", "png")
"""Folders that `tpifu render` writes."""


def render_clip(
    meshes: Annotated[
        list[Path],
        typer.Argument(
            metavar="MESH...",
            help="Watertight meshes in any format of trimesh, y up, facing +z: consecutive frames "
            "of one clip, in order.",
        ),
    ],
    out: Annotated[
        Path,
        options.out_folder("DIR", "Folder for meshes/, views/ and points/; names the clip."),
    ],
    unit: Annotated[
        Literal["m", "cm", "mm"], typer.Option(help="Unit of the mesh files' coordinates.")
    ] = "m",
    origin: Annotated[
        Literal["mass", "file"],
        typer.Option(
            help="mass: move each mesh's centre of mass to 0. file: keep the coordinates, for "
            "models of the pipeline, which expect the pelvis at 0."
        ),
    ] = "mass",
    split: Annotated[Literal["train", "test"], typer.Option(help="Split of the clip.")] = "test",
    size: Annotated[
        int | None, typer.Option(help="Image width and height, pixels (render.size).")
    ] = None,
    params: options.ParamsFile = None,
    profile: options.Profile = None,
    settings: options.Settings = None,
    jobs: options.Jobs = None,
    png: Annotated[
        bool, typer.Option("--png", help="Also write images: DIR/png/vVIEW/FRAME_MESH.png.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the shards in DIR.")] = False,
) -> None:
    """Render the meshes of a clip and label points, for `tpifu eval` and `tpifu train`."""
    chosen = options.read_params(params, profile, settings, {"render.size": size})
    _check_replaceable(out, meshes, force)

    import joblib

    from tpifu.files import whole_folder
    from tpifu.geometry.mesh_files import load_mesh
    from tpifu.prepare.points import write_points
    from tpifu.prepare.views import write_views
    from tpifu.render.backend import choose_backend
    from tpifu.shards.folder import DataFolder
    from tpifu.shards.meshes import MeshFrame, write_meshes

    window, views = chosen.camera.window, chosen.render.views
    clip = out.resolve().name
    frames = []
    for number, path in enumerate(meshes):
        mesh = load_mesh(path, scale=METRES[unit], centred=origin == "mass")
        _check_size(path, mesh, views, window, origin)
        frames.append(MeshFrame(split, clip, clip, number, number, "unknown", mesh))
    metadata = {
        "provenance": {"source": "files", "licence": "your own", "citation": ""},
        "units": f"metres, y up, {ORIGINS[origin]}",
    }
    backend, line = choose_backend(chosen.render.backend)
    if line:
        print(line, file=sys.stderr)
    jobs = jobs or joblib.cpu_count()
    # Older folders are replaced only after all new ones are complete.
    fresh = out / ".fresh"
    with whole_folder(fresh) as scratch:
        data = DataFolder(scratch)
        write_meshes(data.meshes, [frames], metadata)
        write_views(
            data.meshes,
            data.views,
            chosen.render,
            window=window,
            seed=chosen.seed,
            backend=backend,
            jobs=jobs,
        )
        write_points(
            data.meshes,
            data.points,
            chosen.sample,
            half=window / 2,
            seed=chosen.seed,
            jobs=jobs,
        )
        if png:
            names = [f"{number:04d}_{path.stem}" for number, path in enumerate(meshes)]
            _write_images(data.views, scratch / "png", names)
    for folder in FOLDERS:
        shutil.rmtree(out / folder, ignore_errors=True)
        if (fresh / folder).exists():
            (fresh / folder).rename(out / folder)
    fresh.rmdir()
    print(f"{out}: {len(meshes)} meshes of clip {clip} ({split}), {views} views each")


def _check_replaceable(out: Path, meshes: list[Path], force: bool) -> None:
    """DataError if `out` holds inputs, files of other programs, or, without `force`, shards."""
    existing = [out / name for name in FOLDERS if (out / name).exists()]
    for folder in existing:
        for path in meshes:
            if path.resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{path}: lies in an output folder: choose another --out")
        shards = out / "views" if folder.name == "png" else folder
        if not any(shards.glob("*.parquet")):
            raise DataError(f"{folder}: not written by tpifu render: choose another --out")
    if existing and not force:
        raise DataError(f"{out}: holds shards already: choose another --out, or add --force")


def _check_size(path: Path, mesh: "Mesh", views: int, window: float, origin: str) -> None:
    """DataError if `mesh` does not fit the window in every view, or is no person's size."""
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
    if needed > window:
        fitting = np.ceil(100 * needed) / 100
        raise DataError(
            f"{path}: does not fit the window of {window:g} m: use --set camera.window={fitting:g}"
        )


def _write_images(views: Path, out: Path, names: list[str]) -> None:
    """Write the stored PNGs of one clip as files, one folder a view."""
    from tpifu.shards.reader import Shards

    stored = Shards(views, "views")
    keys = zip(stored.index["view"], stored.index["frame"], strict=True)
    for row, (view, frame) in enumerate(keys):
        path = out / f"v{view}" / f"{names[frame]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.read([row], ["image"])[0]["image"])
