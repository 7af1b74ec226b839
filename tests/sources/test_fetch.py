import base64
import gzip
import hashlib
import io
import logging
import re
import signal
import ssl
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests
import urllib3
from helpers.http_server import (
    PASSWORD,
    USER,
    Handler,
    Server,
    file,
    hang_up,
    page,
    serving,
    status,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tpifu.errors import ConfigError, DataError, LicenceError, TpifuError
from tpifu.sources.download.fetch import Credentials, Remote, fetch

LOGIN = Credentials(USER, PASSWORD)
FORM = {"username": USER, "password": PASSWORD}
SECRETS = (
    USER,
    PASSWORD,
    urllib.parse.quote_plus(USER),
    urllib.parse.quote_plus(PASSWORD),
    base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    "geheim",
)
ACCESS = "set DATA_USER and DATA_PASSWORD; the licence is at https://example.org/licence"


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def other():
    """The same address, another port: another host to whoever sends a login."""
    with serving() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def impatient():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tpifu.sources.download.fetch.DELAY", 0.001)
        patch.setattr("tpifu.sources.download.fetch.ATTEMPTS", 3)
        patch.setattr("tpifu.sources.download.fetch.TIMEOUT", (10.0, 10.0))
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


def content(size: int, seed: int = 0) -> bytes:
    return b"\x00" + hashlib.shake_128(bytes([seed])).digest(size - 1)


def accept(path: Path) -> None:
    assert path.exists()


def get(remotes, *, credentials=None, check=accept, connections=2) -> dict[Path, str]:
    return fetch(
        remotes,
        credentials=credentials,
        check=check,
        access=ACCESS,
        connections=connections,
        label="clips",
    )


def put(server: Server, folder: Path, count: int, size: int = 5000) -> list[Remote]:
    """`count` files on the server and where they belong."""
    for number in range(count):
        server.files[f"/data/{number}.bin"] = content(size, number)
    return [
        Remote(url=server.url(path), path=folder / "sub" / Path(path).name) for path in server.files
    ]


def whole(server: Server, remotes: list[Remote]) -> bool:
    return all(
        remote.path.read_bytes() == server.files[urllib.parse.urlsplit(remote.url).path]
        for remote in remotes
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text
    assert "\n" not in text
    return text


def test_files_come_whole_and_are_never_asked_for_again(server, tmp_path):
    remotes = put(server, tmp_path, 5)
    checked = []
    assert get(remotes, check=lambda part: checked.append(part.read_bytes())) == {}
    assert whole(server, remotes)
    assert sorted(checked) == sorted(server.files.values())
    assert names(tmp_path) == sorted(remote.path.name for remote in remotes)  # no part is left
    assert len(server.seen) == 5
    assert get(remotes) == {}
    assert len(server.seen) == 5


def test_a_file_that_is_there_is_trusted(server, tmp_path):
    remotes = put(server, tmp_path, 2)
    remotes[0].path.parent.mkdir()
    remotes[0].path.write_bytes(b"mine")
    get(remotes, check=lambda part: None)
    assert remotes[0].path.read_bytes() == b"mine"
    assert [seen.path for seen in server.seen] == ["/data/1.bin"]


@pytest.mark.parametrize("size", [1, 999, 1 << 14, (1 << 14) + 1, 70_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_any_size_with_and_without_a_length(server, tmp_path, size, chunked):
    remotes = put(server, tmp_path, 1, size)
    server.plan("/data/0.bin", file(chunked=chunked))
    get(remotes)
    assert whole(server, remotes)


def test_an_empty_file_is_left_to_the_check(server, tmp_path):
    remotes = put(server, tmp_path, 1)
    server.files["/data/0.bin"] = b""
    get(remotes)
    assert remotes[0].path.read_bytes() == b""


def test_bytes_are_stored_as_they_come(server, tmp_path):
    """A server that compresses unasked, or calls a .gz file's own bytes an encoding."""
    remotes = put(server, tmp_path, 1)
    server.files["/data/0.bin"] = gzip.compress(content(5000))
    server.plan("/data/0.bin", file(Content_Encoding="gzip", cut=2000), file(Content_Encoding="x"))
    get(remotes)
    assert whole(server, remotes)
    assert {seen.headers["Accept-Encoding"] for seen in server.seen} == {"identity"}


def test_a_form_is_posted(server, tmp_path):
    server.files["/download.php?sfile=a.zip"] = content(5000)
    url = server.url("/download.php?sfile=a.zip")
    get([Remote(url=url, path=tmp_path / "a.zip", form=FORM)])
    assert (tmp_path / "a.zip").read_bytes() == content(5000)
    [seen] = server.seen
    assert seen.method == "POST"
    assert dict(urllib.parse.parse_qsl(seen.body.decode())) == FORM


@pytest.mark.parametrize(
    ("offers", "used"),
    [(("Basic",), "Basic"), (("Digest",), "Digest"), (("Basic", "Digest"), "Digest")],
)
def test_a_login_answers_the_challenge_and_only_that(server, tmp_path, offers, used):
    server.offers = offers
    remotes = put(server, tmp_path, 6)
    get(remotes, credentials=LOGIN, connections=1)
    assert whole(server, remotes)
    sent = [seen.headers.get("Authorization", "").partition(" ")[0] for seen in server.seen]
    asked = len(sent) - 6
    assert asked <= 2  # a worker is challenged once, or twice: then it knows
    assert sent == [""] * asked + [used] * 6
    assert len({seen.headers["Authorization"] for seen in server.seen[asked:]}) == (
        6 if used == "Digest" else 1  # a digest is good for one request
    )


def test_a_digest_outlives_its_nonce(server, tmp_path):
    server.offers = ("Digest",)
    remotes = put(server, tmp_path, 3)

    def forget(handler):
        handler.server.nonces.clear()
        handler.file()

    server.plan("/data/0.bin", forget)
    get(remotes, credentials=LOGIN, connections=1)
    assert whole(server, remotes)


@pytest.mark.parametrize("offers", [("Basic",), ("Digest",), ("Bearer",), ("Digest", "Basic")])
@pytest.mark.parametrize("credentials", [None, Credentials(USER, "wrong")])
def test_a_login_that_is_missing_or_wrong_ends_in_one_line(server, tmp_path, offers, credentials):
    server.offers = offers
    remotes = put(server, tmp_path, 50)
    with pytest.raises(LicenceError) as failure:
        get(remotes, credentials=credentials)
    message = one_line(failure.value)
    assert message.startswith("127.0.0.1: no access to ")
    assert "401 Unauthorized" in message
    assert message.endswith(ACCESS)
    assert len(server.seen) <= 2 * 3  # two workers, not fifty files
    assert names(tmp_path) == []


def test_a_challenge_without_a_nonce_ends_in_one_line(server, tmp_path):
    server.always = status(401, WWW_Authenticate='Digest realm="x"')
    with pytest.raises(DataError) as failure:
        get(put(server, tmp_path, 1), credentials=LOGIN)
    one_line(failure.value)


def test_a_refusal_is_not_retried(server, tmp_path):
    remotes = put(server, tmp_path, 1)
    server.plan("/data/0.bin", status(403))
    with pytest.raises(LicenceError, match="403 Forbidden") as failure:
        get(remotes, credentials=LOGIN)
    assert one_line(failure.value).endswith(ACCESS)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        page(),
        page(body=b"not even a tag"),
        page("application/octet-stream"),
        page("text/plain", b"\xef\xbb\xbf \r\n<!-- login --><HTML lang=en><body>"),
        page("application/zip", b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD">'),
    ],
)
@pytest.mark.parametrize("form", [None, FORM])
def test_a_web_page_instead_of_the_file_is_a_refused_login(server, tmp_path, answer, form):
    server.plan("/a.zip", answer)
    with pytest.raises(LicenceError, match=r"web page instead of a\.zip") as failure:
        get([Remote(url=server.url("/a.zip"), path=tmp_path / "a.zip", form=form)])
    assert one_line(failure.value).endswith(ACCESS)
    assert names(tmp_path) == []


def test_a_login_page_in_the_middle_of_a_file_keeps_its_part(server, tmp_path):
    """The session of a login may end between two attempts."""
    remotes = put(server, tmp_path, 1)
    server.plan("/data/0.bin", file(cut=2000), page())
    with pytest.raises(LicenceError):
        get(remotes)
    get(remotes)
    assert whole(server, remotes)
    assert server.seen[-1].sent == 3000


@pytest.mark.parametrize("offers", [(), ("Basic",), ("Digest",)])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_login_follows_a_redirect_to_another_host(server, other, tmp_path, offers, code):
    server.offers = ("Basic",)
    other.offers = offers
    other.files["/elsewhere"] = content(5000)
    server.plan("/a.bin", status(code, Location=other.url("/elsewhere")))
    remote = Remote(url=server.url("/a.bin"), path=tmp_path / "a.bin")
    if offers:  # that other host wants a login too, and gets none
        with pytest.raises(LicenceError, match="401 Unauthorized"):
            get([remote], credentials=LOGIN)
    else:
        get([remote], credentials=LOGIN)
        assert remote.path.read_bytes() == content(5000)
    assert server.seen[-1].headers["Authorization"].startswith("Basic ")
    assert [seen.headers["Authorization"] for seen in other.seen] == [None]


def test_a_login_follows_a_redirect_on_its_host(server, tmp_path):
    server.offers = ("Digest",)
    server.files["/b.bin"] = content(5000)
    server.plan("/a.bin", status(302, Location="/b.bin"))
    get([Remote(url=server.url("/a.bin"), path=tmp_path / "a.bin")], credentials=LOGIN)
    assert (tmp_path / "a.bin").read_bytes() == content(5000)


def test_a_login_does_not_come_back_from_another_host(server, other, tmp_path):
    """As with requests: what another host redirects to is that host's choice."""
    server.offers = ("Basic",)
    server.files["/b.bin"] = content(10)
    server.plan("/a.bin", status(302, Location=other.url("/")))
    other.always = status(302, Location=server.url("/b.bin"))
    with pytest.raises(LicenceError):
        get([Remote(url=server.url("/a.bin"), path=tmp_path / "a.bin")], credentials=LOGIN)
    assert server.seen[-1].path == "/b.bin"
    assert "Authorization" not in server.seen[-1].headers


def test_no_login_answers_a_second_redirect_of_another_host(server, other, tmp_path):
    server.offers = ("Basic",)
    server.plan("/a.bin", status(302, Location=other.url("/b.bin")))
    other.plan("/b.bin", status(302, Location="/c.bin"))
    other.plan("/c.bin", status(401, WWW_Authenticate='Basic realm="x"'))
    with pytest.raises(LicenceError):
        get([Remote(url=server.url("/a.bin"), path=tmp_path / "a.bin")], credentials=LOGIN)
    assert [(seen.path, seen.headers["Authorization"]) for seen in other.seen] == [
        ("/b.bin", None),
        ("/c.bin", None),
    ]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_form_does_not_follow_a_redirect_to_another_host(server, other, tmp_path, code):
    other.files["/a.zip"] = content(5000)
    server.plan("/a.zip", status(code, Location=other.url("/a.zip")))
    remote = Remote(url=server.url("/a.zip"), path=tmp_path / "a.zip", form=FORM)
    if code in (307, 308):  # the form would be posted again
        with pytest.raises(DataError, match="a login is not sent there"):
            get([remote])
        assert other.seen == []
    else:
        get([remote])
        assert [(seen.method, seen.body) for seen in other.seen] == [("GET", b"")]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """Certificate and key of a server at 127.0.0.1."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def secure(certificate, monkeypatch):
    """An https server whose certificate the environment trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(context) as server:
        yield server


def test_no_login_follows_a_redirect_from_https_to_http(secure, server, tmp_path):
    secure.offers = ("Basic",)
    server.files["/a.bin"] = content(5000)
    secure.plan("/a.bin", status(302, Location=server.url("/a.bin")))
    secure.plan("/b.bin", status(307, Location=server.url("/a.bin")))
    remote = Remote(url=secure.url("/a.bin"), path=tmp_path / "a.bin")
    get([remote], credentials=LOGIN)
    assert secure.seen[-1].headers["Authorization"].startswith("Basic ")
    assert [seen.headers["Authorization"] for seen in server.seen] == [None]
    form = Remote(url=secure.url("/b.bin"), path=tmp_path / "b.bin", form=FORM)
    with pytest.raises(DataError, match="a login is not sent there"):
        get([form], credentials=LOGIN)
    assert len(server.seen) == 1


def test_a_certificate_that_is_not_trusted_is_named(secure, tmp_path, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    secure.files["/a.bin"] = content(10)
    with pytest.raises(DataError, match="certificate verify failed") as failure:
        get([Remote(url=secure.url("/a.bin"), path=tmp_path / "a.bin")], credentials=LOGIN)
    one_line(failure.value)
    assert secure.seen == []


@pytest.mark.parametrize("credentials", [None, LOGIN])
def test_netrc_is_not_used(server, other, tmp_path, monkeypatch, credentials):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login stray password stray\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    other.files["/b.bin"] = content(10)
    server.plan("/a.bin", status(302, Location=other.url("/b.bin")))
    get([Remote(url=server.url("/a.bin"), path=tmp_path / "a.bin")], credentials=credentials)
    seen = server.seen + other.seen
    assert len(seen) == 2
    assert all("Authorization" not in one.headers for one in seen)


def test_proxies_of_the_environment_are_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url(""))
    server.files["http://data.invalid/a.bin"] = content(10)
    get([Remote(url="http://data.invalid/a.bin", path=tmp_path / "a.bin")])
    assert (tmp_path / "a.bin").read_bytes() == content(10)


@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"', None])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_cut_file_goes_on_where_it_was_cut(server, tmp_path, etag, chunked):
    remotes = put(server, tmp_path, 1, 40_000)
    if etag:
        server.etags["/data/0.bin"] = etag
    cut = 3 << 14 >> 1  # a whole chunk and a half: a cut chunked answer may lose what is not whole
    server.plan("/data/0.bin", file(cut=cut, chunked=chunked), file(cut=0), file(chunked=chunked))
    get(remotes)
    assert whole(server, remotes)
    ranges = [seen.headers["Range"] for seen in server.seen]
    kept = (1 << 14) if chunked else cut
    assert ranges == [None, f"bytes={kept}-", f"bytes={kept}-"]
    strong = etag if etag == '"v1"' else None  # RFC 9110, 13.1.5: If-Range takes no weak ETag
    assert [seen.headers["If-Range"] for seen in server.seen] == [None, strong, strong]
    assert server.seen[-1].sent == 40_000 - kept


def test_the_time_of_the_last_change_stands_in_for_an_etag(server, tmp_path):
    remotes = put(server, tmp_path, 1)
    changed = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.plan("/data/0.bin", file(cut=2000, Last_Modified=changed))
    get(remotes)
    assert whole(server, remotes)
    assert server.seen[-1].headers["If-Range"] == changed


def test_a_second_run_asks_for_what_is_missing(server, tmp_path):
    remotes = put(server, tmp_path, 4)
    server.etags = dict.fromkeys(server.files, '"v1"')
    server.plan("/data/2.bin", file(cut=3000), status(503), status(503))
    with pytest.raises(DataError):
        get(remotes, connections=1)
    assert names(tmp_path) == ["0.bin", "1.bin", "2.bin.part", "2.bin.part.validator"]
    server.seen.clear()
    get(remotes, connections=1)
    assert whole(server, remotes)
    assert [(s.path, s.headers["Range"], s.headers["If-Range"], s.sent) for s in server.seen] == [
        ("/data/2.bin", "bytes=3000-", '"v1"', 2000),
        ("/data/3.bin", None, None, 5000),
    ]
    assert names(tmp_path) == ["0.bin", "1.bin", "2.bin", "3.bin"]


@pytest.mark.parametrize("if_range", [True, False])
def test_two_versions_are_never_spliced(server, tmp_path, if_range):
    remotes = put(server, tmp_path, 1)
    server.etags["/data/0.bin"] = '"old"'

    def change(handler):
        handler.file(cut=2000)
        server.files["/data/0.bin"] = content(6000, 77)
        server.etags["/data/0.bin"] = '"new"'

    server.plan("/data/0.bin", change, file(if_range=if_range))
    get(remotes)
    assert remotes[0].path.read_bytes() == content(6000, 77)


def test_a_server_without_ranges_starts_over(server, tmp_path):
    remotes = put(server, tmp_path, 1)
    server.plan("/data/0.bin", file(cut=2000), file(ranges=False, cut=1000), file(ranges=False))
    get(remotes)
    assert whole(server, remotes)
    assert [seen.sent for seen in server.seen] == [2000, 1000, 5000]


@pytest.mark.parametrize(
    ("left", "sent"),
    [
        (content(5000), [0]),  # all there, only not yet under its final name
        (b"x" * 5000, [0, 5000]),  # fails the check
        (b"x" * 6000, [0, 5000]),
    ],
)
def test_a_part_as_long_as_its_file_or_longer(server, tmp_path, left, sent):
    """Status 416."""
    remotes = put(server, tmp_path, 1)
    remotes[0].path.parent.mkdir()
    remotes[0].path.with_name("0.bin.part").write_bytes(left)

    def check(part: Path) -> None:
        if part.read_bytes() != content(5000):
            raise DataError("not the file")

    get(remotes, check=check)
    assert whole(server, remotes)
    assert [seen.sent for seen in server.seen] == sent


@pytest.mark.parametrize("sent", ["bytes 1999-4999/5000", "bytes 0-4999/5000", "nonsense", ""])
def test_other_bytes_than_asked_for_are_not_stored(server, tmp_path, sent):
    remotes = put(server, tmp_path, 1)

    def shifted(handler):
        handler.reply(206, content(3000, 9), Content_Range=sent)

    server.plan("/data/0.bin", file(cut=2000), shifted)
    get(remotes)
    assert whole(server, remotes)


def test_a_server_may_send_less_than_asked_for(server, tmp_path):
    """A 206 of part of the range is a whole answer; more is asked for until all is there."""
    remotes = put(server, tmp_path, 1)

    def some(handler):
        handler.reply(206, content(5000)[2000:3500], Content_Range="bytes 2000-3499/5000")

    server.plan("/data/0.bin", file(cut=2000), some)
    get(remotes)
    assert whole(server, remotes)
    assert [seen.headers["Range"] for seen in server.seen] == [None, "bytes=2000-", "bytes=3500-"]


def test_a_part_that_outgrows_its_file_is_fetched_again(server, tmp_path):
    remotes = put(server, tmp_path, 1)
    lie = status(206, Content_Range="bytes 2000-2003/1000")
    server.plan("/data/0.bin", file(cut=2000), lie)
    get(remotes)
    assert whole(server, remotes)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server, tmp_path, code):
    remotes = put(server, tmp_path, 1)
    server.plan("/data/0.bin", status(code), status(code, Retry_After="0"))
    get(remotes)
    assert whole(server, remotes)
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(503), "503 Service Unavailable"),
        (status(429, Retry_After="soon"), "429 Too Many Requests"),
        (hang_up, "the connection was closed early"),
        (file(cut=0), "the connection was closed early"),
    ],
)
def test_a_server_that_keeps_failing_is_given_up(server, tmp_path, answer, reason):
    remotes = put(server, tmp_path, 1)
    server.always = answer
    with pytest.raises(DataError) as failure:
        get(remotes)
    message = one_line(failure.value)
    assert message.startswith("127.0.0.1: no 0.bin after 3 attempts")
    assert f"({reason})" in message
    assert "a second run goes on where this one stopped" in message
    assert len(server.seen) == 3


def test_a_stalled_server_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.sources.download.fetch.TIMEOUT", (2.0, 0.2))
    remotes = put(server, tmp_path, 2)

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        time.sleep(0.5)
        handler.close_connection = True

    server.plan("/data/0.bin", stall)
    server.plan("/data/1.bin", lambda handler: (time.sleep(0.5), hang_up(handler)))
    get(remotes)
    assert whole(server, remotes)
    server.always = stall
    remotes = put(server, tmp_path / "again", 1)
    with pytest.raises(DataError, match="timed out"):
        get(remotes)


def test_nobody_there(tmp_path):
    with serving() as server:
        remotes = put(server, tmp_path, 1)
    with pytest.raises(DataError, match="Connection refused") as failure:
        get(remotes)
    one_line(failure.value)


def test_a_long_file_over_a_bad_line_comes(server, tmp_path):
    """More cuts than attempts: each brought something."""
    remotes = put(server, tmp_path, 1, 20_000)
    server.plan("/data/0.bin", *[file(cut=1000)] * 15)
    get(remotes)
    assert whole(server, remotes)
    assert sum(seen.sent for seen in server.seen) == 20_000


def test_bytes_that_come_again_are_no_progress(server, tmp_path):
    remotes = put(server, tmp_path, 1)
    server.always = file(ranges=False, cut=2000)
    with pytest.raises(DataError, match="after 3 attempts"):
        get(remotes)
    assert len(server.seen) == 3


@pytest.mark.parametrize("dated", [False, True])
def test_retry_after_is_kept_but_not_for_ever(server, tmp_path, monkeypatch, dated):
    monkeypatch.setattr("tpifu.sources.download.fetch.LONGEST_DELAY", 0.15)
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    remotes = put(server, tmp_path, 1)
    server.plan("/data/0.bin", status(503, Retry_After=later if dated else "3600"))
    start = time.monotonic()
    get(remotes)
    assert 0.15 <= time.monotonic() - start < 60


@pytest.mark.parametrize("code", [404, 410])
def test_a_file_that_the_server_lacks_is_reported_and_the_others_come(server, tmp_path, code):
    remotes = put(server, tmp_path, 4)
    server.plan("/data/1.bin", status(code))
    reasons = get(remotes)
    assert list(reasons) == [remotes[1].path]
    assert f"127.0.0.1: does not have 1.bin ({code}" in reasons[remotes[1].path]
    assert whole(server, [remotes[0], *remotes[2:]])
    assert not remotes[1].path.exists()


@pytest.mark.parametrize("bad", [1, 2])
def test_a_download_that_is_not_the_file_gets_one_more_chance(server, tmp_path, bad):
    remotes = put(server, tmp_path, 1)
    garbled = page("application/octet-stream", b"garbled")
    server.plan("/data/0.bin", *[garbled] * bad)

    def check(part: Path) -> None:
        if part.read_bytes() == b"garbled":
            raise DataError(f"{part}: garbled")

    reasons = get(remotes, check=check)
    assert len(server.seen) == 2
    assert all("Range" not in seen.headers for seen in server.seen)
    if bad == 1:
        assert reasons == {}
        assert whole(server, remotes)
    else:  # named as the caller knows it
        assert reasons == {remotes[0].path: f"{remotes[0].path}: garbled"}
        assert names(tmp_path) == []


@pytest.mark.parametrize(
    "answer", [status(400), status(418), status(204), status(300), status(304), status(501)]
)
def test_an_answer_of_no_use_ends_it_at_once(server, tmp_path, answer):
    remotes = put(server, tmp_path, 1)
    server.plan("/data/0.bin", answer)
    with pytest.raises(DataError, match=r"no answer that can be used for 0\.bin") as failure:
        get(remotes)
    one_line(failure.value)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("target", "ending", "requests"),
    [
        ("/data/0.bin", "without end", 10),
        ("file:///etc/passwd", "to nowhere", 1),
        ("http://h:x/", "to nowhere", 1),
        ("http://[::1", "attempts (ValueError)", 3),  # requests trips over it before we see it
    ],
)
def test_a_redirect_without_end_or_to_nowhere(server, tmp_path, target, ending, requests):
    remotes = put(server, tmp_path, 1)
    server.always = status(302, Location=target)
    with pytest.raises(DataError, match=re.escape(ending)) as failure:
        get(remotes)
    assert one_line(failure.value).startswith("127.0.0.1: ")
    assert len(server.seen) == requests


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError


def test_the_first_error_stops_the_others(server, tmp_path):
    """The others hang up at their next bytes and keep what they have."""
    remotes = put(server, tmp_path, 40, 400_000)
    server.always = file(pause=0.005)  # two seconds a file

    def refuse(handler: Handler) -> None:
        wait_for(lambda: sum(seen.sent > 40_000 for seen in server.seen) == 3)
        handler.reply(403)

    server.plan("/data/3.bin", refuse)
    with pytest.raises(LicenceError):
        get(remotes, connections=4)
    assert len(server.seen) == 4
    assert names(tmp_path) == [f"{n}.bin.part{end}" for n in range(3) for end in ("", ".validator")]
    sizes = [part.stat().st_size for part in sorted(tmp_path.rglob("*.part"))]
    assert all(0 < size < 400_000 for size in sizes)
    server.always = Handler.file
    get(remotes[:3])
    assert whole(server, remotes[:3])
    asked = {seen.headers["Range"] for seen in server.seen[4:]}
    assert asked == {f"bytes={size}-" for size in sizes}


@pytest.fixture
def hears_ctrl_c():
    """A shell's background jobs are started deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_leaves_parts_and_whole_files_only(server, tmp_path):
    remotes = put(server, tmp_path, 3, 400_000)
    server.files["/data/0.bin"] = content(100)
    server.always = file(pause=0.005)

    def interrupt(part: Path) -> None:
        wait_for(lambda: any(seen.sent > 40_000 for seen in server.seen))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        get(remotes, check=interrupt)
    found = names(tmp_path)
    # The thread that waited may begin the third file before the main thread hears the signal.
    assert {"1.bin.part", "1.bin.part.validator"} <= set(found)
    assert all(re.fullmatch(r"0\.bin(\..*)?|[12]\.bin\.part(\.validator)?", name) for name in found)
    assert not remotes[1].path.exists()
    assert not remotes[2].path.exists()
    server.always = Handler.file
    get(remotes)
    assert whole(server, remotes)


def test_a_full_disk_ends_in_one_line(server, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    remotes = put(server, tmp_path, 1, 100_000)
    remotes[0].path.parent.mkdir()
    remotes[0].path.with_name("0.bin.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device") as failure:
        get(remotes)
    one_line(failure.value)
    assert not remotes[0].path.exists()


def test_a_folder_that_cannot_be_made_ends_in_one_line(server, tmp_path):
    remotes = put(server, tmp_path, 3)
    (tmp_path / "sub").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot be written \(File exists") as failure:
        get(remotes)
    one_line(failure.value)
    assert server.seen == []


def test_a_bug_in_a_check_is_not_hidden(server, tmp_path):
    def check(part: Path) -> None:
        raise IndexError

    with pytest.raises(IndexError):
        get(put(server, tmp_path, 3), check=check)
    assert "0.bin" not in names(tmp_path)


@pytest.mark.parametrize("connections", [1, 3])
def test_as_many_connections_as_allowed_and_no_more(server, tmp_path, connections):
    remotes = put(server, tmp_path, 12)
    server.always = file(pause=0.005)
    get(remotes, connections=connections)
    assert whole(server, remotes)
    assert server.busiest == connections


def test_logins_are_not_shown():
    remote = Remote(url="http://h/x", path=Path("x"), form=FORM)
    shown = f"{LOGIN} {LOGIN!r} {remote} {remote!r}"
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize(
    "url",
    [
        "http://{user}:{password}@host/x",
        "https://{user}@host:80/x",
        "http://{user}:{password}@host:port/x",
        "http://user:geheim/5ecret@host/x",
        "//{user}:{password}@host/x",
        "ftp://{user}:{password}@host/x",
        "http://{user}:{password}@[host/x",
        "http://{user}:{password}@host\u2100.c/x",
        "/x",
        "http:///x",
        "",
    ],
)
def test_a_url_with_a_login_or_without_a_host_is_refused(url):
    with pytest.raises(ConfigError) as failure:
        Remote(url=url.format(user=USER, password=PASSWORD), path=Path("data/x.zip"))
    assert one_line(failure.value).startswith("data/x.zip: its URL ")
    assert no_secret_in(failure.value)


def no_secret_in(error: BaseException) -> bool:
    """Nor in the chain, what is suppressed by `from None` too: no link may hold the request."""
    shown, link = "".join(traceback.format_exception(error)), error
    while link is not None:
        assert not isinstance(link, (requests.RequestException, urllib3.exceptions.HTTPError))
        shown += f"{link} {link!r} {link.args!r} {vars(link)!r}"
        link = link.__cause__ or link.__context__
    return not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("form", [None, FORM])
@pytest.mark.parametrize("offers", [(), ("Basic",), ("Digest",)])
@pytest.mark.parametrize(
    "answer",
    [
        file(),
        status(403),
        status(404),
        status(503),
        status(302, Location="/a.zip"),
        status(307, Location="http://127.0.0.1:1/a.zip"),
        page(),
        hang_up,
        file(cut=2000),
    ],
)
def test_no_secret_in_logs_errors_or_names(server, tmp_path, caplog, answer, offers, form):
    server.offers = offers
    server.files["/a.zip"] = content(5000)
    server.always = answer
    remote = Remote(url=server.url("/a.zip"), path=tmp_path / "a.zip", form=form)
    with caplog.at_level(logging.DEBUG):
        reasons, failure = {}, None
        try:
            reasons = get([remote], credentials=LOGIN)
        except TpifuError as error:
            failure = error
    assert failure is None or (one_line(failure) and no_secret_in(failure))
    assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}
    shown = f"{caplog.text} {[vars(record) for record in caplog.records]} {reasons}"
    shown += "".join(f"{path} {path.read_bytes()}" for path in tmp_path.iterdir())
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_shows_bytes_on_a_terminal_only(server, tmp_path, monkeypatch, terminal):
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    remotes = put(server, tmp_path, 4, 3 << 10)
    server.plan("/data/0.bin", file(cut=1000), file(ranges=False))
    get(remotes, check=lambda part: time.sleep(0.11), connections=1)  # tqdm draws every 0.1 s
    frames = shown.getvalue().split("\r")
    if terminal:
        assert "clips: 100%" in frames[-1]
        assert "12.0k/12.0k" in frames[-1]  # a restarted file counts once
        assert "4/4 files" in frames[-1]
        # All is estimated from the files so far, here of equal size.
        assert set(re.findall(r"/(\S+) \[", shown.getvalue())) == {"12.0k"}
    else:
        assert shown.getvalue() == ""


FAULTS = st.one_of(
    st.sampled_from(
        [
            status(503),
            status(429, Retry_After="0"),
            hang_up,
            file(ranges=False),
            file(chunked=True),
            file(ETag='"other"', if_range=False),
            page("application/octet-stream", b"garbled"),
        ]
    ),
    st.builds(
        file,
        cut=st.integers(0, 3000),
        ranges=st.booleans(),
        if_range=st.booleans(),
        chunked=st.booleans(),
    ),
)


@settings(max_examples=60, deadline=None)
@given(
    plans=st.lists(st.lists(FAULTS, max_size=6), min_size=1, max_size=3),
    etag=st.sampled_from(["", '"v1"', 'W/"v1"']),
    offers=st.sampled_from([(), ("Basic",), ("Digest",)]),
    connections=st.integers(1, 3),
)
def test_whatever_happens_runs_end_in_whole_files_or_one_line(plans, etag, offers, connections):
    def check(part: Path) -> None:
        if part.read_bytes() not in server.files.values():
            raise DataError(f"{part}: garbled")

    with serving() as server, tempfile.TemporaryDirectory() as folder:
        server.offers = offers
        remotes = put(server, Path(folder), len(plans), 3000)
        for path, plan in zip(server.files, plans, strict=True):
            server.etags[path] = etag
            server.plan(path, *plan)
        reasons = None
        for _ in range(19):  # every run meets one of the faults, of which there are 18 at most
            try:
                reasons = get(remotes, credentials=LOGIN, check=check, connections=connections)
            except DataError as error:
                one_line(error)
            assert whole(server, [remote for remote in remotes if remote.path.exists()])
            if reasons == {}:
                break
        assert whole(server, remotes)
        assert len(names(Path(folder))) == len(remotes)
