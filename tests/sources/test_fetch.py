import base64
import gzip
import hashlib
import io
import logging
import signal
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
from functools import partial
from pathlib import Path

import pytest
import requests
import urllib3
from helpers.http_server import PAGE, PASSWORD, USER, Handler, Server, reply, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from tpifu.errors import ConfigError, DataError, LicenceError, TpifuError
from tpifu.sources.download.fetch import Remote, fetch
from tpifu.sources.download.session import Credentials, Session

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
    """Another port of the same address, which counts as another host."""
    with serving() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def short_delays():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tpifu.sources.download.fetch.DELAY", 0.001)
        patch.setattr("tpifu.sources.download.fetch.ATTEMPTS", 3)
        patch.setattr("tpifu.sources.download.session.TIMEOUT", (10.0, 10.0))
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


def put(server: Server, folder: Path, count: int, size: int = 5000, **options) -> list[Remote]:
    """Add `count` files to the server; returns them as remotes."""
    paths = [f"/data/{number}.bin" for number in range(count)]
    server.files |= {path: content(size, number) for number, path in enumerate(paths)}
    return [
        Remote(url=server.url(path), path=folder / "sub" / Path(path).name, **options)
        for path in paths
    ]


def complete(server: Server, remotes: list[Remote]) -> bool:
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


def cut(count: int, **options):
    return partial(Handler.file, cut=count, **options)


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def test_files_are_complete_and_are_not_requested_again(server, tmp_path):
    remotes = put(server, tmp_path, 5)
    checked = []
    assert get(remotes, check=lambda part: checked.append(part.read_bytes())) == {}
    assert complete(server, remotes)
    assert sorted(checked) == sorted(server.files.values())
    assert names(tmp_path) == [f"{number}.bin" for number in range(5)]
    assert get(remotes) == {}
    assert len(server.seen) == 5


@pytest.mark.parametrize("size", [1, 1 << 14, (1 << 14) + 1, 70_000])
@pytest.mark.parametrize("resume", [False, True])
def test_files_of_any_size(server, tmp_path, size, resume):
    remotes = put(server, tmp_path, 1, size, resume=resume)
    get(remotes)
    assert complete(server, remotes)
    assert names(tmp_path) == ["0.bin"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_response_without_a_length(server, tmp_path, resume):
    """A chunked response that ends early is incomplete; one that ends properly is the file."""

    def chunked(handler: Handler, *, end: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"1388\r\n" + content(5000) + b"\r\n" + end)
        handler.close_connection = True

    remotes = put(server, tmp_path, 1, resume=resume)
    server.plans["/data/0.bin"] = [
        partial(chunked, end=end) for end in (b"", b"1388\r\n", b"0\r\n\r\n")
    ]
    get(remotes)
    assert complete(server, remotes)
    assert len(server.seen) == 3
    assert names(tmp_path) == ["0.bin"]


def test_content_encodings_are_not_decoded(server, tmp_path):
    """Some servers name the compression of a .gz file as the encoding of the response."""
    remotes = put(server, tmp_path, 1)
    server.files["/data/0.bin"] = gzip.compress(content(5000))
    body = server.files["/data/0.bin"]
    server.plans["/data/0.bin"] = [reply(200, body, Content_Encoding="gzip")]
    get(remotes)
    assert complete(server, remotes)
    assert server.seen[0].headers["Accept-Encoding"] == "identity"


def test_a_form_is_posted(server, tmp_path):
    server.files["/download.php?sfile=a.zip"] = content(5000)
    url = server.url("/download.php?sfile=a.zip")
    get([Remote(url=url, path=tmp_path / "a.zip", form=FORM)])
    assert (tmp_path / "a.zip").read_bytes() == content(5000)
    [seen] = server.seen
    assert dict(urllib.parse.parse_qsl(seen.body.decode())) == FORM


@pytest.mark.parametrize(
    ("schemes", "used"),
    [(("Basic",), "Basic"), (("Digest",), "Digest"), (("Basic", "Digest"), "Digest")],
)
def test_the_login_is_sent_only_after_a_challenge(server, tmp_path, schemes, used):
    server.schemes = schemes
    remotes = put(server, tmp_path, 6)
    get(remotes, credentials=LOGIN, connections=1)
    assert complete(server, remotes)
    sent = [seen.headers.get("Authorization", "").partition(" ")[0] for seen in server.seen]
    assert sent[-6:] == [used] * 6
    assert set(sent[:-6]) == {""}
    assert len(sent) <= 6 + 2  # Digest: our first request, and the one of requests


@pytest.mark.parametrize("connections", [1, 3])
def test_an_expired_nonce_is_replaced(server, tmp_path, connections):
    server.schemes = ("Digest",)
    remotes = put(server, tmp_path, 8)

    def forget(handler):
        handler.server.nonces.clear()
        handler.file()

    server.plans["/data/1.bin"] = [forget]
    get(remotes, credentials=LOGIN, connections=connections)
    assert complete(server, remotes)


@pytest.mark.parametrize("schemes", [("Basic",), ("Digest",), ("Digest", "Basic")])
@pytest.mark.parametrize("credentials", [None, Credentials(USER, "wrong")])
def test_a_missing_or_wrong_login_is_one_line(server, tmp_path, schemes, credentials):
    server.schemes = schemes
    remotes = put(server, tmp_path, 50)
    with pytest.raises(LicenceError) as failure:
        get(remotes, credentials=credentials)
    message = one_line(failure.value)
    assert message.startswith(f"127.0.0.1:{server.server_port}: no access to ")
    assert "401 Unauthorized" in message
    assert message.endswith(ACCESS)
    assert len(server.seen) <= 20  # the error cancels the other files
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "response",
    [reply(403), reply(401, WWW_Authenticate='Bearer realm="x"')],
)
def test_a_refusal_is_not_retried(server, tmp_path, response):
    remotes = put(server, tmp_path, 1)
    server.plans["/data/0.bin"] = [response]
    with pytest.raises(LicenceError, match="40[13] ") as failure:
        get(remotes, credentials=LOGIN)
    assert one_line(failure.value).endswith(ACCESS)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html; charset=utf-8", PAGE),
        ("text/html", b"no tag"),
        ("application/octet-stream", PAGE),
        ("text/plain", b"\xef\xbb\xbf \r\n<!-- login --><HTML lang=en><body>"),
        ("application/zip", b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD">'),
    ],
)
@pytest.mark.parametrize("form", [None, FORM])
def test_a_web_page_means_that_the_login_was_refused(server, tmp_path, kind, body, form):
    server.plans["/a.zip"] = [cut(1), reply(200, body, Content_Type=kind)]
    server.files["/a.zip"] = content(5000)
    remote = Remote(url=server.url("/a.zip"), path=tmp_path / "a.zip", form=form, resume=True)
    with pytest.raises(LicenceError, match=r"web page instead of a\.zip") as failure:
        get([remote])
    assert one_line(failure.value).endswith(ACCESS)
    assert names(tmp_path) == ["a.zip.5000.part"]  # the next run resumes


@pytest.mark.parametrize("form", [None, FORM])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_refused(server, other, tmp_path, code, form):
    server.schemes = () if form else ("Basic",)
    other.files["/a.zip"] = content(5000)
    server.plans["/a.zip"] = [reply(code, Location=other.url("/a.zip"))]
    with pytest.raises(DataError, match="redirects to another server") as failure:
        get(
            [Remote(url=server.url("/a.zip"), path=tmp_path / "a.zip", form=form)],
            credentials=LOGIN,
        )
    assert f"'127.0.0.1:{other.server_port}'" in one_line(failure.value)
    assert other.seen == []
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("https://host/b", True),
        ("http://host/b", False),
        ("https://host:444/b", False),
        ("https://other/b", False),
        ("https://user:geheim@host.other/b", False),
        ("https://sub.host/b", False),
        ("file:///etc/passwd", False),
    ],
)
def test_redirects_that_are_allowed(target, allowed):
    response = requests.Response()
    response.url = "https://host/a"
    request = requests.PreparedRequest()
    request.url = target
    session = Session(LOGIN, 1)
    if allowed:
        session.rebuild_auth(request, response)
        return
    with pytest.raises(DataError) as failure:
        session.rebuild_auth(request, response)
    assert no_secret_in(failure.value)


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_the_login_follows_a_redirect_within_the_host(server, tmp_path, scheme):
    server.schemes = (scheme,)
    server.files["/b.bin"] = content(5000)
    server.plans["/a.bin"] = [reply(302, Location="/b.bin")]
    get([Remote(url=server.url("/a.bin"), path=tmp_path / "a.bin")], credentials=LOGIN)
    assert (tmp_path / "a.bin").read_bytes() == content(5000)


@pytest.mark.parametrize("target", ["/data/0.bin", "http://h:x/", "http://[::1"])
def test_endless_and_malformed_redirects_are_one_line(server, tmp_path, target):
    remotes = put(server, tmp_path, 1)
    server.default = reply(302, Location=target)
    with pytest.raises(DataError) as failure:
        get(remotes)
    assert one_line(failure.value).startswith("127.0.0.1:")
    assert len(server.seen) <= 3 * 11


@pytest.mark.parametrize("credentials", [None, LOGIN])
def test_netrc_is_not_used(server, tmp_path, monkeypatch, credentials):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login stray password stray\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.files["/b.bin"] = content(10)
    server.plans["/a.bin"] = [reply(302, Location="/b.bin")]
    get([Remote(url=server.url("/a.bin"), path=tmp_path / "a.bin")], credentials=credentials)
    assert len(server.seen) == 2
    assert all("Authorization" not in seen.headers for seen in server.seen)


def test_proxies_of_the_environment_are_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url(""))
    server.files["http://data.invalid/a.bin"] = content(10)
    get([Remote(url="http://data.invalid/a.bin", path=tmp_path / "a.bin")])
    assert (tmp_path / "a.bin").read_bytes() == content(10)


def test_a_small_file_starts_again(server, tmp_path):
    remotes = put(server, tmp_path, 1)
    server.plans["/data/0.bin"] = [cut(2000), cut(3000)]
    get(remotes)
    assert complete(server, remotes)
    assert [seen.sent for seen in server.seen] == [2000, 3000, 5000]
    assert all("Range" not in seen.headers for seen in server.seen)


def test_a_large_file_resumes_through_any_number_of_cuts(server, tmp_path):
    remotes = put(server, tmp_path, 1, 20_000, resume=True)
    server.plans["/data/0.bin"] = [cut(1000)] * 15
    get(remotes)
    assert complete(server, remotes)
    assert sum(seen.sent for seen in server.seen) == 20_000


def test_a_second_run_resumes(server, tmp_path):
    remotes = put(server, tmp_path, 1, resume=True)
    server.plans["/data/0.bin"] = [cut(2000), *[reply(503)] * 3]
    with pytest.raises(DataError):
        get(remotes)
    assert names(tmp_path) == ["0.bin.5000.part"]
    server.seen.clear()
    get(remotes)
    assert complete(server, remotes)
    assert [(seen.headers["Range"], seen.sent) for seen in server.seen] == [("bytes=2000-", 3000)]
    assert names(tmp_path) == ["0.bin"]


def test_a_complete_part_needs_no_request(server, tmp_path):
    remotes = put(server, tmp_path, 1, resume=True)
    remotes[0].path.parent.mkdir()
    remotes[0].path.with_name("0.bin.5000.part").write_bytes(content(5000))
    get(remotes)
    assert complete(server, remotes)
    assert server.seen == []


def test_a_file_whose_size_changed_starts_again(server, tmp_path):
    remotes = put(server, tmp_path, 1, resume=True)

    def change(handler):
        handler.file(cut=2000)
        server.files["/data/0.bin"] = content(6000, 77)

    server.plans["/data/0.bin"] = [change]
    get(remotes)
    assert remotes[0].path.read_bytes() == content(6000, 77)
    assert names(tmp_path) == ["0.bin"]


def test_a_server_without_ranges_starts_again_without_progress(server, tmp_path):
    remotes = put(server, tmp_path, 1, resume=True)
    server.plans["/data/0.bin"] = [cut(2000), cut(1000, ranges=False)]
    get(remotes)
    assert complete(server, remotes)
    assert [seen.sent for seen in server.seen] == [2000, 1000, 4000]
    server.default = cut(2000, ranges=False)
    remotes = put(server, tmp_path / "again", 1, resume=True)
    with pytest.raises(DataError, match="after 3 attempts"):
        get(remotes)


@pytest.mark.parametrize(
    "response",
    [
        *[
            reply(206, content(3000, 9), Content_Range=text)
            for text in ("bytes 1999-4999/5000", "bytes 2000-4999/6000", "bytes 2000-4998/5000", "")
        ],
        reply(416, Content_Range="bytes */1000"),
        reply(206, content(3001, 9), Content_Range="bytes 2000-4999/5000"),  # one byte too many
    ],
)
def test_a_wrong_range_is_not_stored(server, tmp_path, response):
    remotes = put(server, tmp_path, 1, resume=True)
    server.plans["/data/0.bin"] = [cut(2000), response]
    get(remotes)
    assert complete(server, remotes)
    assert server.seen[-1].sent == 5000


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_transient_statuses_are_retried(server, tmp_path, code):
    remotes = put(server, tmp_path, 1)
    server.plans["/data/0.bin"] = [reply(code), reply(code, Retry_After="0")]
    get(remotes)
    assert complete(server, remotes)
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (reply(503), "503 Service Unavailable"),
        (reply(429, Retry_After="soon"), "429 Too Many Requests"),
        (reply(401, WWW_Authenticate='Digest realm="x"'), "KeyError"),  # no nonce
        (hang_up, "RemoteDisconnected"),
        (cut(0), "IncompleteRead"),
    ],
)
def test_attempts_are_limited(server, tmp_path, response, reason):
    remotes = put(server, tmp_path, 1)
    server.default = response
    with pytest.raises(DataError) as failure:
        get(remotes, credentials=LOGIN)
    message = one_line(failure.value)
    assert f": no 0.bin after 3 attempts ({reason}); run again" in message


def test_a_server_that_stops_sending_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.sources.download.session.TIMEOUT", (2.0, 0.2))
    remotes = put(server, tmp_path, 1)

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        time.sleep(0.5)
        handler.close_connection = True

    server.default = stall
    with pytest.raises(DataError, match="TimeoutError"):
        get(remotes)


def test_no_server(tmp_path):
    with serving() as server:
        remotes = put(server, tmp_path, 1)
    with pytest.raises(DataError, match="ConnectionRefusedError") as failure:
        get(remotes)
    one_line(failure.value)


def test_retry_after_is_obeyed_up_to_a_limit(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tpifu.sources.download.fetch.LONGEST_DELAY", 0.15)
    remotes = put(server, tmp_path, 1)
    server.plans["/data/0.bin"] = [reply(503, Retry_After="3600")]
    start = time.monotonic()
    get(remotes)
    assert 0.15 <= time.monotonic() - start < 60


@pytest.mark.parametrize("code", [404, 410])
def test_absent_files_are_reported_and_the_others_written(server, tmp_path, code):
    remotes = put(server, tmp_path, 4)
    server.plans["/data/1.bin"] = [reply(code)]
    reasons = get(remotes)
    assert list(reasons) == [remotes[1].path]
    assert f": does not have 1.bin ({code}" in reasons[remotes[1].path]
    assert complete(server, [remotes[0], *remotes[2:]])
    assert not remotes[1].path.exists()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("bad", [1, 2])
def test_a_rejected_file_is_downloaded_once_more(server, tmp_path, bad, resume):
    remotes = put(server, tmp_path, 1, resume=resume)
    server.plans["/data/0.bin"] = [reply(200, b"garbled")] * bad

    def check(part: Path) -> None:
        if part.read_bytes() == b"garbled":
            raise DataError(f"{part}: garbled")

    reasons = get(remotes, check=check)
    assert len(server.seen) == 2
    if bad == 1:
        assert reasons == {}
        assert complete(server, remotes)
    else:
        assert reasons == {remotes[0].path: f"{remotes[0].path}: garbled"}
        assert names(tmp_path) == []


@pytest.mark.parametrize("code", [400, 204, 206, 304, 416, 501])
def test_other_statuses_are_errors(server, tmp_path, code):
    remotes = put(server, tmp_path, 1)
    server.default = reply(code)
    with pytest.raises(DataError, match=r"0\.bin") as failure:
        get(remotes)
    one_line(failure.value)
    assert len(server.seen) == (3 if code in (206, 416) else 1)
    assert names(tmp_path) == []


def wait_for(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError


def test_the_first_error_cancels_the_others(server, tmp_path):
    remotes = put(server, tmp_path, 40, 400_000)
    server.default = partial(Handler.file, pause=0.005)  # two seconds a file

    def refuse(handler: Handler) -> None:
        wait_for(lambda: sum(seen.sent > 40_000 for seen in server.seen) == 3)
        handler.send(403, b"")

    server.plans["/data/3.bin"] = [refuse]
    with pytest.raises(LicenceError):
        get(remotes, connections=4)
    assert len(server.seen) == 4
    assert all(seen.sent < 400_000 for seen in server.seen)
    assert not [name for name in names(tmp_path) if not name.endswith(".part")]


def test_ctrl_c_leaves_no_incomplete_file(server, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    remotes = put(server, tmp_path, 3, 400_000)
    server.files["/data/0.bin"] = content(100)
    server.default = partial(Handler.file, pause=0.005)

    def interrupt(part: Path) -> None:
        wait_for(lambda: any(seen.sent > 40_000 for seen in server.seen))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        get(remotes, check=interrupt)
    signal.signal(signal.SIGINT, before)
    assert {"0.bin"} >= {name for name in names(tmp_path) if not name.endswith(".part")}
    server.default = Handler.file
    get(remotes)
    assert complete(server, remotes)
    assert names(tmp_path) == ["0.bin", "1.bin", "2.bin"]


def test_a_full_disk_is_one_line(server, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    remotes = put(server, tmp_path, 1, 100_000, resume=True)
    remotes[0].path.parent.mkdir()
    remotes[0].path.with_name("0.bin.100000.part").symlink_to("/dev/full")
    server.default = reply(206, content(100_000), Content_Range="bytes 0-99999/100000")
    with pytest.raises(DataError, match=r"cannot be written|range") as failure:
        get(remotes)
    one_line(failure.value)
    assert not remotes[0].path.exists()


def test_a_folder_that_cannot_be_created_is_one_line(server, tmp_path):
    remotes = put(server, tmp_path, 3)
    (tmp_path / "sub").write_text("a file in place of the folder")
    with pytest.raises(DataError, match=r"cannot be written \(File exists") as failure:
        get(remotes)
    one_line(failure.value)
    assert server.seen == []


@pytest.mark.parametrize("connections", [1, 3])
def test_the_number_of_connections(server, tmp_path, connections):
    remotes = put(server, tmp_path, 12)
    server.default = partial(Handler.file, pause=0.005)
    get(remotes, connections=connections)
    assert complete(server, remotes)
    assert server.most_active == connections


def test_reprs_hide_logins():
    remote = Remote(url="http://h/x", path=Path("x"), form=FORM)
    shown = f"{LOGIN} {LOGIN!r} {remote} {remote!r}"
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize(
    "url",
    [
        "http://{user}:{password}@host/x",
        "http://user:geheim/5ecret@host/x",
        "//{user}:{password}@host/x",
        "ftp://{user}:{password}@host/x",
        "http://{user}:{password}@[host/x",
        "/x",
        "http:///x",
        "",
    ],
)
def test_a_url_with_a_login_or_without_a_host_is_rejected(url):
    with pytest.raises(ConfigError) as failure:
        Remote(url=url.format(user=USER, password=PASSWORD), path=Path("data/x.zip"))
    assert one_line(failure.value).startswith("data/x.zip: its URL ")
    assert no_secret_in(failure.value)


def no_secret_in(error: BaseException) -> bool:
    """Whether neither the traceback nor any chained exception, shown or not, holds a secret."""
    shown, link = "".join(traceback.format_exception(error)), error
    while link is not None:
        assert not isinstance(link, (requests.RequestException, urllib3.exceptions.HTTPError))
        shown += f"{link} {link!r} {link.args!r} {vars(link)!r}"
        link = link.__cause__ or link.__context__
    return not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("form", [None, FORM])
@pytest.mark.parametrize("schemes", [(), ("Basic",), ("Digest",)])
@pytest.mark.parametrize(
    "response",
    [
        Handler.file,
        reply(403),
        reply(404),
        reply(503),
        reply(302, Location="/a.zip"),
        reply(307, Location="http://127.0.0.1:1/a.zip"),
        reply(200, PAGE),
        hang_up,
        cut(2000),
    ],
)
def test_no_secret_in_logs_errors_or_files(server, tmp_path, caplog, response, schemes, form):
    server.schemes = schemes
    server.files["/a.zip"] = content(5000)
    server.default = response
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
def test_the_progress_bar(server, tmp_path, monkeypatch, terminal):
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    [remote] = put(server, tmp_path, 1, 12 << 10, resume=True)
    server.plans["/data/0.bin"] = [cut(1000)]
    get([remote])
    assert ("clips: 100%" in shown.getvalue()) == terminal
    assert ("12.0k/12.0k" in shown.getvalue()) == terminal
    get(put(server, tmp_path / "many", 4, 3 << 10))
    assert ("clips: 12.0kB" in shown.getvalue()) == terminal
    assert ("4/4 files" in shown.getvalue()) == terminal
    assert terminal or shown.getvalue() == ""


FAILURES = st.one_of(
    st.sampled_from([reply(503), reply(429, Retry_After="0"), hang_up, reply(200, b"garbled")]),
    st.builds(cut, st.integers(0, 3000), ranges=st.booleans()),
)


@settings(max_examples=60, deadline=None)
@given(
    plans=st.lists(st.lists(FAILURES, max_size=6), min_size=1, max_size=3),
    schemes=st.sampled_from([(), ("Basic",), ("Digest",)]),
    resume=st.booleans(),
    connections=st.integers(1, 3),
)
def test_any_failures_end_in_complete_files_or_one_line(plans, schemes, resume, connections):
    def check(part: Path) -> None:
        if part.read_bytes() not in server.files.values():
            raise DataError(f"{part}: garbled")

    with serving() as server, tempfile.TemporaryDirectory() as folder:
        server.schemes = schemes
        remotes = put(server, Path(folder), len(plans), 3000, resume=resume)
        server.plans = {f"/data/{number}.bin": list(plan) for number, plan in enumerate(plans)}
        reasons = None
        for _ in range(19):  # each run meets at least one of the 18 failures at most
            try:
                reasons = get(remotes, credentials=LOGIN, check=check, connections=connections)
            except DataError as error:
                one_line(error)
            assert complete(server, [remote for remote in remotes if remote.path.exists()])
            if reasons == {}:
                break
        assert complete(server, remotes)
        assert len(names(Path(folder))) == len(remotes)
