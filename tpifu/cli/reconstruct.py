"""`tpifu reconstruct`: reconstruct meshes from images or shards of a clip."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tpifu.cli import options
from tpifu.errors import ConfigError, DataError, warn


def reconstruct(
    model: options.ModelFile,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Consecutive frames of one clip: a folder of images (frame2 before frame10), "
            "images in order, or one animated image (WebP, APNG, GIF); square, of the model's "
            "size, with the person's mask as alpha channel. Or a folder of shards.",
        ),
    ],
    out: Annotated[
        Path,
        options.out(
            "OUT",
            "A .glb, .obj, .ply or .stl file for the mesh of the middle frame, or a folder for the "
            "meshes of all frames. Metres, y up; z towards the viewer for images, the world's axes "
            "for shards.",
        ),
    ],
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Clip of the shards.", show_default="the first, test clips first"
        ),
    ] = None,
    view: Annotated[
        int | None, typer.Option(min=0, help="View of the shards.", show_default="0")
    ] = None,
    params: options.ParamsFile = None,
    settings: options.Settings = None,
    format: Annotated[
        Literal["glb", "obj", "ply", "stl"], typer.Option(help="Format of meshes in a folder.")
    ] = "glb",
    fps: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Frames per second of the animations.")
    ] = 6.0,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures",
            help="Also write clip.glb, turntable.webp and side_by_side.webp to the folder.",
        ),
    ] = True,
    device: options.Device = None,
) -> None:
    """Reconstruct the meshes of a clip; of each, only the largest connected part is kept. To resume
    an interrupted run, repeat the command."""
    chosen = options.read_params(params, settings)

    from tpifu.geometry.mesh_files import save_mesh
    from tpifu.import_pifu import RENDER_PEOPLE
    from tpifu.model.folder import device_from, load_model
    from tpifu.pictures.movies import write_pictures
    from tpifu.reconstruct.folder import Settings, exclusive, reconstruct_clip, reconstruct_frame
    from tpifu.reconstruct.inputs import holds_shards, read_pictures, read_shards

    single = out.suffix[1:].isalpha() and not out.is_dir()  # run.1 is a folder
    from_shards = len(inputs) == 1 and holds_shards(inputs[0])
    if not from_shards and not (clip is None and view is None):
        raise ConfigError(
            f"--clip and --view need a folder of shards, but {inputs[0]} is not one: omit them"
        )
    trained = load_model(model, device_from(device))
    if from_shards:
        frames = read_shards(inputs[0], clip, view or 0, trained.size, trained.window)
        print(f"{inputs[0]}: {frames.title}", file=sys.stderr)
        options.warn_of_data(inputs[0], trained, frames.data)
    else:
        light = None if trained.data.source == RENDER_PEOPLE else trained.data.light
        frames = read_pictures(inputs, trained.size, trained.window, light)
        for warning in frames.warnings:
            warn(warning)
    if not single and len(set(frames.names)) < len(frames.names):
        raise DataError(f"{out}: several images have the same name, which names their meshes")
    meshing = Settings(
        resolution=chosen.evaluate.resolution,
        start=chosen.evaluate.start,
        level=trained.level,
        suffix=out.suffix.lower() if single else f".{format}",
    )
    if single:
        middle = len(frames.names) // 2
        save_mesh(reconstruct_frame(trained, frames, middle, meshing), out)
        print(f"{out}: mesh of {frames.names[middle]}")
        return
    with exclusive(out):
        paths, empty = reconstruct_clip(trained, frames, out, meshing)
        if len(empty) == len(paths):
            raise DataError(f"{out}: no frame has a mesh; the first: {empty[0]}")
        if pictures:
            write_pictures(frames, paths, out, trained.window, fps)
    if empty:
        warn(f"{len(empty)} frames have no mesh; the first: {empty[0]}")
    print(f"{out}: {len(paths) - len(empty)} of {len(paths)} meshes")
