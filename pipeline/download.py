"""Stage `download`: body motion -> data/surreal, a folder tree in SURREAL's layout."""

import os

from pipeline.layout import SURREAL, downloads, load_params
from tpifu.errors import exit_on_error, warn
from tpifu.parallel import cluster
from tpifu.params_file import environment
from tpifu.sources.tree import write_tree


def main() -> None:
    params = load_params()
    errors = write_tree(
        SURREAL,
        params.data,
        params.seed,
        cache=downloads(),
        environment=os.environ,
        jobs=environment().jobs,
    )
    if errors:
        warn(f"{len(errors)} files skipped; the first: {errors[0]}")


if __name__ == "__main__":
    with exit_on_error(), cluster(environment().dask):
        main()
