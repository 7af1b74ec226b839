"""Stages `evaluate@baseline` and `evaluate@temporal`: models/NAME, held-out data ->
metrics/NAME.json, reports/NAME."""

import sys

from pipeline.layout import DATA, METRICS, MODELS, REPORTS, data_tags, load_params, model_tags, root
from tpifu.config import flatten
from tpifu.errors import exit_on_error
from tpifu.evaluate.evaluate import evaluate
from tpifu.files import write_json
from tpifu.model.folder import device_from, load_model
from tpifu.parallel import cluster
from tpifu.params_file import environment
from tpifu.tracking import start_run


def main(name: str) -> None:
    params, host = load_params(), environment()
    device = device_from(host.device)
    tags = {"profile": params.profile, **model_tags(name), **data_tags()}
    with start_run(
        f"evaluate {name}",
        root=root(),
        params=params.evaluate.model_dump(),
        tags=tags,
        recorded=host.tracking,
    ) as tracker:
        metrics = evaluate(
            load_model(MODELS / name, device),
            DATA,
            params.evaluate,
            params.seed,
            REPORTS / name,
            jobs=host.jobs,
        )
        write_json(METRICS / f"{name}.json", metrics)
        tracker.log_metrics(flatten(metrics))


if __name__ == "__main__":
    with exit_on_error(), cluster(environment().dask):
        main(sys.argv[1])
