"""Stage `meshes`: data/surreal -> data/meshes, posed meshes of the chosen frames."""

import sys

from pipeline.layout import DATA, SURREAL, load_params
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster
from tpifu.params_file import environment
from tpifu.prepare.meshes import SKIPPED_NAME, export_meshes


def main() -> None:
    params = load_params()
    jobs = environment().jobs
    choice = export_meshes(SURREAL, DATA.meshes, params.data, params.seed, jobs=jobs)
    if choice.skipped:
        print(
            f"{len(choice.skipped)} clips skipped, listed in {DATA.meshes}/"
            f"{SKIPPED_NAME}; the first: {choice.skipped[0]}",
            file=sys.stderr,
        )
    unseen = sum(count for split, _, count in choice.clips if split == "unseen_motion")
    if unseen < params.data.unseen_meshes:
        print(
            f"unseen motion: {unseen} of {params.data.unseen_meshes} meshes; no more clips of the "
            "test subjects match data.unseen",
            file=sys.stderr,
        )


if __name__ == "__main__":
    with exit_on_error(), cluster(environment().dask):
        main()
