"""Stages `evaluate@baseline` and `evaluate@temporal`: a model on held-out meshes ->
metrics/NAME.json, reports/NAME."""

import sys

from pipeline import layout
from tpifu import tracking
from tpifu.checkpoint import device_from, load_model
from tpifu.errors import exit_on_error
from tpifu.evaluate import evaluate, flat, write_json
from tpifu.parallel import cluster


def main(name: str) -> None:
    params = layout.params()
    device = device_from(layout.device())
    tags = {"profile": params.profile, **layout.model_tags(name), **layout.data_tags()}
    with tracking.start_run(
        f"evaluate {name}", root=layout.root(), params=params.evaluate.model_dump(), tags=tags
    ) as tracker:
        metrics = evaluate(
            load_model(layout.MODELS / name, device),
            layout.MESHES,
            layout.VIEWS,
            layout.POINTS,
            params.evaluate,
            params.seed,
            layout.REPORTS / name,
            jobs=layout.jobs(),
        )
        write_json(layout.METRICS / f"{name}.json", metrics)
        tracker.log_metrics(flat(metrics))


if __name__ == "__main__":
    with exit_on_error(), cluster(layout.scheduler()):
        main(sys.argv[1])
