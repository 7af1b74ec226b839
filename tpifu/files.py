"""Atomic writes, digests of files and code, locks between processes, and the order of frames."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from tpifu.errors import DataError

PACKAGE = Path(__file__).parent


def digest(*contents: Path | bytes) -> str:
    """SHA-256 of files, bytes and whole folders, in the given order. File names do not count.

    A path that does not exist counts as an empty folder.
    """
    total = hashlib.sha256()
    for content in contents:
        if isinstance(content, bytes):
            total.update(hashlib.sha256(content).digest())
            continue
        for path in [content] if content.is_file() else sorted(content.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def code_digest(*paths: str) -> str:
    """SHA-256 of Python files: files and folders by their paths below `tpifu/`, "." for all.

    Raises FileNotFoundError for a path that does not exist.
    """
    total = hashlib.sha256()
    for path in paths:
        place = PACKAGE / path
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
            total.update(file.read_bytes())
    return total.hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end of the block, or is deleted if the
    block raises; errors name `path`. Creates missing parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        with named(part, path):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` at the end of the block, or is deleted if
    the block raises; errors name `folder`. Raises DataError if it cannot be created."""
    place = folder.resolve()
    part = place.with_name(f".{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        with named(part, folder):
            yield part
            replace_folder(place, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def named(part: Path, target: Path) -> Iterator[None]:
    """Replace the temporary path `part` in errors by `target`, which the user knows."""
    try:
        yield
    except OSError as error:
        if error.errno:
            error.filename = str(error.filename or target).replace(str(part), str(target))
        raise
    except DataError as error:
        if str(part) in str(error):
            raise DataError(str(error).replace(str(part), str(target))) from error
        raise


def replace_folder(folder: Path, part: Path) -> None:
    """Move `part`, which lies on the same disk, to `folder`. If that fails, `folder` is unchanged.

    The old folder is deleted last, because a deletion can fail halfway.
    """
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(part, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")


@contextmanager
def locked(folder: Path, activity: str) -> Iterator[None]:
    """Lock `folder`/lock for this process. A lock ends with its process.

    Raises DataError if another process has the lock; `activity` says what that process does.
    """
    with (folder / "lock").open("w") as file:
        try:
            lock_file(file)
        except BlockingIOError as error:
            raise DataError(
                f"{folder}: another process {activity}; wait for it or stop it"
            ) from error
        yield


def lock_file(file: IO[Any]) -> None:
    """Lock an open file until this process closes it or ends.

    Raises BlockingIOError if another process has locked it.
    """
    # Unlike flock, forked children such as the readers of a DataLoader do not inherit the lock.
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def frame_files(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """Files of consecutive frames: `paths`, or the files in natural order if it is one folder.

    `suffixes` select the files of a folder. Raises DataError if a folder has two files of a frame,
    or a list is in the shell's order, where frame10 comes before frame2.
    """
    if len(paths) == 1 and paths[0].is_dir():
        found = [path for path in paths[0].iterdir() if path.suffix.lower() in suffixes]
        files = natural_order([path for path in found if not path.name.startswith(".")])
        for one, other in pairwise(files):
            if one.stem == other.stem:
                raise DataError(
                    f"{one}: {other.name} is the same frame; pass the files of one format"
                )
        return files
    for path in paths:
        if path.is_dir():
            raise DataError(f"{path}: is a folder among several inputs; pass one folder or files")
    natural = natural_order(paths)
    if list(paths) != natural and list(paths) == sorted(paths):
        early, late = next(pair for pair in zip(paths, natural, strict=True) if len(set(pair)) > 1)
        raise DataError(
            f"{early}: comes before {late.name}, as the shell sorts them; pass the folder "
            f"{early.parent}, which is read in the order of the numbers"
        )
    return list(paths)


def natural_order(paths: Sequence[Path]) -> list[Path]:
    """Sort by name, with numbers by value: frame2 before frame10."""
    return sorted(paths, key=lambda path: (_texts_and_numbers(path), path.name))


def numbering_warning(paths: Sequence[Path]) -> str | None:
    """A warning about the numbers in the names of consecutive frames; None if they are consistent.

    A constant step, such as every fifth frame, is accepted.
    """
    names = [_texts_and_numbers(path) for path in paths]
    texts = [tuple(name[::2]) for name in names]
    if max(Counter(texts).values()) == 1:
        return None  # names such as "standing" and "bent"
    for (before, after), (old, new) in zip(pairwise(paths), pairwise(texts), strict=True):
        if old != new:
            return f"{after}: follows {before.name}; are they frames of one clip?"
    numbers = zip(*(name[1::2] for name in names), strict=True)
    changing = {
        tuple(b - a for a, b in pairwise(column)) for column in numbers if len({*column}) > 1
    }
    if len(changing) != 1:
        return None  # several numbers change, as in a date and a time
    (steps,) = changing
    for (before, after), step in zip(pairwise(paths), steps, strict=True):
        if step <= 0:
            return f"{after}: follows {before.name}; the numbers do not increase"
        if step > min(steps):
            return f"{after}: follows {before.name}; frames are missing between them"
    return None


def _texts_and_numbers(path: Path) -> list[str | int]:
    """A file's name without suffix, split into texts (even positions) and numbers."""
    parts = re.split(r"(\d+)", path.stem.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]
