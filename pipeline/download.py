"""Stage `download`: body motion -> data/surreal, a SURREAL-shaped tree."""

import os
import sys

from pipeline import layout
from pipeline.layout import SURREAL, downloads
from pipeline.machine import jobs, scheduler
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster
from tpifu.sources.tree import write_tree


def main() -> None:
    params = layout.params()
    faults = write_tree(
        SURREAL,
        params.data,
        params.seed,
        cache=downloads(),
        environment=os.environ,
        jobs=jobs(),
    )
    if faults:
        print(f"{len(faults)} files left out; the first: {faults[0]}", file=sys.stderr)


if __name__ == "__main__":
    with exit_on_error(), cluster(scheduler()):
        main()
