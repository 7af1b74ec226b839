"""Print the renderer that this machine will use. `make` runs it after the installation."""

from tpifu.render.backend import choose_backend, explain


def main() -> None:
    backend = choose_backend("auto")
    print(explain("auto", backend) or f"rendering with {backend}")


if __name__ == "__main__":
    main()
