"""Estimate time and size of the paper's data from a twentieth of it; prints one JSON line.

python benchmarks/preparation.py

Prepares 50 windows of 3 frames, with 4 views of 512 px and 20,000 points per mesh. The paper has
992 such windows, so the results are scaled up.

minutes_N: time for all data with N workers; STAGE_minutes_N: time of each stage.
gb: size on disk.
speedup: time with one worker divided by time with one worker per core.

Worker start-up is not counted. Times are minima of two rounds.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tpifu.config import Data, Render, Sample, Synthetic
from tpifu.parallel import parallel_map
from tpifu.prepare.meshes import export_meshes
from tpifu.prepare.points import write_points
from tpifu.prepare.views import write_views
from tpifu.render.backend import choose_backend
from tpifu.sources.tree import write_tree

WINDOWS, SHARE, FRAMES = 992, 20, 3
MESHES = FRAMES * round(WINDOWS / SHARE)
TURNS = 2


def main() -> None:
    jobs = len(os.sched_getaffinity(0))
    backend, _ = choose_backend("auto")
    held_out = MESHES // 10
    data = Data(
        synthetic=Synthetic(train_subjects=9, test_subjects=1),
        frame_step=30,  # one window per clip
        train_meshes=MESHES - held_out,
        test_meshes=held_out,
        validation_meshes=0,
        unseen_meshes=0,
    )
    pool = Sample(near_surface=18_800, uniform=1_200)
    seconds: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        tree, out = Path(folder) / "surreal", Path(folder) / "data"
        write_tree(tree, data, 0, cache=out, environment={}, jobs=jobs)
        stages: dict[str, Callable[[int], object]] = {
            "meshes": lambda jobs: export_meshes(tree, out / "meshes", data, 0, jobs=jobs),
            "views": lambda jobs: write_views(
                out / "meshes",
                out / "views",
                Render(size=512, views=4),
                window=2.56,
                seed=0,
                backend=backend,
                jobs=jobs,
            ),
            "points": lambda jobs: write_points(
                out / "meshes", out / "points", pool, half=1.28, seed=0, jobs=jobs
            ),
        }
        for workers in (1, jobs) * TURNS:
            shutil.rmtree(out, ignore_errors=True)
            list(parallel_map(_warm, range(workers), jobs=workers, label="start"))
            for name, stage in stages.items():
                start = time.perf_counter()
                stage(workers)
                taken = time.perf_counter() - start
                seconds[name, workers] = min(taken, seconds.get((name, workers), taken))
        size = sum(path.stat().st_size for path in out.rglob("*.parquet"))
    scale = WINDOWS * FRAMES / MESHES
    total = {n: sum(seconds[name, n] for name in stages) for n in (1, jobs)}
    result = {
        **{f"minutes_{n}": scale * total[n] / 60 for n in total},
        **{f"{name}_minutes_{n}": scale * taken / 60 for (name, n), taken in seconds.items()},
        "gb": scale * size / 1e9,
        "speedup": total[1] / total[jobs],
    }
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    print(json.dumps({"backend": backend, "meshes": MESHES, "workers": jobs, **rounded}))


def _warm(_number: int) -> None:
    time.sleep(0.5)


if __name__ == "__main__":
    main()
