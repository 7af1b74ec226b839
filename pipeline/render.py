"""Stage `render`: data/meshes -> data/views, every yaw view of every mesh."""

import sys

from pipeline import layout
from tpifu import render
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster


def main() -> None:
    params, jobs = layout.params(), layout.jobs()
    backend = render.choose_backend(params.render.backend)
    if reason := render.explain(params.render.backend, backend):
        print(reason, file=sys.stderr)
    render.write_views(
        layout.MESHES,
        layout.VIEWS,
        size=params.render.size,
        views=params.render.views,
        window=params.camera.window,
        backend=backend,
        jobs=jobs,
    )


if __name__ == "__main__":
    with exit_on_error(), cluster(layout.scheduler()):
        main()
