"""What the same number of windows costs a temporal model and the baseline, one JSON line.

python benchmarks/temporal_epoch.py   (the laptop profile's network, images and points, all cores)

ratio_kK: a step of neighborhood K over one of the baseline, both with the profile's batch and
`windows_per_clip`. Of 16 windows a step: ratio_k3_shared16, all neighbours, over the baseline;
speedup_k3, filtering every window's frames apart over sharing them.
"""

import json
import time
from pathlib import Path

import torch

from tpifu import config
from tpifu.config import Params
from tpifu.dataset import Batch
from tpifu.pifu import PIFu
from tpifu.train import optimizers, reuse_memory, training_step

MANY, ROUNDS = 16, 40


def draw_batch(params: Params, k: int, windows: int, together: int) -> Batch:
    """Windows in runs of `together` that share their images."""
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
    params = config.load(Path(__file__).parents[1] / "params.yaml")
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
        network = PIFu(params.model.seeing(k), params.camera.window).train()
        network.image_filter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        updaters = optimizers(params.train.optimizer, network)
        prepared[name] = (network, updaters, [draw_batch(params, k, windows, together)])
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(ROUNDS):  # in turns: the machine's moods hit all
        for name, (network, updaters, batch) in prepared.items():
            start = time.perf_counter()
            training_step(network, updaters, batch, params.train.learning_rate)
            best[name] = min(best[name], time.perf_counter() - start)
    result = {
        **{f"{name}_ms": 1000 * best[name] for name in cases},
        "ratio_k3": best["k3"] / best["k1"],
        "ratio_k5": best["k5"] / best["k1"],
        "ratio_k3_shared16": best["k3_shared16"] / best["k1_of16"],
        "speedup_k3": best["k3_apart16"] / best["k3_shared16"],
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
