"""A local HTTP server with Basic and Digest login, whose responses a test can plan."""

import hashlib
import http.server
import os
import re
import threading
import time
import urllib.request
from base64 import b64decode
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace

USER, PASSWORD = "maja@example.org", "geheim-\u20ac-5ecret"
PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`. A path's planned responses come first, one per request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.plans: dict[str, list[Callable[[Handler], None]]] = {}
        self.default: Callable[[Handler], None] = Handler.file
        self.schemes: tuple[str, ...] = ()  # login schemes; files are public if empty
        self.nonces: set[str] = set()
        self.seen: list[SimpleNamespace] = []  # requests; `sent` counts bytes of the file
        self.active = self.most_active = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request, client_address) -> None: ...  # the client hung up


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *args) -> None: ...

    def do_GET(self) -> None:
        server, body = self.server, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen = SimpleNamespace(path=self.path, headers=self.headers, body=body, sent=0)
        server.seen.append(self.seen)
        server.active += 1
        server.most_active = max(server.most_active, server.active)
        if server.schemes and not self.logged_in():
            self.challenge()
        else:
            (server.plans.get(self.path) or [server.default]).pop(0)(self)
        server.active -= 1

    do_POST = do_GET

    def challenge(self) -> None:
        self.server.nonces.add(nonce := os.urandom(8).hex())
        rest = {"Basic": "", "Digest": f', qop="auth", nonce="{nonce}", opaque="x"'}
        texts = [f'{scheme} realm="data"{rest[scheme]}' for scheme in self.server.schemes]
        self.send(401, PAGE, *zip(["WWW-Authenticate"] * 2, texts, strict=False))

    def logged_in(self) -> bool:
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        if scheme not in self.server.schemes:
            return False
        if scheme == "Basic":
            return b64decode(rest).decode() == f"{USER}:{PASSWORD}"
        given = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest))
        # RFC 7616, 3.4.1
        login, request = md5(USER, "data", PASSWORD), md5(self.command, self.path)
        expected = md5(login, given["nonce"], given["nc"], given["cnonce"], "auth", request)
        return given["nonce"] in self.server.nonces and given["response"] == expected

    def file(self, *, ranges: bool = True, **options) -> None:
        """Send the file or the requested range."""
        content = self.server.files.get(self.path)
        if content is None:
            return self.send(404, PAGE)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked or not ranges:
            return self.send(200, content, **options)
        start, total = int(asked[1]), len(content)
        if start >= total:
            return self.send(416, PAGE, ("Content-Range", f"bytes */{total}"))
        header = ("Content-Range", f"bytes {start}-{total - 1}/{total}")
        return self.send(206, content[start:], header, **options)

    def send(self, status, body, *headers, cut: int | None = None, pause: float = 0.0) -> None:
        """Send a response; close the connection after `cut` bytes of the body."""
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        for first in range(0, len(body[:cut]), 1000):
            piece = body[:cut][first : first + 1000]
            self.seen.sent += len(piece)
            self.wfile.write(piece)
            time.sleep(pause)
        self.close_connection = cut is not None


def md5(*parts: str) -> str:
    return hashlib.md5(":".join(parts).encode()).hexdigest()


def reply(status: int, body: bytes = b"busy", **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.send(status, body, *headers.items())


@contextmanager
def serving():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.005,)).start()
        try:
            yield server
        finally:
            server.shutdown()
