"""Stage `sample`: data/meshes -> data/points, a pool of occupancy-labelled points of every mesh."""

from pipeline import layout
from tpifu import occupancy
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster


def main() -> None:
    params = layout.params()
    occupancy.write_points(
        layout.MESHES,
        layout.POINTS,
        params.sample,
        half=params.camera.window / 2,
        seed=params.seed,
        jobs=layout.jobs(),
    )


if __name__ == "__main__":
    with exit_on_error(), cluster(layout.scheduler()):
        main()
