"""Stage `download`: body motion -> data/surreal, a folder tree in SURREAL's layout."""

import os
from pathlib import Path

from pipeline.layout import OWN, SURREAL, downloads, load_params
from tpifu.errors import ConfigError, exit_on_error, warn
from tpifu.parallel import cluster
from tpifu.params_file import environment
from tpifu.sources.tree import write_tree


def main() -> None:
    params = load_params()
    for path in (params.data.cmu.folder, params.data.surreal.folder, params.data.surreal.clips):
        if path:
            check_watched(Path(path))
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


def check_watched(path: Path) -> None:
    """Raise ConfigError if DVC would not notice changes to `path`. The stage depends only on OWN,
    and DVC does not follow links to folders."""
    if not path.resolve().is_relative_to(OWN.resolve()):
        raise ConfigError(
            f"{path}: is outside {OWN}/, so DVC would not notice changes; copy it to {OWN}/"
        )
    for below in path.rglob("*"):
        if below.is_symlink() and below.is_dir():
            raise ConfigError(
                f"{below}: is a link to a folder, so DVC would not notice changes; copy the folder"
            )


if __name__ == "__main__":
    with exit_on_error(), cluster(environment().dask):
        main()
