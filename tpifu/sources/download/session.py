"""An HTTP session that logs in when challenged and sends the login to one host only.

Exceptions from requests and urllib3 contain the request, and so the login. They are replaced by a
TransientError that names only the cause.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from tpifu.errors import DataError

TIMEOUT = (15.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK = 1 << 14
"""Bytes read at a time."""

_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


@dataclass(frozen=True)
class Credentials:
    """A login. Its repr shows neither the name nor the password."""

    username: str = field(repr=False)
    password: str = field(repr=False)


class TransientError(Exception):
    """The request failed, but a retry may succeed. The message is the reason."""


class Session(requests.Session):
    """Raises DataError at a redirect to another host, port or scheme. Threads may share it."""

    def __init__(self, credentials: Credentials | None) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = "identity"  # sizes and ranges count the stored bytes
        self._credentials = credentials
        self.auth = lambda request: request  # without any auth, requests reads ~/.netrc

    def open(
        self, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> requests.Response:
        """The response after redirects and login; read its body with `read`."""
        response = self._send(url, form, headers)
        if response.status_code == 401 and (login := self._login(response)):
            self.auth = login
            response.close()
            response = self._send(url, form, headers)
        return response

    def _send(
        self, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> requests.Response:
        method = "GET" if form is None else "POST"
        try:
            return self.request(
                method, url, data=form, headers=headers, timeout=TIMEOUT, stream=True
            )
        # ValueError: a malformed Location. KeyError: a Digest challenge without a nonce.
        except (*_ERRORS, ValueError, KeyError) as error:
            raise TransientError(_cause(error)) from None

    def _login(self, response: requests.Response) -> AuthBase | None:
        """The login that the server asks for: Digest if offered, since it hides the password."""
        challenge = response.headers.get("WWW-Authenticate", "")
        schemes = re.findall(r"(?:^|,)\s*(digest|basic)\b", challenge.lower())
        if self._credentials is None or not schemes:
            return None
        name, password = self._credentials.username, self._credentials.password
        if "digest" in schemes:
            return HTTPDigestAuth(name, password)
        # Bytes: requests encodes text as Latin-1, which cannot hold every password.
        return HTTPBasicAuth(name.encode(), password.encode())

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Called by requests before it follows a redirect."""
        target = prepared_request.url or ""
        if self.should_strip_auth(response.url, target):
            raise DataError(
                f"{host(response.url)}: redirects to another server, {host(target)!r}; if the "
                "files have moved, set the source's URL (docs/data.md)"
            )


def read(response: requests.Response) -> bytes:
    """The next bytes as sent, without decoding; b"" at the end."""
    try:
        return response.raw.read(CHUNK, decode_content=False)
    except _ERRORS as error:
        raise TransientError(_cause(error)) from None


def host(url: str) -> str:
    """Host and port of any URL, without a login."""
    return url.partition("//")[2].rpartition("@")[2].partition("/")[0]


def _cause(error: BaseException) -> str:
    """Name of the innermost exception, such as ConnectionRefusedError."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return type(error).__name__
