"""Measure views per second of each backend and the cost of PNGs; prints one JSON line.

python benchmarks/render.py               (one minute)
python benchmarks/render.py --leak 5000   (memory growth over 5,000 views instead)

Renders 8 views each of bodies in a walk, at 512 and 128 px, in one thread.

BACKEND_SIZE: views per second, including set-up of the mesh but not the PNG; null if the backend
does not work on this machine.
png_SIZE: PNGs encoded per second; png_bytes_SIZE: bytes per PNG.
png_share_SIZE: encoding's share of the time to render with `auto` and encode.

Values are minima over alternating rounds; _median marks medians. --leak reports the growth in
megabytes from the first tenth of the 128 px views to the last.
"""

import argparse
import json
import os
import statistics
import time
from collections import defaultdict
from typing import get_args

import numpy as np
import psutil

from tpifu.body.body import embedded_body
from tpifu.errors import ConfigError
from tpifu.geometry.camera import calibration
from tpifu.geometry.mesh import Mesh
from tpifu.render.backend import Backend, choose_backend
from tpifu.render.render import render
from tpifu.shards.coding import png
from tpifu.sources.synthetic.beats import Style
from tpifu.sources.synthetic.motion import make_motion

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported


SIZES, VIEWS, ROUNDS = (512, 128), 8, 9
CALIBS = np.stack([calibration(360 * view / VIEWS, 2.56) for view in range(VIEWS)])


def bodies(count: int) -> list[Mesh]:
    rng = np.random.default_rng(0)
    body = embedded_body("male")
    motion = make_motion("walk", count, Style.draw(rng), rng)
    vertices, joints = body.pose(motion.pose, np.zeros(10, np.float32))
    return [Mesh(v - j[0], body.faces) for v, j in zip(vertices, joints, strict=True)]


def working() -> list[Backend]:
    found: list[Backend] = []
    for backend in get_args(Backend):
        try:
            found.append(choose_backend(backend)[0])
        except ConfigError:
            continue
    return found


def speeds() -> dict[str, float | None]:
    meshes, count = bodies(4), 4 * VIEWS
    seconds: dict[str, list[float]] = defaultdict(list)
    size_of: dict[int, float] = {}
    for _ in range(ROUNDS):  # alternate, so that noise affects all equally
        for size in SIZES:
            for backend in working():
                start = time.perf_counter()
                images = np.concatenate([render(mesh, CALIBS, size, backend) for mesh in meshes])
                seconds[f"{backend}_{size}"].append(time.perf_counter() - start)
            start = time.perf_counter()
            files = [png(image) for image in images]
            seconds[f"png_{size}"].append(time.perf_counter() - start)
            size_of[size] = sum(map(len, files)) / count
    auto, _ = choose_backend("auto")
    result: dict[str, float | None] = {
        f"{backend}_{size}": None for backend in get_args(Backend) for size in SIZES
    }
    for name, values in seconds.items():
        result[name] = count / min(values)
        result[f"{name}_median"] = count / statistics.median(values)
    for size in SIZES:
        drawn, encoded = min(seconds[f"{auto}_{size}"]), min(seconds[f"png_{size}"])
        result[f"png_share_{size}"] = encoded / (drawn + encoded)
        result[f"png_bytes_{size}"] = size_of[size]
    return result


def growth(views: int) -> dict[str, float | None]:
    """Growth of resident memory, by backend."""
    meshes, result = bodies(20), {}
    process = psutil.Process()
    for backend in working():
        first = 0
        for number in range(views // VIEWS):
            if number == views // VIEWS // 10:
                first = process.memory_info().rss
            for image in render(meshes[number % len(meshes)], CALIBS, 128, backend):
                png(image)
        result[f"{backend}_grown_mb"] = (process.memory_info().rss - first) / 2**20
    return result


def main(leak: int | None) -> None:
    found = growth(leak) if leak else speeds()
    rounded = {key: value and float(f"{value:.3g}") for key, value in found.items()}
    views = {"views": leak} if leak else {}
    print(json.dumps({"auto": choose_backend("auto")[0], **views, **rounded}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--leak", type=int, metavar="VIEWS")
    main(parser.parse_args().leak)
