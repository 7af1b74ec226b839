import base64
import hashlib
import logging
import signal
import tempfile
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

import pytest
import requests
import urllib3
from helpers.checks import one_line
from helpers.http_server import PAGE, PASSWORD, USER, Handler, Server, reply, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from tpifu.errors import DataError, LicenceError, TpifuError
from tpifu.sources.download.fetch import Remote, fetch
from tpifu.sources.download.session import Credentials, Session, host

LOGIN = Credentials(USER, PASSWORD)
FORM = {"username": USER, "password": PASSWORD}
BASE64 = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SECRETS = (USER, PASSWORD, quote_plus(USER), quote_plus(PASSWORD), BASE64, "geheim")
ACCESS = "set DATA_USER and DATA_PASSWORD; the licence is at https://example.org/licence"


@pytest.fixture
def server():
    with serving() as server:
        yield server


other_server = server  # another port counts as another host


pytestmark = pytest.mark.usefixtures("short_delays")


def content(size: int, seed: int = 0) -> bytes:
    return b"\x00" + hashlib.shake_128(bytes([seed])).digest(size - 1)


def put(server: Server, folder: Path, count: int, size: int = 5000, **options) -> list[Remote]:
    """Add the files /data/0.bin, /data/1.bin, ... to the server; returns them as remotes."""
    paths = [f"/data/{number}.bin" for number in range(count)]
    server.files |= {path: content(size, number) for number, path in enumerate(paths)}
    return [Remote(url=server.url(p), path=folder / "sub" / p[6:], **options) for p in paths]


def get(remotes, **options) -> dict[Path, str]:
    defaults = {"credentials": None, "check": Path.read_bytes, "access": ACCESS, "label": "clips"}
    return fetch(remotes, **(defaults | options))


def failure(kind: type[TpifuError], remotes, **options) -> str:
    """The one-line error of the failing download."""
    with one_line(kind) as caught:
        get(remotes, **options)
    assert no_secret_in(caught.value)
    return str(caught.value)


def no_secret_in(error: BaseException) -> bool:
    """Whether the traceback and all chained exceptions, shown or hidden, contain no secret."""
    shown, link = "".join(traceback.format_exception(error)), error
    while link is not None:
        assert not isinstance(link, (requests.RequestException, urllib3.exceptions.HTTPError))
        shown += f"{link} {link!r} {link.args!r} {vars(link)!r}"
        link = link.__cause__ or link.__context__
    return not any(secret in shown for secret in SECRETS)


def complete(server: Server, remotes: list[Remote]) -> bool:
    return all(
        remote.path.read_bytes() == server.files[urlsplit(remote.url).path] for remote in remotes
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def cut(count: int, **options):
    return partial(Handler.file, cut=count, **options)


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def chunked(handler: Handler, *, end: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"1388\r\n" + content(5000) + b"\r\n" + end)
    handler.close_connection = True


@pytest.mark.parametrize("size", [1, 1 << 14, (1 << 14) + 1, 70_000])
@pytest.mark.parametrize("resume", [False, True])
def test_files_are_complete_and_are_not_requested_again(server, tmp_path, size, resume):
    remotes = put(server, tmp_path, 5, size, resume=resume)
    checked = []
    assert get(remotes, check=lambda part: checked.append(part.read_bytes())) == {}
    assert complete(server, remotes)
    assert sorted(checked) == sorted(server.files.values())
    assert names(tmp_path) == [f"{number}.bin" for number in range(5)]
    assert get(remotes) == {}
    assert len(server.seen) == 5


@pytest.mark.parametrize("resume", [False, True])
def test_a_chunked_response_that_ends_early_is_incomplete(server, tmp_path, resume):
    remotes = put(server, tmp_path, 1, resume=resume)
    ends = (b"", b"1388\r\n", b"0\r\n\r\n")
    server.plans["/data/0.bin"] = [partial(chunked, end=end) for end in ends]
    get(remotes)
    assert complete(server, remotes)
    assert len(server.seen) == 3


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
    assert len(sent) <= 6 + 2  # Digest: our request and that of requests


@pytest.mark.parametrize("schemes", [("Basic",), ("Digest",), ("Digest", "Basic")])
@pytest.mark.parametrize("credentials", [None, Credentials(USER, "wrong")])
def test_a_missing_or_wrong_login(server, tmp_path, schemes, credentials):
    server.schemes = schemes
    line = failure(LicenceError, put(server, tmp_path, 50), credentials=credentials)
    assert line.startswith(f"127.0.0.1:{server.server_port}: no access to ")
    assert "401 Unauthorized" in line
    assert line.endswith(ACCESS)
    assert len(server.seen) <= 30  # the error cancels the other files
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("response", "count", "text"),
    [
        (reply(403), 1, f"no access to 0.bin (403 Forbidden); {ACCESS}"),
        (reply(401, WWW_Authenticate="Bearer"), 1, f"(401 Unauthorized); {ACCESS}"),
        (reply(400), 1, "cannot serve 0.bin (400 Bad Request)"),
        (reply(204), 1, "(204 No Content)"),
        (reply(304), 1, "(304 Not Modified)"),
        (reply(501), 1, "(501 Not Implemented)"),
        (reply(206), 3, "did not send the requested range"),
        (reply(416), 3, "did not send the requested range"),
        (reply(302, Location="/data/0.bin"), 93, "(TooManyRedirects)"),
        (reply(302, Location="http://h:x/"), 1, "redirects to another server, 'h:x'"),
        (reply(302, Location="http://[::1"), 3, "(ValueError)"),
        (reply(503), 3, "no 0.bin after 3 attempts (503 Service Unavailable); run again"),
        (reply(401, WWW_Authenticate='Digest realm="x"'), 4, "(KeyError)"),  # no nonce
        (partial(Handler.file, pause=0.5), 3, "(TimeoutError)"),
        (hang_up, 3, "(RemoteDisconnected)"),
        (cut(0), 3, "(IncompleteRead)"),
    ],
)
def test_responses_without_the_file(server, tmp_path, monkeypatch, response, count, text):
    monkeypatch.setattr("tpifu.sources.download.session.TIMEOUT", (2.0, 0.1))
    server.default = response
    line = failure(TpifuError, put(server, tmp_path, 1), credentials=LOGIN)
    assert line.startswith(f"127.0.0.1:{server.server_port}: ")
    assert text in line
    assert len(server.seen) == count
    assert not [name for name in names(tmp_path) if not name.endswith(".part")]


@pytest.mark.parametrize("body", [PAGE, b"\xef\xbb\xbf \r\n<!-- login --><HTML lang=en><body>"])
@pytest.mark.parametrize("form", [None, FORM])
def test_a_web_page_means_that_the_login_was_refused(server, tmp_path, body, form):
    server.plans["/data/0.bin"] = [cut(1), reply(200, body)]
    line = failure(LicenceError, put(server, tmp_path, 1, form=form, resume=True))
    assert "sent a web page instead of 0.bin" in line
    assert line.endswith(ACCESS)
    assert names(tmp_path) == ["0.bin.part"]  # the next run resumes


@pytest.mark.parametrize("form", [None, FORM])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_refused(server, other_server, tmp_path, code, form):
    server.schemes = () if form else ("Basic",)
    server.plans["/data/0.bin"] = [reply(code, Location=other_server.url("/data/0.bin"))]
    line = failure(DataError, put(server, tmp_path, 1, form=form), credentials=LOGIN)
    assert f"redirects to another server, '127.0.0.1:{other_server.server_port}'" in line
    assert other_server.seen == []
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "target",
    ["http://host", "https://host:444", "https://u:geheim@h", "https://sub.host", "file://"],
)
def test_which_redirects_are_refused(target):
    response, request = requests.Response(), requests.PreparedRequest()
    response.url, request.url = "https://host/a", "https://host/b"
    Session(LOGIN).rebuild_auth(request, response)
    request.url = f"{target}/b"
    with pytest.raises(DataError) as caught:
        Session(LOGIN).rebuild_auth(request, response)
    assert no_secret_in(caught.value)


@pytest.mark.parametrize("schemes", [(), ("Basic",), ("Digest",)])
def test_redirects_within_the_host_take_the_login_but_never_netrc(
    server, tmp_path, monkeypatch, schemes
):
    (tmp_path / "netrc").write_text("default login stray password stray\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.schemes = schemes
    server.files["/b.bin"] = content(5000)
    server.plans["/data/0.bin"] = [reply(302, Location="/b.bin")]
    get(put(server, tmp_path, 1), credentials=LOGIN)
    assert (tmp_path / "sub" / "0.bin").read_bytes() == content(5000)
    assert schemes or all("Authorization" not in seen.headers for seen in server.seen)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_small_file_starts_again(server, tmp_path, code):
    remotes = put(server, tmp_path, 1)
    server.plans["/data/0.bin"] = [cut(2000), reply(code)]
    get(remotes)
    assert complete(server, remotes)
    assert [seen.sent for seen in server.seen] == [2000, 4, 5000]
    assert all("Range" not in seen.headers for seen in server.seen)


def test_a_large_file_resumes_in_the_same_run_and_in_the_next(server, tmp_path):
    remotes = put(server, tmp_path, 1, 20_000, resume=True)
    server.plans["/data/0.bin"] = [cut(1000)] * 4
    assert "after 3 attempts" in failure(DataError, remotes)
    get(remotes)
    assert complete(server, remotes)
    assert sum(seen.sent for seen in server.seen) == 20_000
    assert names(tmp_path) == ["0.bin"]


@pytest.mark.parametrize(
    "response",
    [
        reply(206, content(3000, 9), Content_Range="bytes 1999-4999/5000"),
        reply(206, content(3000, 9), Content_Range="bytes 2000-4999/6000"),
        reply(206, content(3000, 9), Content_Range="bytes 2000-4998/5000"),
        reply(206, content(3000, 9)),
        reply(206, content(3001, 9), Content_Range="bytes 2000-4999/5000"),  # one byte too many
        reply(416, Content_Range="bytes */1000"),
    ],
)
def test_a_wrong_range_is_discarded(server, tmp_path, response):
    remotes = put(server, tmp_path, 1, resume=True)
    server.plans["/data/0.bin"] = [cut(2000), response]
    get(remotes)
    assert complete(server, remotes)
    assert server.seen[-1].sent == 5000


@pytest.mark.parametrize("code", [404, 410])
def test_absent_files_are_reported_and_the_others_written(server, tmp_path, code):
    remotes = put(server, tmp_path, 4)
    server.plans["/data/1.bin"] = [reply(code)]
    reasons = get(remotes)
    assert f": does not have 1.bin ({code}" in reasons[remotes[1].path]
    assert complete(server, [remotes[0], *remotes[2:]])
    assert names(tmp_path) == ["0.bin", "2.bin", "3.bin"]


def reject_garbled(part: Path) -> None:
    if part.read_bytes() == b"garbled":
        raise DataError(f"{part}: garbled")


@pytest.mark.parametrize("resume", [False, True])
def test_a_rejected_file_is_reported_and_not_kept(server, tmp_path, resume):
    [remote] = put(server, tmp_path, 1, resume=resume)
    server.plans["/data/0.bin"] = [reply(200, b"garbled")]
    assert get([remote], check=reject_garbled) == {remote.path: f"{remote.path}: garbled"}
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_created(server, tmp_path):
    (tmp_path / "sub").write_text("a file in place of the folder")
    assert "cannot be written (File exists)" in failure(DataError, put(server, tmp_path, 3))


def test_ctrl_c_leaves_no_incomplete_file(server, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    remotes = put(server, tmp_path, 3, 400_000)
    server.files["/data/0.bin"] = content(100)
    server.default = partial(Handler.file, pause=0.005)

    def interrupt(part: Path) -> None:
        while not any(seen.sent > 40_000 for seen in server.seen):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        get(remotes, check=interrupt, connections=2)
    signal.signal(signal.SIGINT, before)
    assert {name for name in names(tmp_path) if not name.endswith(".part")} <= {"0.bin"}
    server.default = Handler.file
    get(remotes)
    assert complete(server, remotes)
    assert names(tmp_path) == ["0.bin", "1.bin", "2.bin"]


@pytest.mark.parametrize("url", ["http://h/x", "http://u:geheim@h", "ftp://u:geheim/5ecret@h/x"])
def test_errors_name_the_host_of_a_url_without_its_login(url):
    assert host(url) == "h"


RESPONSES = [Handler.file, cut(2000), hang_up, reply(200, PAGE), *map(reply, (403, 404, 503))]
REDIRECTS = [reply(302, Location="/x"), reply(307, Location="http://127.0.0.1:1/x")]


@pytest.mark.parametrize("form", [None, FORM])
@pytest.mark.parametrize("schemes", [(), ("Basic",), ("Digest",)])
@pytest.mark.parametrize("response", RESPONSES + REDIRECTS)
def test_no_secret_in_logs_errors_or_files(server, tmp_path, caplog, response, schemes, form):
    server.schemes, server.default = schemes, response
    remotes = put(server, tmp_path, 1, form=form)
    reasons, errors = {}, []
    with caplog.at_level(logging.DEBUG):
        try:
            reasons = get(remotes, credentials=LOGIN)
        except TpifuError as error:
            errors.append(error)
    assert all(no_secret_in(error) for error in errors)
    assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}
    shown = f"{caplog.text} {[vars(record) for record in caplog.records]}"
    shown += f"{reasons} {remotes} {LOGIN}"
    shown += "".join(f"{path} {path.read_bytes()}" for path in tmp_path.rglob("*.*"))
    assert not any(secret in shown for secret in SECRETS)


FAILURES = st.one_of(
    st.sampled_from([reply(503), hang_up, reply(200, b"garbled")]),
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
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        server.schemes = schemes
        remotes = put(server, Path(folder), len(plans), 3000, resume=resume)
        server.plans = {f"/data/{number}.bin": list(plan) for number, plan in enumerate(plans)}
        options = {"credentials": LOGIN, "check": reject_garbled, "connections": connections}
        reasons, lines = None, []
        for _ in range(19):  # each run meets at least one of the 18 failures at most
            try:
                reasons = get(remotes, **options)
            except DataError as error:
                lines.append(str(error))
            assert complete(server, [remote for remote in remotes if remote.path.exists()])
            if reasons == {}:
                break
        assert complete(server, remotes)
        assert not any("\n" in line for line in lines)
        assert len(names(Path(folder))) == len(remotes)
