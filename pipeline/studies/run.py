"""Stage `run@KEY` of studies/dvc.yaml: train and evaluate one variant with one seed.

python -m pipeline.studies.run KEY

Writes studies/runs/KEY/measures.csv, one row for each held-out mesh. Weights are not kept. A killed
run resumes from its last checkpoint.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from pipeline.studies.plan import CACHE, RUNS, data_folder, planned
from pipeline.studies.table import write_rows
from tpifu.config import Params
from tpifu.errors import exit_on_error
from tpifu.evaluate.evaluate import evaluate
from tpifu.evaluate.rows import PER_MESH_NAME, over_views
from tpifu.files import whole_folder
from tpifu.model.folder import device_from, load_model
from tpifu.params_file import environment
from tpifu.tracking import start_run
from tpifu.train.distributed import start_distributed
from tpifu.train.fit import fit
from tpifu.train.run import Machine, Run

SCRATCH = CACHE / "train"


def main(key: str) -> None:
    plan, host = planned("runs", key), environment()
    data = data_folder(plan.pop("data"))
    params = Params.model_validate(plan)
    run = Run(data=data, model=params.model, train=params.train, seed=params.seed)
    with (
        TemporaryDirectory() as folder,
        start_distributed(device_from(host.device)) as (processes, device),
    ):
        model, report = Path(folder) / "model", Path(folder) / "report"
        with start_run(
            f"study run {key}",
            root=Path(),
            params=run.settings(),
            tags={"study_run": key, "fingerprint": run.fingerprint},
            memory=run.folder(SCRATCH),
            recorded=host.tracking,
        ) as tracker:
            fit(run, model, SCRATCH, Machine.of(host, device, processes), tracker.log_metrics)
        trained = load_model(model, device)
        evaluate(trained, data, params.evaluate, 0, report, jobs=host.jobs)
        rows = over_views(pq.read_table(report / PER_MESH_NAME).to_pylist())
    with whole_folder(RUNS / key) as part:
        write_rows(rows, part)


if __name__ == "__main__":
    with exit_on_error():
        main(sys.argv[1])
