"""Stage `meshes`: data/surreal -> data/meshes, posed SMPL meshes of the chosen frames."""

import sys

from pipeline import layout
from tpifu import surreal
from tpifu.errors import exit_on_error
from tpifu.parallel import cluster


def main() -> None:
    params = layout.params()
    choice = surreal.export_meshes(
        layout.SURREAL, layout.MESHES, params.data, params.seed, jobs=layout.jobs()
    )
    if choice.skipped:
        print(
            f"{len(choice.skipped)} clips skipped, listed in {layout.MESHES}/"
            f"{surreal.SKIPPED_NAME}; the first: {choice.skipped[0]}",
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
    with exit_on_error(), cluster(layout.scheduler()):
        main()
