"""Stages `train@baseline` and `train@temporal`: views and points -> models/NAME.

python -m pipeline.train NAME, or torchrun --nproc-per-node N -m pipeline.train NAME
"""

import sys

from pipeline.layout import DATA, MODELS, data_tags, load_params, root, scratch
from tpifu.errors import exit_on_error
from tpifu.model.folder import device_from
from tpifu.params_file import environment
from tpifu.tracking import start_run
from tpifu.train.distributed import start_distributed
from tpifu.train.fit import fit
from tpifu.train.run import Machine, Run


def main(name: str) -> None:
    params, host = load_params(), environment()
    run = Run(
        data=DATA,
        model=params.model.with_window(1) if name == "baseline" else params.model,
        train=params.train,
        seed=params.seed,
    )
    tags = {"profile": params.profile, "model": name, "fingerprint": run.fingerprint, **data_tags()}
    with start_distributed(device_from(host.device)) as (processes, device):
        machine = Machine.of(host, device, processes)
        with start_run(
            f"train {name}",
            root=root(),
            params=run.settings(),
            tags=tags,
            memory=run.folder(scratch()),
            recorded=processes.is_main and host.tracking,
        ) as tracker:
            fit(run, MODELS / name, scratch(), machine, tracker.log_metrics)


if __name__ == "__main__":
    with exit_on_error():
        main(*sys.argv[1:])
