"""Errors for people: one line that says what, where, and what to do. Entry points print it and exit
2."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class TpifuError(Exception):
    """A user's mistake or a broken input; `str(error)` is the one line a person reads."""


class ConfigError(TpifuError):
    """A parameter or option that cannot be used as given."""


class LicenceError(TpifuError):
    """Licensed data that was asked for without a login, or with one that the server refused."""


class DataError(TpifuError):
    """A file or folder that is missing, unreadable, or not what it should be."""


class Stopped(TpifuError):
    """Asked to stop by SIGTERM, after saving; the same call goes on."""


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn a TpifuError into its one line on stderr and exit code 2; bugs keep their traceback."""
    try:
        yield
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        sys.exit(128 + signal.SIGTERM)  # as a shell reports it
    except TpifuError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
