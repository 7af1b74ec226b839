"""Stage `meshes`: data/surreal -> data/meshes, posed meshes of the chosen frames."""

from pipeline.layout import DATA, SURREAL, load_params
from tpifu.errors import exit_on_error, warn
from tpifu.parallel import cluster
from tpifu.params_file import environment
from tpifu.prepare.meshes import SKIPPED_NAME, export_meshes


def main() -> None:
    params = load_params()
    jobs = environment().jobs
    choice = export_meshes(SURREAL, DATA.meshes, params.data, params.seed, jobs=jobs)
    if choice.skipped:
        warn(
            f"{len(choice.skipped)} clips skipped, listed in {DATA.meshes}/{SKIPPED_NAME}; "
            f"the first: {choice.skipped[0]}"
        )
    unseen = sum(count for split, _, count in choice.clips if split == "unseen_motion")
    if unseen < params.data.unseen_meshes:
        warn(
            f"unseen motion: {unseen} of {params.data.unseen_meshes} meshes; no more clips of the "
            "test subjects match data.unseen"
        )


if __name__ == "__main__":
    with exit_on_error(), cluster(environment().dask):
        main()
