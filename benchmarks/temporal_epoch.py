"""Compare training steps of temporal models with the baseline's; prints one JSON line.

python benchmarks/temporal_epoch.py

Uses the network, image size, batch size and number of points of the laptop profile, and all cores.

ratio_k3, ratio_k5: time of a step with this neighborhood, and the profile's fusion, divided by the
baseline's.
ratio_k3_FUSION: the same for each fusion.

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

ROUNDS = 40


def draw_batch(params: Params, k: int) -> Batch:
    """Random windows."""
    torch.manual_seed(0)
    windows, size = params.train.batch_size, params.render.size
    return Batch(
        images=torch.randint(0, 256, (windows * k, size, size, 2), dtype=torch.uint8),
        frames=torch.arange(windows * k).view(windows, k),
        calib=torch.eye(3, 4).expand(windows, -1, -1),
        points=torch.rand(windows, params.train.points, 3) * 2 - 1,
        labels=(torch.rand(windows, params.train.points) > 0.5).float(),
    )


def main() -> None:
    reuse_memory()
    params = load(Path(__file__).parents[1] / "params.yaml")
    cases = {
        "k1": (1, "concat"),
        "k3": (3, params.model.fusion),
        "k5": (5, params.model.fusion),
        "k3_concat": (3, "concat"),
        "k3_attention": (3, "attention"),
        "k3_early": (3, "early"),
    }
    prepared = {}
    for name, (k, fusion) in cases.items():
        torch.manual_seed(0)
        model = params.model.with_window(k, fusion=fusion)
        network = PIFu(model, params.camera.window).train()
        updaters = optimizers(params.train.optimizer, network)
        prepared[name] = (network, updaters, [draw_batch(params, k)])
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
        result |= {f"ratio_{name}{suffix}": step[name] / step["k1"] for name in cases}
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    sizes = {"threads": torch.get_num_threads(), "windows": params.train.batch_size}
    print(json.dumps({**sizes, "fusion": params.model.fusion, **rounded}))


if __name__ == "__main__":
    main()
