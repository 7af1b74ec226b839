"""Compare the speed of reading batches with the speed of training; prints one JSON line.

python benchmarks/dataset.py [--data data]

Run it after dvc repro; it takes a minute. It uses one process, and the settings and the network of
the profile in params.yaml.

windows_per_s: reading speed of `TrainingSteps` in one thread for the temporal model, including
augmentation and point sampling.
ratio_train: windows_per_s divided by the windows per second of training steps on all cores;
above 1, training does not wait for data.
first_epoch_windows_per_s: speed of the first epoch, before any file is open or cached.
rss_growth_mb: growth of resident memory from the end of the first epoch to the end of the third.
private_growth_mb: the same without memory-mapped files.
Suffixes: _baseline is for neighborhood 1. Values are minima over alternating rounds; _median marks
medians.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import psutil
import torch

from tpifu.config import Model, Params
from tpifu.dataset.steps import TrainingSteps
from tpifu.dataset.windows import Windows
from tpifu.model.pifu import PIFu
from tpifu.params_file import load
from tpifu.shards.folder import DataFolder
from tpifu.train.optimizers import optimizers
from tpifu.train.step import training_step

EPOCHS, ROUNDS, CHUNK = 3, 9, 10


def read_epochs(steps: TrainingSteps) -> dict[str, float]:
    """Speed of the first epoch, and memory growth from its end to the end of the last one."""
    process = psutil.Process()
    size = steps.train.batch_size
    length = len(steps.windows) // size
    start = time.perf_counter()
    for step in range(length):
        steps[step]
    seconds = time.perf_counter() - start
    before = process.memory_info()
    for step in range(length, EPOCHS * length):
        steps[step]
    after = process.memory_info()
    private = (after.rss - after.shared) - (before.rss - before.shared)
    return {
        "first_epoch_windows_per_s": length * size / seconds,
        "rss_growth_mb": (after.rss - before.rss) / 2**20,
        "private_growth_mb": private / 2**20,
    }


def against_training(params: Params, model: Model, steps: TrainingSteps) -> dict[str, list[float]]:
    """Seconds per step for reading and for training, by round."""
    torch.manual_seed(0)
    network = PIFu(model, params.camera.window).train()
    updaters = optimizers(params.train.optimizer, network)
    seconds: dict[str, list[float]] = {"read": [], "train": []}
    for number in range(ROUNDS):  # alternate, so that noise affects both equally
        start = time.perf_counter()
        for step in range(number * CHUNK, (number + 1) * CHUNK):
            batch = steps[step]
        middle = time.perf_counter()
        training_step(network, updaters, [batch], params.train.learning_rate)
        seconds["read"].append((middle - start) / CHUNK)
        seconds["train"].append(time.perf_counter() - middle)
    return seconds


def main(data: DataFolder) -> None:
    params = load(Path(__file__).parents[1] / "params.yaml")
    result: dict[str, float] = {}
    for name, model in (("", params.model), ("_baseline", params.model.with_window(1))):
        steps = TrainingSteps(Windows(data, "train", model), params.train, params.seed)
        result |= {f"{key}{name}": value for key, value in read_epochs(steps).items()}
        seconds = against_training(params, model, steps)
        for suffix, typical in (("", min), ("_median", statistics.median)):
            read, trained = typical(seconds["read"]), typical(seconds["train"])
            result[f"windows_per_s{name}{suffix}"] = params.train.batch_size / read
            result[f"ratio_train{name}{suffix}"] = trained / read
            result[f"train_ms{name}{suffix}"] = 1000 * trained
    rounded = {key: float(f"{value:.3g}") for key, value in result.items()}
    print(json.dumps({"threads": torch.get_num_threads(), **rounded}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("data"))
    main(DataFolder(parser.parse_args().data))
