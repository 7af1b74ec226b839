"""Time each measure on 100 predicted and true bodies; prints one JSON line.

python benchmarks/measures.py

The true bodies are frames of a walk. The predictions are marching-cubes meshes of their 2 cm grids,
blurred and perturbed. Each frame has 10,000 surface samples, 10,000 labelled points and a 64^3
grid. The benchmark uses one thread.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources

import numpy as np
from memory import peak_mb
from scipy.ndimage import gaussian_filter

from tpifu.body.body import embedded_body
from tpifu.body.skeleton import PART_OF_JOINT
from tpifu.evaluate.measure import NORMAL_SIZE, NORMAL_YAWS
from tpifu.geometry.camera import calibration
from tpifu.geometry.inside import Inside
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.nearest import Surface
from tpifu.geometry.sampling import follow, stratified_samples
from tpifu.measures.motion import flicker, motion_errors
from tpifu.measures.surfaces import (
    compare,
    normal_error,
    part_iou,
    part_metrics,
    part_of_points,
    surface_metrics,
    topology,
)
from tpifu.reconstruct.surface import extract_surface
from tpifu.render.normals import normal_images
from tpifu.sources.synthetic.beats import Style
from tpifu.sources.synthetic.motion import make_motion

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported


FRAMES, SAMPLES, RESOLUTION, GRID, HALF = 100, 10_000, 128, 64, 1.28


def bodies(rng: np.random.Generator) -> list[Mesh]:
    body = embedded_body("male")
    motion = make_motion("walk", FRAMES, Style.draw(rng), rng)
    vertices, joints = body.pose(motion.pose, np.zeros(10, np.float32))
    return [Mesh(v - j[0], body.faces) for v, j in zip(vertices, joints, strict=True)]


def reconstructed(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """A prediction that is off by about 1 cm, differently in every frame."""
    shaken = Mesh(mesh.vertices + rng.normal(size=3).astype(np.float32) * 0.01, mesh.faces)
    inside = Inside(shaken).grid(RESOLUTION, HALF).astype(np.float32)
    return extract_surface(gaussian_filter(inside, 0.7), HALF)


def main() -> None:
    rng = np.random.default_rng(0)
    truth = bodies(rng)
    predicted = [reconstructed(mesh, rng) for mesh in truth]
    with (resources.files("tpifu.body") / "assets" / "body_male.npz").open("rb") as file:
        part_of_vertex = PART_OF_JOINT[np.load(file)["weights"].argmax(axis=1)]
    grids = [np.stack([Inside(m).grid(GRID, HALF) for m in ms]) for ms in (predicted, truth)]
    seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] += time.perf_counter() - start

    chamfer, normal_errors, found, true = [], [], [], []
    marks = stratified_samples(truth[0], SAMPLES, rng)
    calibs = np.stack([calibration(yaw, 2 * HALF) for yaw in NORMAL_YAWS])
    for mesh, true_mesh in zip(predicted, truth, strict=True):
        points = stratified_samples(true_mesh, SAMPLES, rng).points
        points += rng.normal(size=points.shape) * 0.05
        labels = Inside(true_mesh)(points)
        with timed("trees"):
            surface, true_surface = Surface(mesh), Surface(true_mesh)
        with timed("compare"):
            own = stratified_samples(mesh, SAMPLES, rng)
            comparison = compare(surface, true_surface, own, follow(marks, true_mesh))
        with timed("surface_metrics"):
            chamfer.append(surface_metrics(comparison)["chamfer_cm"])
        with timed("part_metrics"):
            part_metrics(comparison, part_of_vertex)
        with timed("part_of_points"):
            part = part_of_points(points, true_surface, part_of_vertex)
        with timed("part_iou"):
            part_iou(labels.astype(np.float32), labels, part)
        with timed("normal_error"):
            normals = [normal_images(m, calibs, NORMAL_SIZE) for m in (mesh, true_mesh)]
            normal_errors.append(normal_error(*normals))
        with timed("topology"):
            topology(mesh)
        found.append(comparison.to_predicted.points)
        true.append(comparison.on_truth.points)
    with timed("motion_errors"):
        speed, _ = motion_errors(np.stack(found), np.stack(true))
    with timed("flicker"):
        flicker(*grids)
    result = {f"{name}_s": value for name, value in seconds.items()}
    result["all_s"] = sum(seconds.values())
    result["predicted_faces"] = float(np.mean([len(mesh.faces) for mesh in predicted]))
    result |= {"chamfer_cm": float(np.mean(chamfer)), "speed_error_cm": float(speed.mean())}
    result["normal_error"] = float(np.mean(normal_errors))
    result["peak_mb"] = peak_mb()
    print(json.dumps({key: float(f"{value:.3g}") for key, value in result.items()}))


if __name__ == "__main__":
    main()
