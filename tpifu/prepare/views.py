"""Stage `render`: meshes to PNG images and cameras of every yaw view."""

from functools import partial
from pathlib import Path

import numpy as np

from tpifu.geometry.camera import calibration
from tpifu.render.backend import Backend
from tpifu.render.render import render
from tpifu.resumable import build
from tpifu.shards.coding import png
from tpifu.shards.meshes import MeshReader, StoredClip
from tpifu.shards.reader import digest
from tpifu.shards.schema import Group


def write_views(
    meshes: Path, out: Path, *, size: int, views: int, window: float, backend: Backend, jobs: int
) -> None:
    """Meshes -> PNG and camera rows of `views` evenly spaced yaws, a row group a clip and view.

    `size` in pixels, `window` in metres. A clip keeps its cameras: neighbouring frames share them.
    """
    reader = MeshReader(meshes)
    task = partial(_clip_views, size=size, views=views, window=window, backend=backend)
    metadata = {
        "meshes": reader.shards.metadata,
        "backend": backend,
        "size": size,
        "views": views,
        "window": window,
        "units": "yaw: degrees about +y; calib: world metres -> ndc [-1, 1], z towards the viewer",
    }
    inputs = {"meshes": digest([meshes])}
    build(out, "views", task, reader.clips(), metadata, inputs, jobs=jobs, label="views")


def _clip_views(
    clip: StoredClip,
    *,
    size: int,
    views: int,
    window: float,
    backend: Backend,
) -> list[Group]:
    yaws = [360.0 * view / views for view in range(views)]
    calibs = np.stack([calibration(yaw, window) for yaw in yaws])
    groups: list[Group] = [[] for _ in yaws]
    for frame in clip.read():
        for view, image in enumerate(render(frame.mesh, calibs, size, backend)):
            groups[view].append(
                {
                    "split": frame.split,
                    "sequence": frame.sequence,
                    "clip": frame.clip,
                    "view": view,
                    "frame": frame.frame,
                    "yaw": yaws[view],
                    "calib": calibs[view].ravel(),
                    "image": png(image),
                }
            )
    return groups
