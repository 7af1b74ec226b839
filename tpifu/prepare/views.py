"""The `render` stage: meshes -> PNG images and cameras of each yaw view."""

from functools import partial
from pathlib import Path

import numpy as np

from tpifu.config import Render
from tpifu.geometry.camera import calibration
from tpifu.render.backend import Backend
from tpifu.render.light import image_light
from tpifu.render.occlusion import openness
from tpifu.render.render import render, shade
from tpifu.resumable import build
from tpifu.shards.coding import png
from tpifu.shards.meshes import MeshReader, StoredClip
from tpifu.shards.schema import Group


def write_views(
    meshes: Path,
    out: Path,
    config: Render,
    *,
    window: float,
    seed: int,
    backend: Backend,
    jobs: int,
) -> None:
    """Render evenly spaced yaws of each mesh; a row group holds one view of a clip.

    `window`: image width, metres; `seed`: seed of the lights; `backend` overrides the configured
    one.
    """
    reader = MeshReader(meshes)
    task = partial(_clip_views, config=config, window=window, seed=seed, backend=backend)
    metadata = {
        "meshes": reader.shards.metadata,
        **config.model_dump(),
        "backend": backend,
        "window": window,
        "seed": seed,
        "units": "yaw: degrees about +y; calib: world metres -> ndc [-1, 1], z towards the viewer",
    }
    build(out, "views", task, reader.clips(), metadata, jobs=jobs)


def _clip_views(
    clip: StoredClip, *, config: Render, window: float, seed: int, backend: Backend
) -> list[Group]:
    yaws = [360.0 * view / config.views for view in range(config.views)]
    calibs = np.stack([calibration(yaw, window) for yaw in yaws])
    groups: list[Group] = [[] for _ in yaws]
    for frame in clip.read():
        lights = [
            image_light(config.light, seed, frame.clip, frame.frame, view)
            for view in range(config.views)
        ]
        values = shade(frame.mesh, calibs, lights) * openness(frame.mesh, config.occlusion)
        for view, image in enumerate(render(frame.mesh, calibs, config.size, backend, values)):
            row = {"view": view, "yaw": yaws[view], "calib": calibs[view].ravel()}
            groups[view].append({**frame.key(), **row, "image": png(image)})
    return groups
