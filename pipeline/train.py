"""Stages `train@baseline` and `train@temporal`: views and points -> models/NAME.

python -m pipeline.train NAME NEIGHBORHOOD STRIDE, or
torchrun --nproc-per-node N -m pipeline.train ...
"""

import sys

from pipeline import layout
from pipeline.layout import DATA, MODELS, data_tags, root, scratch
from pipeline.machine import compiled, device_name, parts, precision, readers
from tpifu.errors import exit_on_error
from tpifu.model.folder import device_from
from tpifu.tracking import start_run
from tpifu.train.distributed import assembled
from tpifu.train.fit import fit
from tpifu.train.run import Machine, Run


def main(name: str, neighborhood: int, stride: int) -> None:
    params = layout.params()
    run = Run(
        views=DATA.views,
        points=DATA.points,
        model=params.model.seeing(neighborhood, stride),
        train=params.train,
        seed=params.seed,
    )
    tags = {
        "profile": params.profile,
        "model": name,
        "fingerprint": run.fingerprint,
        **data_tags(),
    }
    with assembled(device_from(device_name())) as (team, device):
        machine = Machine(
            device=device,
            workers=readers(),
            parts=parts(),
            team=team,
            precision=precision(),
            compiled=compiled(),
        )
        with start_run(
            f"train {name}",
            root=root(),
            params=run.settings(),
            tags=tags,
            memory=run.folder(scratch()),
            recorded=team.leads,
        ) as tracker:
            fit(run, MODELS / name, scratch(), machine, tracker.log_metrics)


if __name__ == "__main__":
    with exit_on_error():
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
