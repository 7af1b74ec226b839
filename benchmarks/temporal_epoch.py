"""Compare training steps of temporal models with the baseline's; prints one JSON line.

python benchmarks/temporal_epoch.py

Uses the network, images and points of the laptop profile, and all cores.

ratio_kK: time of a step with neighborhood K divided by the baseline's, both with the profile's
batch size and `windows_per_clip`.
ratio_k3_shared16: the same for K = 3 and 16 neighbouring windows per step.
speedup_k3: for 16 windows per step, time without shared images divided by time with them.

Values are ratios of minima; _median marks ratios of medians.
"""

import json
import statistics
import time
from pathlib import Path

import torch

from tpifu.config import Params
from tpifu.dataset.windows import Batch
from tpifu.model.pifu import PIFu
from tpifu.params_file import load
from tpifu.train.optimizers import optimizers
from tpifu.train.process import reuse_memory
from tpifu.train.step import training_step

MANY, ROUNDS = 16, 40


def draw_batch(params: Params, k: int, windows: int, together: int) -> Batch:
    """Random windows, in runs of `together` windows that share images."""
    torch.manual_seed(0)
    size, images = params.render.size, 0
    frames = []
    for _ in range(windows // together):
        frames += [list(range(images + first, images + first + k)) for first in range(together)]
        images += together + k - 1
    return Batch(
        images=torch.randint(0, 256, (images, size, size, 2), dtype=torch.uint8),
        frames=torch.tensor(frames),
        calib=torch.eye(3, 4).expand(windows, -1, -1),
        points=torch.rand(windows, params.train.points, 3) * 2 - 1,
        labels=(torch.rand(windows, params.train.points) > 0.5).float(),
    )


def main() -> None:
    reuse_memory()
    params = load(Path(__file__).parents[1] / "params.yaml")
    size, mix = params.train.batch_size, params.train.windows_per_clip
    cases = {
        "k1": (1, size, 1),
        "k3": (3, size, mix),
        "k5": (5, size, mix),
        "k1_of16": (1, MANY, 1),
        "k3_apart16": (3, MANY, 1),
        "k3_shared16": (3, MANY, MANY),
    }
    prepared = {}
    for name, (k, windows, together) in cases.items():
        torch.manual_seed(0)
        network = PIFu(params.model.with_window(k), params.camera.window).train()
        updaters = optimizers(params.train.optimizer, network)
        prepared[name] = (network, updaters, [draw_batch(params, k, windows, together)])
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):  # alternate, so that noise affects all equally
        for name, (network, updaters, batch) in prepared.items():
            start = time.perf_counter()
            training_step(network, updaters, batch, params.train.learning_rate)
            seconds[name].append(time.perf_counter() - start)
    result: dict[str, float] = {}
    for suffix, of_rounds in (("", min), ("_median", statistics.median)):
        step = {name: of_rounds(found) for name, found in seconds.items()}
        result |= {f"{name}{suffix}_ms": 1000 * step[name] for name in cases}
        result |= {
            f"ratio_k3{suffix}": step["k3"] / step["k1"],
            f"ratio_k5{suffix}": step["k5"] / step["k1"],
            f"ratio_k3_shared16{suffix}": step["k3_shared16"] / step["k1_of16"],
            f"speedup_k3{suffix}": step["k3_apart16"] / step["k3_shared16"],
        }
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    print(
        json.dumps(
            {
                "threads": torch.get_num_threads(),
                "windows": size,
                "windows_per_clip": mix,
                **rounded,
            }
        )
    )


if __name__ == "__main__":
    main()
