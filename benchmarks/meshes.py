"""SURREAL-shaped clips -> meshes: speed and memory of reading and exporting, one JSON line.

python benchmarks/meshes.py   (200 clips of 100 frames, every fifth kept; and 50, for the memory)
"""

import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from tpifu import surreal
from tpifu.body import GENDERS, embedded_body, write_embedded
from tpifu.config import Data
from tpifu.motion import Style, make_motion

FRAMES = 100


def write_clips(tree: Path, count: int) -> None:
    """`count` clips: one walk on many bodies, which is as much work as many motions."""
    write_embedded(tree / "smpl")
    (tree / surreal.SOURCE_NAME).write_text("{}")
    rng = np.random.default_rng(0)
    motion = make_motion("walk", FRAMES, Style.draw(rng), rng)
    for number in range(count):
        gender = GENDERS[number % 2]
        betas = rng.normal(size=10).clip(-2, 2).astype(np.float32)
        _, joints = embedded_body(gender).pose(motion.pose, betas)
        clip = surreal.Clip(f"{number:03d}_walk", 1, gender, betas, motion.pose, joints)
        split = "train" if number else "test"
        path = surreal.clip_path(tree, split, "run0", clip.sequence, 1)
        surreal.write_clip(path, clip, zrot=rng.uniform(0, 6), camera_distance=8.0)


def export(tree: str, out: str, meshes: int, jobs: int, result: "multiprocessing.Queue") -> None:
    data = Data(train_meshes=meshes, test_meshes=1, unseen_meshes=0)
    start = time.perf_counter()
    surreal.export_meshes(Path(tree), Path(out), data, 0, jobs=jobs)
    seconds = time.perf_counter() - start
    usage = [
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    result.put((seconds, max(usage) / 1024))


def main() -> None:
    jobs = len(os.sched_getaffinity(0))
    found = {}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        write_clips(tree, 202)
        for clips in (50, 200):
            queue = context.Queue()
            meshes = clips * FRAMES // 5
            arguments = (str(tree), f"{folder}/{clips}", meshes, jobs, queue)
            process = context.Process(target=export, args=arguments)
            process.start()
            seconds, peak = queue.get()
            process.join()
            found[f"meshes_per_s_{clips}"] = meshes / seconds
            found[f"peak_mb_{clips}"] = peak
    print(
        json.dumps({"jobs": jobs, **{name: float(f"{value:.4g}") for name, value in found.items()}})
    )


if __name__ == "__main__":
    main()
