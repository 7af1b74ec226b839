"""Measure speed and memory of posing clips in SURREAL's layout as meshes; prints one JSON line.

python benchmarks/meshes.py

Poses every fifth frame of 200 clips of 100 frames. A second measurement with 50 clips shows whether
memory grows with the number of clips.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from joblib.externals.loky import get_reusable_executor
from memory import peak_mb

from tpifu.body.body import embedded_body, write_embedded
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import SOURCE_NAME, Clip, clip_path, write_clip
from tpifu.config import Data
from tpifu.prepare.meshes import export_meshes
from tpifu.sources.synthetic.beats import Style
from tpifu.sources.synthetic.motion import make_motion

FRAMES = 100
KEPT = FRAMES // 5


def write_clips(tree: Path, count: int) -> None:
    """Write `count` clips of one walk on many bodies; other motions would take the same work."""
    write_embedded(tree / "smpl")
    (tree / SOURCE_NAME).write_text("{}")
    rng = np.random.default_rng(0)
    motion = make_motion("walk", FRAMES, Style.draw(rng), rng)
    _, joints = embedded_body(GENDERS[0]).pose(motion.pose, np.zeros(10, np.float32))
    for number in range(count):
        gender = GENDERS[number % 2]
        betas = rng.normal(size=10).clip(-2, 2).astype(np.float32)
        clip = Clip(f"{number:03d}_walk", 1, gender, betas, motion.pose, joints)
        split = "train" if number else "test"
        path = clip_path(tree, split, "run0", clip.sequence, 1)
        write_clip(path, clip, zrot=rng.uniform(0, 6), camera_distance=8.0)


def export(tree: Path, out: Path, meshes: int, jobs: int) -> dict[str, float]:
    """Speed, and the peak resident memory of this process and of a worker, in MB."""
    data = Data(train_meshes=meshes, validation_meshes=0, test_meshes=1, unseen_meshes=0)
    start = time.perf_counter()
    export_meshes(tree, out, data, 0, jobs=jobs)
    seconds = time.perf_counter() - start
    get_reusable_executor().shutdown(wait=True)  # usage is counted when workers exit
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"meshes_per_s": meshes / seconds, "peak_mb": peak_mb(), "worker_peak_mb": worker}


def main() -> None:
    jobs = len(os.sched_getaffinity(0))
    if sys.argv[1:]:  # one measurement in its own process
        given, out, meshes = sys.argv[1:]
        print(json.dumps(export(Path(given), Path(out), int(meshes), jobs)))
        return
    found: dict[str, float] = {"jobs": jobs}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        write_clips(tree, 202)
        for clips in (50, 200):
            command = [sys.executable, __file__, str(tree), f"{folder}/{clips}", f"{clips * KEPT}"]
            own = json.loads(subprocess.check_output(command, text=True))
            found |= {f"{key}_{clips}": float(f"{value:.4g}") for key, value in own.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
