"""Stage `data@KEY` of studies/dvc.yaml: motion, meshes, views and points for one set of parameters.

python -m pipeline.studies.data KEY
"""

import os
import sys
import tempfile
from pathlib import Path

from pipeline.studies.plan import CACHE, data_folder, planned
from tpifu.config import Params
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster
from tpifu.params_file import environment
from tpifu.prepare.meshes import export_meshes
from tpifu.prepare.points import write_points
from tpifu.prepare.views import write_views
from tpifu.render.backend import choose_backend
from tpifu.sources.tree import write_tree


def main(key: str) -> None:
    params = Params.model_validate(planned("data", key))
    out, seed, window = data_folder(key), params.seed, params.camera.window
    backend, _ = choose_backend(params.render.backend)
    jobs = environment().jobs
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        write_tree(
            tree, params.data, seed, cache=CACHE / "downloads", environment=os.environ, jobs=jobs
        )
        export_meshes(tree, out.meshes, params.data, seed, jobs=jobs)
    write_views(
        out.meshes, out.views, params.render, window=window, seed=seed, backend=backend, jobs=jobs
    )
    write_points(out.meshes, out.points, params.sample, half=window / 2, seed=seed, jobs=jobs)


if __name__ == "__main__":
    with exit_on_error(), cluster(environment().dask):
        main(sys.argv[1])
