"""Errors and warnings for people: one line that says what is wrong, where, and what to do.

Entry points print the line and exit with 2.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class TpifuError(Exception):
    """A user's mistake or a broken input; `str(error)` is the line to print."""


class ConfigError(TpifuError):
    """A parameter or option that cannot be used."""


class LicenceError(TpifuError):
    """A login for licensed data is missing, or the server refused it."""


class DataError(TpifuError):
    """A file or folder that is missing, unreadable, or has wrong contents."""


class Stopped(TpifuError):
    """Training was stopped by SIGTERM and saved; repeating the call resumes it."""


def warn(line: str | None) -> None:
    """Print a warning to stderr, if there is one."""
    if line:
        sys.stderr.write(f"warning: {line}\n")


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print a TpifuError to stderr and exit with 2, or with 143 for Stopped.

    Other exceptions are bugs and keep their traceback.
    """
    try:
        yield
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        sys.exit(128 + signal.SIGTERM)  # as shells report it
    except TpifuError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
