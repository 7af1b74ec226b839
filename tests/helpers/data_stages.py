"""Run the data stages on a tiny tree: python tests/helpers/data_stages.py FOLDER"""

import sys
from pathlib import Path

from tpifu.config import Data, Render, Sample, Synthetic
from tpifu.prepare.meshes import export_meshes
from tpifu.prepare.points import write_points
from tpifu.prepare.views import write_views
from tpifu.sources.tree import write_tree


def main(folder: Path) -> None:
    motion = Synthetic(train_subjects=1, test_subjects=1, motions="both", clips=2)
    data = Data(
        synthetic=motion, train_meshes=6, validation_meshes=0, test_meshes=4, unseen_meshes=4
    )
    write_tree(folder / "surreal", data, 0, cache=folder, environment={}, jobs=1)
    export_meshes(folder / "surreal", folder / "meshes", data, 0, jobs=1)
    images = Render(size=64, views=3, light="environment", occlusion=8)
    camera = {"window": 2.56, "seed": 0, "backend": "embree"}
    write_views(folder / "meshes", folder / "views", images, **camera, jobs=1)
    pool = Sample(near_surface=500, uniform=100, grid=16)
    write_points(folder / "meshes", folder / "points", pool, half=1.28, seed=0, jobs=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
