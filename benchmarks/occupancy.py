"""Compare our point labels with trimesh's and our sampler with PIFu's; prints one JSON line.

python benchmarks/occupancy.py [--points 10000]

Uses one body of each motion and one thread; takes a minute.

points_per_s: speed of `Inside` on PIFu's mix of 21,250 points per mesh, including the time to build
the grid of the mesh.
ratio_contains: time of trimesh's `contains` (Embree's rays) divided by ours, both including set-up.
ratio_contains_kept: the same with trimesh's scene built in advance; ours still includes set-up.
build_share: share of our time spent on set-up.
wrong, contains_wrong: number of the --points labels that differ from the exact winding number,
excluding points within 10 micrometres of the surface.
overlap_share: share of points inside two body parts at once.
sample_ratio: time of PIFu's scheme divided by ours, for 5,000 balanced points of a mesh. PIFu draws
4 x 5,000 points near the surface and 1,250 in the box, labels them with `contains` and a cached
mesh, and keeps half of each kind. Our scheme labels the pool of params.yaml and draws from it.
draw_ratio: the same when our pool is already stored, as in a training step.

Seconds and ratios are minima over alternating rounds; _median marks medians.
"""

import argparse
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import trimesh
from winding import winding_number

from tpifu.body.body import embedded_body
from tpifu.body.skeleton import GENDERS
from tpifu.config import Sample
from tpifu.dataset.windows import balanced_draw
from tpifu.geometry.inside import Inside
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.nearest import Surface
from tpifu.geometry.sampling import sample_near_surface
from tpifu.prepare.points import sample_points
from tpifu.shards.coding import dequantise, quantise
from tpifu.sources.synthetic.beats import MOTIONS, Style
from tpifu.sources.synthetic.motion import make_motion

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported


HALF, DRAWN, ROUNDS, NEAREST = 1.28, 5000, 9, 1e-5


def bodies(rng: np.random.Generator) -> list[Mesh]:
    """The most self-intersecting frame of each motion, with alternating gender."""
    found = []
    for number, name in enumerate(MOTIONS):
        body = embedded_body(GENDERS[number % len(GENDERS)])
        motion = make_motion(name, 20, Style.draw(rng), rng)
        betas = rng.normal(size=10).clip(-2, 2).astype(np.float32)
        vertices, joints = body.pose(motion.pose, betas)
        frames = [Mesh(v - j[0], body.faces) for v, j in zip(vertices, joints, strict=True)]
        found.append(max(frames, key=overlap))
    return found


def overlap(mesh: Mesh) -> float:
    """Volume that lies in two parts, cubic metres."""
    return mesh.volume() - float(Inside(mesh).grid(96, HALF).mean()) * (2 * HALF) ** 3


def mix(mesh: Mesh, near: int, uniform: int, rng: np.random.Generator) -> np.ndarray:
    """Sample points, metres, rounded as in the shards."""
    points = [sample_near_surface(mesh, near, Sample().sigma, rng)]
    points.append(rng.uniform(-HALF, HALF, (uniform, 3)))
    return dequantise(quantise(rng.permutation(np.concatenate(points))))


def pifu_sample(mesh: trimesh.Trimesh, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """PIFu's sampling scheme, reimplemented."""
    surface, _ = trimesh.sample.sample_surface(mesh, 4 * DRAWN, seed=rng)
    near = surface + rng.normal(0, Sample().sigma, surface.shape)
    points = np.concatenate([near, rng.uniform(-HALF, HALF, (DRAWN // 4, 3))])
    rng.shuffle(points)
    inside = mesh.contains(points)
    within = points[inside][: DRAWN // 2]
    without = points[~inside][: DRAWN - len(within)]
    return np.concatenate([within, without]), np.arange(DRAWN) < len(within)


def draw(
    codes: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    chosen = balanced_draw(labels, DRAWN, rng)
    return dequantise(codes[chosen]), labels[chosen]


def our_sample(mesh: Mesh, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return draw(*sample_points(mesh, Sample(), HALF, rng), rng)


def contains(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    return mesh.trimesh().contains(points)


def wrong_labels(meshes: list[Mesh], count: int, rng: np.random.Generator) -> dict[str, float]:
    """Count labels that differ from the exact winding number."""
    ours = theirs = doubled = 0
    for mesh in meshes:
        near = count * 16 // 17 // len(meshes)
        points = mix(mesh, near, count // len(meshes) - near, rng)
        exact = winding_number(mesh, points)
        doubled += int((exact > 1.5).sum())
        clear = Surface(mesh).nearest(points).distance > NEAREST
        ours += int((clear & (Inside(mesh)(points) != (exact > 0.5))).sum())
        theirs += int((clear & (contains(mesh, points) != (exact > 0.5))).sum())
    return {"wrong": ours, "contains_wrong": theirs, "overlap_share": doubled / count}


def main(count: int) -> None:
    rng = np.random.default_rng(0)
    meshes = bodies(rng)
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, work: Callable[..., Any], *given: Any) -> Any:
        start = time.perf_counter()
        result = work(*given)
        spent[name] += time.perf_counter() - start
        return result

    kept = [mesh.trimesh() for mesh in meshes]
    pools = [sample_points(mesh, Sample(), HALF, rng) for mesh in meshes]
    points = [mix(mesh, 4 * DRAWN, DRAWN // 4, rng) for mesh in meshes]
    for _ in range(ROUNDS):  # alternate, so that noise affects all equally
        spent: dict[str, float] = defaultdict(float)
        for mesh, fast, pool, own in zip(meshes, kept, pools, points, strict=True):
            inside = timed("build", Inside, mesh)
            timed("query", inside, own)
            timed("contains", contains, mesh, own)
            timed("contains_kept", fast.contains, own)
            timed("sample", our_sample, mesh, rng)
            timed("draw", draw, *pool, rng)
            timed("pifu_sample", pifu_sample, fast, rng)
        spent["inside"] = spent["build"] + spent["query"]
        for name, value in spent.items():
            seconds[name].append(value)
    best = {name: min(values) for name, values in seconds.items()}
    typical = {name: statistics.median(values) for name, values in seconds.items()}
    result: dict[str, float] = {}
    for suffix, of in (("", best), ("_median", typical)):
        result[f"points_per_s{suffix}"] = sum(map(len, points)) / of["inside"]
        result[f"ratio_contains{suffix}"] = of["contains"] / of["inside"]
        result[f"ratio_contains_kept{suffix}"] = of["contains_kept"] / of["inside"]
        result[f"sample_ratio{suffix}"] = of["pifu_sample"] / of["sample"]
        result[f"draw_ratio{suffix}"] = of["pifu_sample"] / of["draw"]
    result["build_share"] = best["build"] / best["inside"]
    result |= {f"{name}_ms": 1000 * best[name] / len(meshes) for name in best}
    result |= wrong_labels(meshes, count, rng)
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    print(json.dumps({"meshes": len(meshes), "points": count, **rounded}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=10000)
    main(parser.parse_args().points)
