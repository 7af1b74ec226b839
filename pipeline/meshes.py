"""Stage `meshes`: data/surreal -> data/meshes, posed SMPL meshes of the chosen frames."""

import sys

from pipeline import layout
from tpifu import surreal
from tpifu.errors import exit_on_error


def main() -> None:
    params = layout.params()
    choice = surreal.export_meshes(
        layout.SURREAL, layout.MESHES, params.data, params.seed, jobs=layout.jobs()
    )
    if choice.skipped:
        print(
            f"{len(choice.skipped)} clips skipped; the first: {choice.skipped[0]}", file=sys.stderr
        )


if __name__ == "__main__":
    with exit_on_error():
        main()
