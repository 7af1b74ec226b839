"""Download files over HTTP with a Basic or Digest login, or with a login form.

A download is written to `NAME.part`, checked, and then renamed: a file under its final name is
complete. A failed small file is downloaded again from its first byte. A file marked `resume` is
written to `NAME.TOTAL.part`, where TOTAL is its size in bytes, and resumes at the next attempt or
run as long as the server reports the same size.
"""

import glob
import http.client
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import requests
import tqdm

from tpifu.errors import ConfigError, DataError, LicenceError
from tpifu.sources.download.session import Credentials, Session, TransientError, host, read

ATTEMPTS = 6
"""Attempts per file. An attempt that makes progress on a `resume` file resets the count."""
DELAY = 1.0
"""Seconds before the second attempt; doubled before each further one."""
LONGEST_DELAY = 120.0
"""Upper limit on any delay in seconds, including the server's Retry-After."""

_TRANSIENT = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file on a server and its local path."""

    url: str
    path: Path
    form: Mapping[str, str] | None = field(default=None, repr=False)
    """Fields to POST, which may hold a login; None sends a GET."""
    resume: bool = False
    """Whether an interrupted download resumes instead of starting again; for large archives."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^/@\s]+[^@\s]*", self.url):
            # The message leaves out the URL, which may hold a password.
            raise ConfigError(f"{self.path}: its URL is not http(s)://HOST/PATH without a login")


def fetch(
    remotes: Sequence[Remote],
    *,
    credentials: Credentials | None,
    check: Callable[[Path], None],
    access: str,
    connections: int = 4,
    label: str,
) -> dict[Path, str]:
    """Download the missing files, `connections` at a time, with a progress bar on a terminal.

    `check` runs on each complete `.part` file, in several threads, and raises DataError to reject
    it. Returns the reason for each file that the server does not have or that failed `check` twice.
    Raises LicenceError, ending in the sentence `access`, if the server refuses the login, and
    DataError if it keeps failing or a file cannot be written. The first error cancels the rest.
    """
    missing = [remote for remote in remotes if not remote.path.exists()]
    if not missing:
        return {}
    reasons: dict[Path, str | None] = {}
    with (
        Session(credentials, connections) as session,
        # disable=None: no bar if stderr is not a terminal.
        tqdm.tqdm(desc=label, unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar,
        ThreadPoolExecutor(connections) as pool,
    ):
        client = _Client(session, check, access, bar, len(missing) == 1)
        try:
            futures = {pool.submit(client.download, remote): remote for remote in missing}
            for future in as_completed(futures):
                reasons[futures[future].path] = future.result()
                bar.set_postfix_str(f"{len(reasons)}/{len(missing)} files", refresh=False)
        finally:
            client.cancelled.set()
            pool.shutdown(cancel_futures=True)
    ordered = ((remote.path, reasons[remote.path]) for remote in missing)
    return {path: reason for path, reason in ordered if reason is not None}


class _AbsentError(Exception):
    """The server does not have the file. The message is the reason."""


@dataclass
class _Client:
    """Downloads one file per call; the threads share it."""

    session: Session
    check: Callable[[Path], None]
    access: str
    bar: tqdm.tqdm
    single: bool
    """Whether there is only one file; the bar's total is then its size."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def download(self, remote: Remote) -> str | None:
        """Write one file. Returns the reason if the server lacks it or `check` rejects it twice."""
        try:
            remote.path.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(2):
                part = self._complete(remote)
                try:
                    self.check(part)
                except DataError as error:
                    reason = str(error).replace(str(part), str(remote.path))
                    part.unlink()
                else:
                    os.replace(part, remote.path)
                    return None
            return reason
        except _AbsentError as absent:
            return str(absent)
        except OSError as error:
            raise DataError(
                f"{remote.path}: cannot be written ({error.strerror or type(error).__name__}); "
                "free the path or the disk and run again"
            ) from error

    def _complete(self, remote: Remote) -> Path:
        """Repeat attempts until one completes the part file; returns its path."""
        failures, longest = 0, _find_part(remote)[1]
        while True:
            try:
                return self._attempt(remote)
            except TransientError as error:
                reason, delay = str(error), error.delay
            size = _find_part(remote)[1]
            failures = failures + 1 if size <= longest else 1
            longest = max(longest, size)
            if failures >= ATTEMPTS:
                raise DataError(
                    f"{host(remote.url)}: no {remote.path.name} after {ATTEMPTS} attempts "
                    f"({reason}); run again later to download the missing files"
                )
            delay = min(max(delay, DELAY * 2 ** (failures - 1)), LONGEST_DELAY)
            if self.cancelled.wait(delay):
                raise CancelledError

    def _attempt(self, remote: Remote) -> Path:
        """One request. Raises TransientError unless it completes the part file."""
        part, offset, total = _find_part(remote)
        if total is not None and offset == total:
            return part
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self.session.open(remote.url, remote.form, headers) as response:
            if response.status_code in (206, 416):
                expected = f"bytes {offset}-{(total or 0) - 1}/{total}"
                if response.headers.get("Content-Range") != expected:
                    # The file changed, or the server has no ranges: start again.
                    part.unlink(missing_ok=True)
                    raise TransientError("the server did not send the requested range")
            else:
                _raise_for_status(response, remote.path.name, self.access)
                offset, total = 0, response.raw.length_remaining
            chunk = read(response)
            if offset == 0:
                if _is_web_page(response, chunk):
                    raise LicenceError(
                        f"{host(response.url)}: sent a web page instead of {remote.path.name}; "
                        f"{self.access}"
                    )
                part.unlink(missing_ok=True)
                part = _part(remote, total)
            if self.single:
                self.bar.reset(total)
                self.bar.update(offset)
            with part.open("ab" if offset else "wb") as file:
                while chunk:
                    if self.cancelled.is_set():
                        raise CancelledError
                    file.write(chunk)
                    self.bar.update(len(chunk))
                    chunk = read(response)
        if total is not None and part.stat().st_size != total:
            raise TransientError("the connection was closed early")
        return part


def _part(remote: Remote, total: int | None) -> Path:
    suffix = f".{total}.part" if remote.resume and total is not None else ".part"
    return remote.path.with_name(remote.path.name + suffix)


def _find_part(remote: Remote) -> tuple[Path, int, int | None]:
    """Path of the part file, the bytes in it that a request can resume, and the complete size."""
    if remote.resume:
        for part in remote.path.parent.glob(f"{glob.escape(remote.path.name)}.*.part"):
            return part, part.stat().st_size, int(part.name.split(".")[-2])
    return _part(remote, None), 0, None


def _raise_for_status(response: requests.Response, name: str, access: str) -> None:
    """Raises the error that a status other than 200 means."""
    server, status = host(response.url), response.status_code
    # The standard phrase; the server's own may quote the request.
    text = f"{status} {http.client.responses.get(status, '')}".rstrip()
    if status in (401, 403):
        raise LicenceError(f"{server}: no access to {name} ({text}); {access}")
    if status in (404, 410):
        raise _AbsentError(f"{server}: does not have {name} ({text})")
    if status in _TRANSIENT:
        seconds = response.headers.get("Retry-After", "")
        raise TransientError(text, float(seconds) if seconds.isdecimal() else 0.0)
    if status != 200:
        raise DataError(
            f"{server}: cannot serve {name} ({text}); check the source's URL (docs/data.md)"
        )


def _is_web_page(response: requests.Response, head: bytes) -> bool:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    head = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return kind in ("text/html", "application/xhtml+xml") or (
        head.startswith(b"<") and (b"<!doctype html" in head or b"<html" in head)
    )
