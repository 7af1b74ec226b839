"""What this machine offers the stages, in one line each. Run by set-up."""

from tpifu import render


def main() -> None:
    backend = render.choose_backend("auto")
    print(render.explain("auto", backend) or f"rendering with {backend}")


if __name__ == "__main__":
    main()
