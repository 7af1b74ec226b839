"""Checks of errors and of written files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def one_line(kind: type[Exception], match: str | None = None) -> Iterator[pytest.ExceptionInfo]:
    """The block must raise `kind` with a one-line message that matches `match`."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert "\n" not in str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file in a folder, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
