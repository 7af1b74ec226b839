"""Stage `sample`: data/meshes -> data/points, labelled points of every mesh."""

from pipeline.layout import DATA, load_params
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster
from tpifu.params_file import environment
from tpifu.prepare.points import write_points


def main() -> None:
    params = load_params()
    write_points(
        DATA.meshes,
        DATA.points,
        params.sample,
        half=params.camera.window / 2,
        seed=params.seed,
        jobs=environment().jobs,
    )


if __name__ == "__main__":
    with exit_on_error(), cluster(environment().dask):
        main()
