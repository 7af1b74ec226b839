"""Stage `meshes`: data/surreal -> data/meshes, posed SMPL meshes of the chosen frames."""

import sys

from pipeline import layout
from pipeline.layout import DATA, SURREAL
from pipeline.machine import jobs, scheduler
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster
from tpifu.prepare.meshes import SKIPPED_NAME, export_meshes


def main() -> None:
    params = layout.params()
    choice = export_meshes(SURREAL, DATA.meshes, params.data, params.seed, jobs=jobs())
    if choice.skipped:
        print(
            f"{len(choice.skipped)} clips skipped, listed in {DATA.meshes}/"
            f"{SKIPPED_NAME}; the first: {choice.skipped[0]}",
            file=sys.stderr,
        )
    kept = sum(kept for split, _, kept in choice.clips if split == "unseen_motion")
    if kept < params.data.unseen_meshes:
        print(
            f"unseen motion: {kept} of {params.data.unseen_meshes} meshes; the test subjects have "
            "no more clips that match data.unseen",
            file=sys.stderr,
        )


if __name__ == "__main__":
    with exit_on_error(), cluster(scheduler()):
        main()
