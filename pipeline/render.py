"""Stage `render`: data/meshes -> data/views, images of every mesh from all yaw angles."""

import sys

from pipeline.layout import DATA, load_params
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster
from tpifu.params_file import environment
from tpifu.prepare.views import write_views
from tpifu.render.backend import choose_backend


def main() -> None:
    params = load_params()
    backend, line = choose_backend(params.render.backend)
    if line:
        print(line, file=sys.stderr)
    write_views(
        DATA.meshes,
        DATA.views,
        params.render,
        window=params.camera.window,
        seed=params.seed,
        backend=backend,
        jobs=environment().jobs,
    )


if __name__ == "__main__":
    with exit_on_error(), cluster(environment().dask):
        main()
