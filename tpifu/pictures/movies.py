"""WebP animations of a reconstructed clip: a turntable, and the input next to the meshes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tpifu.geometry.mesh_files import read_mesh
from tpifu.pictures.figures import sheet
from tpifu.pictures.gltf import write_animation
from tpifu.pictures.tiles import ANGLES, draw_mesh, on_white
from tpifu.pictures.webp import write_webp
from tpifu.reconstruct.inputs import InputFrames

TILE = 256
TURNS = 36


def write_pictures(
    clip: InputFrames, paths: Sequence[Path | None], out: Path, window: float, fps: float
) -> None:
    """Write turntable.webp (the middle frame, rotating), side_by_side.webp (input and mesh from
    three angles) and clip.glb (all meshes as one animation) to `out`. Reads one mesh at a time.

    Raises DataError if the clip is too large for one .glb file; the other two are written first.
    """
    shown = [path for path in paths if path is not None]
    yaws = [clip.yaw + 360 * turn / TURNS for turn in range(TURNS)]
    turns = draw_mesh(read_mesh(shown[len(shown) // 2]), yaws, window, TILE)
    write_webp(map(Image.fromarray, turns), TURNS, out / "turntable.webp", 1000 // 15)
    sheets = (
        _side_by_side(clip.read(frame), path, clip.yaw, window) for frame, path in enumerate(paths)
    )
    write_webp(sheets, len(paths), out / "side_by_side.webp", round(1000 / fps))
    if len(paths) > 1:
        meshes = (None if path is None else read_mesh(path) for path in paths)
        write_animation(meshes, out / "clip.glb", fps)


def _side_by_side(
    pixels: UInt8[np.ndarray, "h w c"], path: Path | None, yaw: float, window: float
) -> Image.Image:
    """The input, then the mesh from the input's view and two more."""
    mesh = None if path is None else read_mesh(path)
    views = draw_mesh(mesh, [yaw + angle for angle in ANGLES.values()], window, TILE)
    return sheet([[on_white(pixels), *views]], ["input", *ANGLES], [""], size=TILE, left=0)
