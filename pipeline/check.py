"""Print the renderer that this machine will use. `make` runs it after the installation."""

from tpifu.render.backend import choose_backend


def main() -> None:
    _, line = choose_backend("auto")
    print(line)


if __name__ == "__main__":
    main()
