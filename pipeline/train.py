"""Stages `train@baseline` and `train@temporal`: views and points -> models/NAME.

python -m pipeline.train NAME NEIGHBORHOOD STRIDE, or
torchrun --nproc-per-node N -m pipeline.train ...
"""

import sys

from pipeline import layout
from tpifu import tracking
from tpifu.checkpoint import device_from
from tpifu.errors import exit_on_error
from tpifu.team import assembled
from tpifu.train import Machine, Run, fit


def main(name: str, neighborhood: int, stride: int) -> None:
    params = layout.params()
    run = Run(
        views=layout.VIEWS,
        points=layout.POINTS,
        model=params.model.seeing(neighborhood, stride),
        train=params.train,
        seed=params.seed,
    )
    tags = {
        "profile": params.profile,
        "model": name,
        "fingerprint": run.fingerprint,
        **layout.data_tags(),
    }
    with assembled(device_from(layout.device())) as (team, device):
        machine = Machine(
            device=device,
            workers=layout.readers(),
            parts=layout.parts(),
            team=team,
            precision=layout.precision(),
            compiled=layout.compiled(),
        )
        with tracking.start_run(
            f"train {name}",
            root=layout.root(),
            params=run.settings(),
            tags=tags,
            memory=run.folder(layout.scratch()),
            recorded=team.leads,
        ) as tracker:
            fit(run, layout.MODELS / name, layout.scratch(), machine, tracker.log_metrics)


if __name__ == "__main__":
    with exit_on_error():
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
