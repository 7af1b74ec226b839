"""Stage `download`: body motion -> data/surreal, a SURREAL-shaped tree."""

from pipeline import layout
from tpifu import synthetic
from tpifu.errors import exit_on_error


def main() -> None:
    params = layout.params()
    synthetic.write_tree(layout.SURREAL, params.data.synthetic, params.seed, jobs=layout.jobs())


if __name__ == "__main__":
    with exit_on_error():
        main()
