"""Make release models within a time limit on one machine: data, training and evaluation.

python tools/release_models.py --minutes 9.3 --out FOLDER           (one GPU, 16 cores)
python tools/release_models.py --minutes 4 --out FOLDER --rehearse  (a small version on a CPU)

The command needs neither DVC nor network access. FOLDER receives NAME/model.pt (float16) for the
baseline and the temporal model, metrics.json, per_mesh.parquet, loss.csv, loss.png, sheet.png and
machine.json. Weights are written during training, so a later failure does not lose them.

Training is tuned on the GPU while all cores make the data. Both models train on the same number of
windows: the temporal model for its share of the time, then the baseline for as many steps. The
temporal model is evaluated on the CPU while the baseline trains.
"""

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from release_log import Log
from release_outputs import Outputs
from release_recipe import (
    DATA,
    EVALUATION,
    NEIGHBORHOOD,
    REHEARSAL,
    RELEASE,
    WINDOW,
    Recipe,
)
from release_resident import Resident, ResidentSteps, read_resident
from release_timed import Limit, Report, fit_timed, validated
from release_tune import Tuned, new_network, parts_of, tune, use_filter

from tpifu.config import Evaluate, Precision
from tpifu.dataset.windows import Windows
from tpifu.errors import exit_on_error
from tpifu.evaluate.evaluate import evaluate
from tpifu.model.folder import device_from, load_model
from tpifu.prepare.meshes import export_meshes
from tpifu.prepare.points import write_points
from tpifu.prepare.views import write_views
from tpifu.shards.folder import DataFolder
from tpifu.sources.tree import write_tree
from tpifu.train.step import surface_level


def prepare(data: DataFolder, recipe: Recipe, seed: int, jobs: int) -> dict[str, float]:
    """Write tree, meshes, views and points; returns the seconds of each."""
    seconds, began = {}, time.monotonic()

    def lap(name: str) -> None:
        nonlocal began
        seconds[name] = round(time.monotonic() - began, 1)
        began = time.monotonic()

    tree, cache = data.path / "tree", data.path / "cache"
    write_tree(tree, recipe.data, seed, cache=cache, environment={}, jobs=jobs)
    lap("motion")
    export_meshes(tree, data.meshes, recipe.data, seed, jobs=jobs)
    lap("meshes")
    write_views(
        data.meshes,
        data.views,
        recipe.render,
        window=WINDOW,
        seed=seed,
        backend="embree",
        jobs=jobs,
    )
    lap("views")
    half = WINDOW / 2
    write_points(data.meshes, data.points, recipe.sample, half=half, seed=seed, jobs=jobs)
    lap("points")
    return seconds


def measure(
    model: Path, data: DataFolder, config: Evaluate, seed: int, out: Path, jobs: int
) -> dict[str, Any]:
    """Evaluate the released weights on the CPU; writes the table and the meshes to `out`."""
    trained = load_model(model, torch.device("cpu"))
    return evaluate(trained, data, config, seed, out, jobs=jobs)


def train(
    name: str,
    tuned: Tuned,
    data: dict[str, Resident],
    limit: Limit,
    outputs: Outputs,
    precision: Precision,
    seed: int,
    log: Log,
) -> None:
    """Train a model. Saves the averaged weights after every twentieth of the time."""
    recipe, model = outputs.recipe, tuned.model.with_window(NEIGHBORHOOD[name])
    network = new_network(model, seed, data["train"].images.device)
    use_filter(network, tuned.image_filter)
    steps = ResidentSteps(data["train"], recipe.train, model, seed)
    held_out = ResidentSteps(data["validation"], recipe.train, model, seed)
    parts = parts_of(steps, recipe.images)
    count = max(1, recipe.validation_windows // recipe.train.batch_size)
    batches = [batch for _ in range(count) for batch in held_out.draw(parts)]
    level = surface_level(data["train"].inside_share)
    rows = outputs.validation[name] = []
    due = 0.05

    def watch(report: Report) -> None:
        nonlocal due
        if report.progress < due:
            return
        due = report.progress + 0.05
        outputs.save(name, report.average, model, level)
        found = validated(report.average, batches)
        rows.append({"step": report.step, "loss": report.loss, **found})
        log(
            f"{name} {report.progress:4.0%}, step {report.step}: loss {report.loss:.4f}, "
            f"validation IoU {found['iou']:.4f}, MSE {found['mse']:.4f}"
        )

    _, outputs.curves[name] = fit_timed(
        network, steps, limit, watch, parts=parts, precision=precision
    )


def run(options: argparse.Namespace) -> list[str]:
    """Make everything; return the names of the parts that failed."""
    log, total, seed = Log(), 60 * options.minutes, options.seed
    recipe = REHEARSAL if options.rehearse else RELEASE
    device = device_from(options.device)
    on_gpu = device.type == "cuda"
    precision: Precision = "bfloat16" if on_gpu else "float32"
    work = options.work or Path(tempfile.mkdtemp(prefix="release-"))
    options.out.mkdir(parents=True, exist_ok=True)
    machine = {
        "card": torch.cuda.get_device_name(device) if on_gpu else platform.machine(),
        "cores": options.jobs,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "precision": precision,
        "seed": seed,
        "minutes": options.minutes,
    }
    outputs = Outputs(options.out, work, recipe, machine)
    log(f"{machine['card']}, torch {torch.__version__}, {options.jobs} cores, working in {work}")
    torch.backends.cudnn.benchmark = True
    folder, trained_by = DataFolder(work / "data"), total * (1 - EVALUATION)
    # Spawn, because CUDA does not work in forked processes.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as helper:
        # Leave two cores for tuning and training.
        jobs = max(1, options.jobs - 2)
        preparing = helper.submit(prepare, folder, recipe, seed, jobs)
        with log.part("tune"):
            tuned = tune(
                recipe,
                device,
                precision,
                training=trained_by - total * DATA,
                compiling=total * 0.2 if options.compile else 0.0,
                log=log,
            )
        machine |= {
            "network": tuned.model.model_dump(mode="json"),
            "compiled": tuned.compiled,
            "measured_windows_per_s": {k: round(v, 1) for k, v in tuned.speeds.items()},
        }
        with log.part("wait for data"):
            machine["data_seconds"] = preparing.result()
        with log.part("load"):
            single = tuned.model.with_window(1)
            data = {
                split: read_resident(Windows(folder, split, single), device, jobs=options.jobs)
                for split in ("train", "validation")
            }
        machine["meshes"] = {split: len(own.images) for split, own in data.items()}
        log(f"data: {machine['data_seconds']}, {machine['meshes']}")

        # The temporal model is slower. Leave slack so that the baseline completes as many steps.
        share = 0.9 * tuned.speeds["baseline"] / sum(tuned.speeds.values())
        limit = Limit(seconds=(trained_by - log.elapsed) * share)
        evaluating: dict[str, Future[dict[str, Any]]] = {}
        for name in NEIGHBORHOOD:
            with log.attempt(f"train {name}"):
                train(name, tuned, data, limit, outputs, precision, seed, log)
            steps = len(outputs.curves[name].losses) if name in outputs.curves else None
            limit = Limit(seconds=max(1.0, trained_by - log.elapsed), steps=steps)
            with log.attempt("write"):
                outputs.write(log.seconds, log.lines)
            evaluating[name] = helper.submit(
                measure,
                options.out / name,
                folder,
                recipe.evaluate,
                seed,
                work / name,
                jobs,
            )
        with log.attempt("draw losses"):
            outputs.draw_losses()
        for name, future in evaluating.items():
            with log.attempt(f"wait for evaluation of {name}"):
                log(f"{name}: {future.result(timeout=max(1.0, total - log.elapsed))}")
                outputs.measured.append(name)
                outputs.write(log.seconds, log.lines)
        with log.attempt("draw sheet"):
            outputs.draw_sheet()
        log(f"done; failed: {', '.join(log.failed) or 'nothing'}")
        outputs.write(log.seconds, log.lines)
        if len(outputs.measured) < len(evaluating):  # stop evaluations that have not finished
            for process in multiprocessing.active_children():
                process.terminate()
    return log.failed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="folder for data and reports; default: temporary")
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: CUDA if available")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rehearse", action="store_true", help="small data and networks")
    with exit_on_error():
        failed = run(parser.parse_args())
        # The compiler's worker processes would delay a normal exit for minutes.
        os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
