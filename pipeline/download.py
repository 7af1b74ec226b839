"""Stage `download`: body motion -> data/surreal, a SURREAL-shaped tree."""

import os
import sys

from pipeline import layout
from tpifu import sources
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster


def main() -> None:
    params = layout.params()
    faults = sources.write_tree(
        layout.SURREAL,
        params.data,
        params.seed,
        cache=layout.downloads(),
        environment=os.environ,
        jobs=layout.jobs(),
    )
    if faults:
        print(f"{len(faults)} files left out; the first: {faults[0]}", file=sys.stderr)


if __name__ == "__main__":
    with exit_on_error(), cluster(layout.scheduler()):
        main()
