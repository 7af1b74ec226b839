"""Download files over HTTP with a Basic or Digest login, or with a login form.

A download is written to `NAME.part`, checked, and then renamed: a file under its final name is
complete. A failed download starts again from its first byte. Only a file marked `resume` continues
from the bytes in its part file, in the same run or the next.
"""

import http.client
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import requests
import tqdm

from tpifu.errors import DataError, LicenceError
from tpifu.sources.download.session import Credentials, Session, TransientError, host, read

ATTEMPTS = 6
"""Attempts per file and run."""
DELAY = 1.0
"""Seconds before the second attempt; doubled before each later attempt."""

_TRANSIENT = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file on a server and its local path."""

    url: str
    path: Path
    form: Mapping[str, str] | None = field(default=None, repr=False)
    """Fields to POST, which may hold a login; None sends a GET."""
    resume: bool = False
    """Whether an interrupted download resumes instead of starting again; for large archives, whose
    `check` detects a file that has changed on the server in the meantime."""


def fetch(
    remotes: Sequence[Remote],
    *,
    credentials: Credentials | None,
    check: Callable[[Path], object],
    access: str,
    connections: int = 4,
    label: str,
) -> dict[Path, str]:
    """Download the missing files, `connections` at a time, with a progress bar on a terminal.

    `check` runs on each complete `.part` file, in several threads, and raises DataError to reject
    it. Returns the reason for each file that the server does not have or that `check` rejects.
    Raises LicenceError, ending in the sentence `access`, if the server refuses the login, and
    DataError if it keeps failing or a file cannot be written. The first error cancels the rest.
    """
    missing = [remote for remote in remotes if not remote.path.exists()]
    if not missing:
        return {}
    reasons: dict[Path, str | None] = {}
    with (
        Session(credentials) as session,
        # disable=None: no bar if stderr is not a terminal.
        tqdm.tqdm(desc=label, unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar,
        ThreadPoolExecutor(connections) as pool,
    ):
        client = _Client(session, check, access, bar)
        try:
            futures = {pool.submit(client.download, remote): remote for remote in missing}
            for future in as_completed(futures):
                reasons[futures[future].path] = future.result()
                bar.set_postfix_str(f"{len(reasons)}/{len(missing)} files", refresh=False)
        finally:
            client.cancelled.set()
            pool.shutdown(cancel_futures=True)
    ordered = ((remote.path, reasons[remote.path]) for remote in missing)
    return {path: reason for path, reason in ordered if reason}


class _AbsentError(Exception):
    """The server does not have the file. The message is the reason."""


@dataclass
class _Client:
    """Downloads one file per call; shared by all threads."""

    session: Session
    check: Callable[[Path], object]
    access: str
    bar: tqdm.tqdm
    cancelled: threading.Event = field(default_factory=threading.Event)

    def download(self, remote: Remote) -> str | None:
        """Write one file. Returns the reason if the server lacks it or `check` rejects it."""
        part = remote.path.with_name(f"{remote.path.name}.part")
        try:
            remote.path.parent.mkdir(parents=True, exist_ok=True)
            self._complete(remote, part)
            try:
                self.check(part)
            except DataError as error:
                part.unlink()
                return str(error).replace(str(part), str(remote.path))
            os.replace(part, remote.path)
        except _AbsentError as absent:
            return str(absent)
        except OSError as error:
            raise DataError(
                f"{remote.path}: cannot be written ({error.strerror or type(error).__name__}); "
                "clear the path or free disk space, then run again"
            ) from error
        return None

    def _complete(self, remote: Remote, part: Path) -> None:
        """Repeat attempts until one completes the part file."""
        delay = 0.0
        for attempt in range(ATTEMPTS):
            if self.cancelled.wait(delay):
                raise CancelledError
            try:
                self._attempt(remote, part)
            except TransientError as error:
                reason, delay = str(error), DELAY * 2**attempt
            else:
                return
        raise DataError(
            f"{host(remote.url)}: no {remote.path.name} after {ATTEMPTS} attempts ({reason}); "
            "run again later to download the missing files"
        )

    def _attempt(self, remote: Remote, part: Path) -> None:
        """One request. Raises TransientError unless it completes the part file."""
        offset = part.stat().st_size if remote.resume and part.exists() else 0
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self.session.open(remote.url, remote.form, headers) as response:
            remaining = response.raw.length_remaining
            if response.status_code in (206, 416):
                end = offset + (remaining or 0)
                if response.headers.get("Content-Range") != f"bytes {offset}-{end - 1}/{end}":
                    # The file changed, or the server does not support ranges: start again.
                    part.unlink(missing_ok=True)
                    raise TransientError("the server did not send the requested range")
            else:
                _raise_for_status(response, remote.path.name, self.access)
                offset = 0
            chunk = read(response)
            # No source has files that start with "<"; login and error pages do.
            if offset == 0 and chunk.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                raise LicenceError(
                    f"{host(response.url)}: sent a web page instead of {remote.path.name}; "
                    f"{self.access}"
                )
            with part.open("ab" if offset else "wb") as file:
                while chunk:
                    if self.cancelled.is_set():
                        raise CancelledError
                    file.write(chunk)
                    self.bar.update(len(chunk))
                    chunk = read(response)
        if remaining is not None and part.stat().st_size != offset + remaining:
            raise TransientError("the connection was closed early")


def _raise_for_status(response: requests.Response, name: str, access: str) -> None:
    """Raise the matching error for any status other than 200."""
    server, status = host(response.url), response.status_code
    # The standard phrase; the server's own may quote the request.
    text = f"{status} {http.client.responses.get(status, '')}".rstrip()
    if status in (401, 403):
        raise LicenceError(f"{server}: no access to {name} ({text}); {access}")
    if status in (404, 410):
        raise _AbsentError(f"{server}: does not have {name} ({text})")
    if status in _TRANSIENT:
        raise TransientError(text)
    if status != 200:
        raise DataError(
            f"{server}: cannot serve {name} ({text}); check the source's URL (docs/data.md)"
        )
