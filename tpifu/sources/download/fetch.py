"""Files over HTTP, for data behind a licence: Basic or Digest login, or a login form.

A file under its final name is whole and was checked. Until then its bytes are in `NAME.part`, with
the server's ETag or Last-Modified in `NAME.part.validator`; the next attempt, or the next run, goes
on from there.

Logins. None is sent before the server asks for it, and none comes from ~/.netrc: every request has
an `auth` of its own, so requests does not look there, while proxies and certificates still come
from the environment. On a redirect requests drops the Authorization header where host, port or
scheme change, but its Digest handler would still answer a challenge there, and a form is posted
again after a 307 or 308. So redirects are followed here: from where requests would drop the header
(`should_strip_auth`) on, without any login.

Errors are worded here. Those of requests and urllib3 hold the request, and with it the login: they
become a _Retry, which `_download` drops before it raises anything, so no chain leads back to them.
"""

import http.client
import itertools
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import tqdm
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from tpifu.errors import ConfigError, DataError, LicenceError

ATTEMPTS = 6
"""That a file gets; one that brings more of it than there was starts the count anew."""
DELAY = 1.0
"""Seconds before the second attempt; doubled before each one that follows."""
LONGEST_DELAY = 120.0
"""Seconds; no wait is longer, whatever Retry-After says."""
TIMEOUT = (15.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK = 1 << 14
"""Bytes read at a time."""
REDIRECTS = 10

_Login = Callable[[requests.PreparedRequest], requests.PreparedRequest]
_PASSING = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Credentials:
    """A login; neither half is ever shown."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file on a server and where it belongs here."""

    url: str
    path: Path
    """The final local file."""
    form: Mapping[str, str] | None = field(default=None, repr=False)
    """Sent by POST; may hold a login."""

    def __post_init__(self) -> None:
        # Neither error shows the URL.
        parts = _http(self.url)
        if parts is None:
            raise ConfigError(f"{self.path}: its URL is not a valid http or https address")
        if "@" in parts.netloc:
            raise ConfigError(f"{self.path}: its URL holds a login; give it as credentials")


def fetch(
    remotes: Sequence[Remote],
    *,
    credentials: Credentials | None,
    check: Callable[[Path], None],
    access: str,
    connections: int = 4,
    label: str,
) -> dict[Path, str]:
    """Download the files that are missing, `connections` at a time; a progress bar on a terminal.

    `check` gets each complete download while it is still `NAME.part`, in several threads, and
    raises DataError if it is not what it should be. Returns the reasons of the files that did not
    come: those the server does not have, and those that failed `check` twice. Raises LicenceError,
    ending in the sentence `access`, if the server wants another login, and DataError if it keeps
    failing or a file cannot be written; a second run then asks only for what is missing.
    """
    missing = [remote for remote in remotes if not os.path.exists(remote.path)]
    assert len({remote.path for remote in missing}) == len(missing), "two files of one name"
    if not missing:
        return {}
    todo = deque(missing)
    reasons: dict[Path, str] = {}
    stop = threading.Event()

    def work(progress: _Progress) -> None:
        with requests.Session() as session:
            session.headers["Accept-Encoding"] = "identity"
            worker = _Worker(session, credentials, check, access, stop, progress)
            while not stop.is_set():
                try:
                    remote = todo.popleft()
                except IndexError:
                    return
                try:
                    reason = worker.complete(remote)
                except _Stopped:
                    return
                if reason is not None:
                    reasons[remote.path] = reason
                progress.done()

    count = min(connections, len(missing))
    with (
        # disable=None: quiet where stderr is not a terminal.
        tqdm.tqdm(desc=label, unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar,
        ThreadPoolExecutor(count) as pool,
    ):
        progress = _Progress(bar, len(missing))
        try:
            for ended in as_completed([pool.submit(work, progress) for _ in range(count)]):
                ended.result()
        finally:
            # The first error, or Ctrl-C, ends the others at their next bytes.
            stop.set()
    return {remote.path: reasons[remote.path] for remote in missing if remote.path in reasons}


class _Stopped(Exception):
    """Another worker failed."""


class _Absent(Exception):
    """The server does not have the file; the message is the reason."""


class _Retry(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds that the server asks for."""


class _Progress:
    """The bar of all workers. Sizes come only with the answers: the total is the mean size so far
    times the number of files, close from the start for files of a kind, and exact at the end."""

    def __init__(self, bar: tqdm.tqdm, files: int) -> None:
        self._bar, self._files = bar, files
        self._lock = threading.Lock()
        self._sizes = self._sized = self._done = 0

    def size(self, size: int) -> None:
        with self._lock:
            self._sizes += size
            self._sized += 1
            self._bar.total = self._sizes * self._files // self._sized

    def move(self, count: int) -> None:
        with self._lock:
            self._bar.update(count)

    def done(self) -> None:
        with self._lock:
            self._done += 1
            self._bar.set_postfix_str(f"{self._done}/{self._files} files", refresh=False)


@dataclass
class _Worker:
    """One connection at a time, its logins, and the file that it is at."""

    session: requests.Session
    credentials: Credentials | None
    check: Callable[[Path], None]
    access: str
    stop: threading.Event
    progress: _Progress
    logins: dict[str, _Login] = field(default_factory=dict)
    """By scheme, host and port: what answered the challenge there."""
    shown: int = 0
    """Bytes of the file on the progress bar."""
    sized: bool = False

    def complete(self, remote: Remote) -> str | None:
        """Bring one file under its final name, or say why it cannot be had."""
        part = _part(remote.path)
        self.shown, self.sized = 0, False
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(2):
                try:
                    self._download(remote, part)
                except _Absent as absent:
                    reason = str(absent)
                    break
                try:
                    self.check(part)
                except DataError as error:
                    reason = str(error).replace(str(part), str(remote.path))
                    _discard(part)
                else:
                    _validator(part).unlink(missing_ok=True)
                    os.replace(part, remote.path)
                    return None
            return reason
        except OSError as error:
            raise DataError(
                f"{remote.path}: cannot be written ({error.strerror or type(error).__name__}); "
                "a second run goes on where this one stopped"
            ) from error

    def _download(self, remote: Remote, part: Path) -> None:
        """Bytes into `part` until it is complete, through failures that may pass."""
        failures, reached = 0, _size(part)
        while True:
            try:
                self._attempt(remote, part)
                return
            except _Retry as failure:
                reason, wait = str(failure), failure.wait
            # A long file over a bad line may take any number of attempts, as long as it grows.
            failures = failures + 1 if _size(part) <= reached else 1
            reached = max(reached, _size(part))
            if failures == ATTEMPTS:
                raise DataError(
                    f"{_host(remote.url)}: no {remote.path.name} after {ATTEMPTS} attempts "
                    f"({reason}); a second run goes on where this one stopped"
                )
            wait = min(max(wait, DELAY * 2 ** (failures - 1)), LONGEST_DELAY)
            if self.stop.wait(wait):
                raise _Stopped

    def _attempt(self, remote: Remote, part: Path) -> None:
        """One request for what `part` lacks. Raises _Retry unless that completes it."""
        offset, validator = _size(part), _read(_validator(part))
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator  # a file that changed comes as a whole, status 200
        with self._open(remote, headers) as response:
            if offset and response.status_code == 416:
                if response.headers.get("Content-Range") == f"bytes */{offset}":
                    return  # the last run ended with all bytes here
                _discard(part)
                raise _Retry(_said(response))
            self._judge(response, remote)
            if response.status_code == 206:
                start, size = _content_range(response)
                version = _version(response)
                if start != offset or (version and validator and version != validator):
                    _discard(part)
                    raise _Retry("it sent other bytes than asked for")
            else:
                offset, size = 0, response.raw.length_remaining
            chunks = self._chunks(response)
            first = next(chunks, b"")
            if _is_web_page(response, first if offset == 0 else b""):
                raise LicenceError(
                    f"{_host(response.url)}: sent a web page instead of {remote.path.name}; "
                    f"{self.access}"
                )
            if size is not None and not self.sized:
                self.progress.size(size)
                self.sized = True
            with part.open("ab" if offset else "wb") as file:
                if offset == 0:
                    # After the old bytes are gone, before the first new one: whenever the program
                    # ends, the validator is that of the bytes.
                    _validator(part).write_text(_version(response), encoding="latin-1")
                self._show(offset)
                for chunk in itertools.chain([first], chunks):
                    file.write(chunk)
                    self._show(self.shown + len(chunk))
        if size is not None and _size(part) != size:
            if _size(part) > size:
                _discard(part)
            raise _Retry("the connection was closed early")

    def _show(self, position: int) -> None:
        self.progress.move(position - self.shown)
        self.shown = position

    def _open(self, remote: Remote, headers: Mapping[str, str]) -> requests.Response:
        """The answer to a request for `remote`, past redirects and the challenge to log in."""
        url, form, away = remote.url, remote.form, False
        for _ in range(REDIRECTS):
            origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
            login = _no_login if away else self.logins.get(origin, _no_login)
            response = self._request(url, form, headers, login)
            if response.status_code == 401 and not away and login is _no_login:
                answer = _answer(response, self.credentials)
                if answer is None:
                    return response
                self.logins[origin] = answer
                response.close()
                continue
            location = self.session.get_redirect_target(response)
            if location is None:
                return response
            target = urljoin(url, location)
            if _http(target) is None:
                raise DataError(f"{_host(url)}: redirects {remote.path.name} to nowhere")
            away = away or self.session.should_strip_auth(url, target)
            if response.status_code not in (307, 308):
                form = None
            if form is not None and away:
                raise DataError(
                    f"{_host(url)}: redirects the form for {remote.path.name} to {_host(target)}; "
                    "a login is not sent there"
                )
            url = target
        raise DataError(f"{_host(url)}: redirects {remote.path.name} without end")

    def _request(
        self, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str], login: _Login
    ) -> requests.Response:
        try:
            return self.session.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers=headers,
                auth=login,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            )
        # KeyError: requests on a Digest challenge that lacks a part.
        except (OSError, urllib3.exceptions.HTTPError, ValueError, KeyError) as error:
            raise _Retry(_reason(error)) from None

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        while not self.stop.is_set():
            try:
                # Undecoded, also where a server compresses unasked: sizes and ranges then count
                # the bytes that are stored.
                chunk = response.raw.read(CHUNK, decode_content=False)
            except (OSError, urllib3.exceptions.HTTPError) as error:
                raise _Retry(_reason(error)) from None
            if not chunk:
                return
            yield chunk
        raise _Stopped

    def _judge(self, response: requests.Response, remote: Remote) -> None:
        """Raise what a status other than 200 and 206 means."""
        host, name = _host(response.url), remote.path.name
        status, said = response.status_code, _said(response)
        if status in (401, 403):
            raise LicenceError(f"{host}: no access to {name} ({said}); {self.access}")
        if status in (404, 410):
            raise _Absent(f"{host}: does not have {name} ({said})")
        if status in _PASSING:
            raise _Retry(said, _retry_after(response))
        if status not in (200, 206):
            raise DataError(f"{host}: no answer that can be used for {name} ({said})")


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _answer(response: requests.Response, credentials: Credentials | None) -> AuthBase | None:
    """The login for the challenge of a 401: Digest where offered, which hides the password on the
    way, else Basic."""
    if credentials is None:
        return None
    challenge = response.headers.get("WWW-Authenticate", "")
    offered = {name.lower() for name in re.findall(r"(?:^|,)\s*(digest|basic)\b", challenge, re.I)}
    if "digest" in offered:
        return HTTPDigestAuth(credentials.username, credentials.password)
    if "basic" in offered:
        # Bytes: requests would encode text as Latin-1, which not every password is.
        return HTTPBasicAuth(credentials.username.encode(), credentials.password.encode())
    return None


def _http(url: str) -> SplitResult | None:
    """The parts of an http or https URL, None if it is not one."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _said(response: requests.Response) -> str:
    """'503 Service Unavailable', in our words rather than the server's."""
    status = response.status_code
    return f"{status} {http.client.responses.get(status, '')}".rstrip()


def _reason(error: BaseException | None) -> str:
    """What went wrong on the way, without the libraries' texts: these quote URLs and headers."""
    fallback = type(error).__name__
    while error is not None:
        if isinstance(error, TimeoutError):
            return "timed out"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        if isinstance(error, http.client.HTTPException):
            return "the connection was closed early"
        error = error.__cause__ or error.__context__
    return fallback


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server asks to wait; 0 without a header that can be read."""
    try:
        return float(urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", "0")))
    except (urllib3.exceptions.HTTPError, ValueError, OverflowError):
        return 0.0


def _version(response: requests.Response) -> str:
    """What If-Range takes: a strong ETag, else the time of the last change, else nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _content_range(response: requests.Response) -> tuple[int, int] | tuple[None, None]:
    """First byte of a 206 and the size of the whole file."""
    found = re.match(r"bytes (\d+)-(\d+)/(\d+|\*)$", response.headers.get("Content-Range", ""))
    if found is None:
        return None, None
    start, last, size = found.groups()
    return int(start), int(last) + 1 if size == "*" else int(size)


def _is_web_page(response: requests.Response, head: bytes) -> bool:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    head = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return kind in ("text/html", "application/xhtml+xml") or (
        head.startswith(b"<") and (b"<!doctype html" in head or b"<html" in head)
    )


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.validator")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _read(validator: Path) -> str:
    return validator.read_text(encoding="latin-1") if validator.exists() else ""


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)
