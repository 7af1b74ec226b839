"""Stage `sample`: data/meshes -> data/points, a pool of occupancy-labelled points of every mesh."""

from pipeline import layout
from pipeline.layout import DATA
from pipeline.machine import jobs, scheduler
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster
from tpifu.prepare.points import write_points


def main() -> None:
    params = layout.params()
    write_points(
        DATA.meshes,
        DATA.points,
        params.sample,
        half=params.camera.window / 2,
        seed=params.seed,
        jobs=jobs(),
    )


if __name__ == "__main__":
    with exit_on_error(), cluster(scheduler()):
        main()
