"""A server on this machine that speaks Basic and Digest, and misbehaves as told."""

import base64
import hashlib
import http.server
import os
import re
import ssl
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message

USER, PASSWORD = "maja@example.org", "geheim-\u20ac-5ecret"
PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"
REALM = "research data"


@dataclass
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    headers: Message
    body: bytes
    sent: int = 0
    """Bytes of the file that went out."""


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; a path in `plans` gets the planned answers first, one a request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.plans: dict[str, deque[Callable[[Handler], None]]] = {}
        self.always: Callable[[Handler], None] = Handler.file
        self.offers: tuple[str, ...] = ()
        self.nonces: dict[str, int] = {}
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.busy = self.busiest = 0
        self.scheme = "http"

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}{path}"

    def plan(self, path: str, *answers: Callable[["Handler"], None]) -> None:
        self.plans[path] = deque(answers)

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are part of the tests."""
        if not isinstance(sys.exception(), (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.now = Seen(self.command, self.path, self.headers, body)
        with self.server.lock:
            self.server.seen.append(self.now)
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
            planned = self.server.plans.get(self.path)
            denied = self.server.offers and not self.logged_in()
            answer = planned.popleft() if planned and not denied else self.server.always
        try:
            self.challenge() if denied else answer(self)
        finally:
            with self.server.lock:
                self.server.busy -= 1

    do_POST = do_GET

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def challenge(self) -> None:
        self.send_response(401)
        for scheme in self.server.offers:
            value = f'{scheme} realm="{REALM}"'
            if scheme == "Digest":
                nonce = os.urandom(8).hex()
                self.server.nonces[nonce] = 0
                value += f', qop="auth", algorithm=MD5, nonce="{nonce}", opaque="x"'
            self.send_header("WWW-Authenticate", value)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def logged_in(self) -> bool:
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        if scheme not in self.server.offers:
            return False
        if scheme == "Basic":
            return base64.b64decode(rest).decode() == f"{USER}:{PASSWORD}"
        # RFC 7616, 3.4.1
        given = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest))
        count = int(given["nc"], 16)
        if count <= self.server.nonces.get(given["nonce"], 1 << 32):
            return False
        self.server.nonces[given["nonce"]] = count

        def md5(*parts: str) -> str:
            return hashlib.md5(":".join(parts).encode()).hexdigest()

        expected = md5(
            md5(USER, REALM, PASSWORD),
            given["nonce"],
            given["nc"],
            given["cnonce"],
            "auth",
            md5(self.command, self.path),
        )
        return given["uri"] == self.path and given["response"] == expected

    def file(
        self,
        *,
        cut: int | None = None,
        ranges: bool = True,
        if_range: bool = True,
        chunked: bool = False,
        pause: float = 0.0,
        **headers: str,
    ) -> None:
        """The file, or the part asked for; closed after `cut` of its bytes."""
        content = self.server.files.get(self.path)
        if content is None:
            return self.reply(404, PAGE)
        etag = self.server.etags.get(self.path)
        start = 0
        if ranges and (asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            condition = self.headers.get("If-Range")
            if condition is None or condition == etag or not if_range:
                start = int(asked[1])
        if start and start >= len(content):
            return self.reply(416, PAGE, Content_Range=f"bytes */{len(content)}")
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if etag:
            self.send_header("ETag", etag)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        rest = content[start:]
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        for first in range(0, len(rest[:cut]), 1000):
            piece = rest[:cut][first : first + 1000]
            self.now.sent += len(piece)  # first: the client may be done before the next line
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            time.sleep(pause)
        if cut is not None:
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")
        return None


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(code, b"busy", **headers)


def file(**behaviour) -> Callable[[Handler], None]:
    return lambda handler: handler.file(**behaviour)


def page(content_type: str = "text/html; charset=utf-8", body: bytes = PAGE):
    return lambda handler: handler.reply(200, body, Content_Type=content_type)


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


@contextmanager
def serving(wrap: ssl.SSLContext | None = None):
    with Server() as server:
        if wrap is not None:
            server.scheme = "https"
            server.socket = wrap.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
