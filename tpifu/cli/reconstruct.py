"""`tpifu reconstruct`: pictures or shards of a clip to meshes."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tpifu.cli.options import Device, ModelFile, checked_params, warn_of_light
from tpifu.errors import ConfigError, DataError


class MeshFormat(StrEnum):
    """Formats of meshes."""

    glb = "glb"
    obj = "obj"
    ply = "ply"
    stl = "stl"


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
    checked_params("reconstruct", {"evaluate.resolution": resolution, "evaluate.start": start})
    if level is not None and not 0 < level < 1:
        raise ConfigError(f"level: is {level:g}: must be above 0 and below 1")
    if not 0.01 <= fps <= 1000:
        raise ConfigError(f"fps: is {fps:g}: must be 0.01 or more, to 1000")

    from tpifu.geometry.mesh_files import SUFFIXES, save_mesh
    from tpifu.model.folder import device_from, load_model
    from tpifu.pictures.movies import write_pictures
    from tpifu.reconstruct.folder import Settings, exclusive, reconstruct_clip, reconstruct_frame
    from tpifu.reconstruct.inputs import holds_shards, read_pictures, read_shards

    single = bool(out.suffix) and not out.is_dir()
    if single and out.suffix.lower() not in SUFFIXES:
        raise DataError(f"{out}: cannot write a mesh as {out.suffix}: use {', '.join(SUFFIXES)}")
    if not single and out.is_file():
        raise DataError(f"{out}: is a file: name a folder, or a file with a mesh's suffix")
    of_shards = len(inputs) == 1 and holds_shards(inputs[0])
    if not of_shards and not (clip is None and view is None):
        raise ConfigError(
            f"--clip and --view choose from one folder of shards, which {inputs[0]} is not: leave "
            "them out"
        )
    trained = load_model(model, device_from(device))
    if of_shards:
        frames = read_shards(inputs[0], clip, view or 0, trained.size, trained.window)
        print(f"{inputs[0]}: {frames.title}", file=sys.stderr)
        warn_of_light(inputs[0], trained, frames.lighting)
    else:
        frames = read_pictures(inputs, trained.size)
    if not single and len(set(frames.names)) < len(frames.names):
        raise DataError(f"{out}: several images have one name: each mesh is named by its image")
    settings = Settings(
        resolution=resolution,
        start=start,
        level=level or trained.level,
        largest=largest,
        suffix=out.suffix.lower() if single else f".{format}",
    )
    if single:
        middle = len(frames.names) // 2
        save_mesh(reconstruct_frame(trained, frames, middle, settings), out)
        print(f"{out}: mesh of {frames.names[middle]}")
        return
    with exclusive(out):
        paths, empty = reconstruct_clip(trained, frames, out, settings)
        if len(empty) == len(paths):
            raise DataError(f"{out}: no frame has a mesh; the first: {empty[0]}")
        if pictures:
            write_pictures(frames, paths, out, trained.window, fps)
    if empty:
        print(f"{len(empty)} frames give no mesh; the first: {empty[0]}", file=sys.stderr)
    print(f"{out}: {len(paths) - len(empty)} of {len(paths)} meshes")
