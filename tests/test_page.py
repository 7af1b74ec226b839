import base64
import gzip
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tpifu.errors import DataError
from tpifu.mesh import Mesh
from tpifu.page import FAR, Picture, Player, Section, Table, Track, write_page

WEB = Path(__file__).parents[1] / "tpifu" / "web"
FRAMES = 3


def turned(mesh: Mesh, frame: int) -> Mesh:
    """Another pose for each frame, which any view tells apart."""
    return Mesh(mesh.vertices * np.float32([1 - 0.2 * frame, 1, 1 - 0.2 * frame]), mesh.faces)


@pytest.fixture
def player(walking, ball) -> Player:
    truth = [turned(walking, frame) for frame in range(FRAMES)]
    found = [ball(0.5), None, ball(0.3)]
    errors = [
        None if mesh is None else np.linspace(0, 0.08, len(mesh.vertices)).astype(np.float32)
        for mesh in found
    ]
    pixels = [np.full((8, 8, 2), 60 * frame + 60, np.uint8) for frame in range(FRAMES)]
    return Player(
        title="03_walk & more",
        labels=[f"frame {frame}" for frame in range(FRAMES)],
        inputs=pixels,
        tracks=[
            Track("ground truth", truth),
            Track("baseline", found, errors),
            Track("temporal", found[::-1], errors[::-1]),
        ],
        yaw=90.0,
        half=1.28,
    )


def written(tmp_path: Path, *body) -> str:
    path = tmp_path / "index.html"
    write_page(path, "A page", "What it shows.", [Section("One", body)])
    return path.read_text()


def data_of(page: str) -> tuple[dict, bytes]:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    data = json.loads(text)
    return data, gzip.decompress(base64.b64decode(data["binary"]))


def test_text_is_escaped_wherever_it_comes_from(tmp_path, player):
    evil = "<script>alert(1)</script> & \"'"
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    track = Track(evil, player.tracks[0].meshes)
    hostile = Player(evil, [evil] * FRAMES, player.inputs, [track], 0.0, 1.28)
    path = tmp_path / "index.html"
    body = [evil, Table([evil], [[evil]], evil), Picture(tmp_path / "p.png", evil, evil), hostile]
    write_page(path, evil, evil, [Section(evil, body)])
    page = path.read_text()
    assert "alert(1)</script>" not in page
    assert "<script>alert" not in page

    class Tags(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            self.found.append(tag)

    parser = Tags()
    parser.feed(page)
    assert parser.found.count("script") == 2  # the player's data and the viewer
    data, _ = data_of(page)
    assert data["labels"] == [evil] * FRAMES


def test_a_page_is_whole_in_itself_and_the_same_every_time(tmp_path, player):
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "p.png")
    body = ["text", Table(["a"], [["1"]]), Picture(tmp_path / "p.png", "a plot"), player]
    page = written(tmp_path, *body)
    assert page == written(tmp_path, *body)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    assert 'width="40" height="30"' in page
    # Without a player there is no script.
    assert "<script" not in written(tmp_path, "text")


def test_meshes_are_stored_to_a_twentieth_of_a_millimetre_and_equal_faces_once(tmp_path, player):
    data, binary = data_of(written(tmp_path, player))
    truth, baseline, _ = data["tracks"]
    faces = set()
    for frame, mesh in zip(truth["frames"], player.tracks[0].meshes, strict=True):
        at, count = frame["vertices"]["offset"], frame["vertices"]["count"]
        codes = np.frombuffer(binary, "<u2", count, at).reshape(-1, 3)
        vertices = codes / 65535 * 2 * 1.28 - 1.28
        np.testing.assert_allclose(vertices, mesh.vertices, atol=5e-5)
        at, count = frame["faces"]["offset"], frame["faces"]["count"]
        np.testing.assert_array_equal(
            np.frombuffer(binary, "<u4", count, at).reshape(-1, 3), mesh.faces
        )
        faces.add(at)
        assert "errors" not in frame
    assert len(faces) == 1
    first, missing, _ = baseline["frames"]
    assert missing is None
    codes = np.frombuffer(binary, np.uint8, first["errors"]["count"], first["errors"]["offset"])
    expected = np.clip(player.tracks[1].errors[0] / FAR, 0, 1) * 255
    np.testing.assert_allclose(codes, expected, atol=0.51)
    for track in data["tracks"]:
        for frame in filter(None, track["frames"]):
            assert all(part["offset"] % 4 == 0 for part in frame.values())


def test_a_picture_that_is_missing_or_none_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: not a picture"):
        written(tmp_path, Picture(tmp_path / "gone.png", "gone"))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png: not a picture"):
        written(tmp_path, Picture(tmp_path / "text.png", "text"))
    assert not (tmp_path / "index.html").exists()


def test_the_built_viewer_is_that_of_the_present_source():
    source = hashlib.sha256((WEB / "viewer.js").read_bytes()).hexdigest()
    built = (WEB / "viewer.min.js").read_text()
    assert source in built[:200], "run tools/viewer/build.sh"
    assert "Three.js Authors" in built  # its licence asks for that


# In a browser.

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on PATH")
FLAGS = [
    "--no-sandbox",  # containers have none to give
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path, player):
    """Opens the page of `player` as a file, in a window of some width; fails on any complaint or
    request."""
    pages = []
    complaints = []

    def open_page(width: int = 1200, player: Player = player):
        written(tmp_path, player, Table(["a"] * 12, [["a long cell of a wide table"] * 12]))
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                complaints.append(request.url)
                if not request.url.startswith(("file:", "data:", "blob:"))
                else None
            ),
        )
        page.goto((tmp_path / "index.html").as_uri())
        page.wait_for_selector("section.player[data-state]")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def panes(page) -> list[np.ndarray]:
    """What each pane shows, (h, w, 3)."""
    pictures = []
    for pane in page.locator(".pane").all():
        pictures.append(
            np.array(Image.open(io.BytesIO(pane.screenshot())).convert("RGB")).astype(int)
        )
    return pictures


def body_share(picture: np.ndarray) -> float:
    return float((np.abs(picture - picture[2, 2]).max(axis=-1) > 12).mean())


def differ(one: list[np.ndarray], other: list[np.ndarray]) -> list[bool]:
    return [
        bool((np.abs(a - b).max(axis=-1) > 12).mean() > 0.002)
        for a, b in zip(one, other, strict=True)
    ]


@needs_browser
def test_the_player_shows_every_track_and_the_slider_moves_them(opened):
    page = opened()
    assert page.get_attribute("section.player", "data-state") == "ready"
    first = panes(page)
    shares = [body_share(picture) for picture in first]
    assert shares[0] > 0.03  # a body
    assert shares[1] == pytest.approx(np.pi * 0.5**2 / 2.56**2, abs=0.02)  # a ball
    page.locator("input[type=range]").fill("1")
    second = panes(page)
    assert differ(first, second) == [True, True, True]
    assert body_share(second[1]) < 0.05  # nothing was predicted, and the pane says so
    assert page.get_attribute("section.player", "data-frame") == "1"
    assert page.locator(".frame").inner_text() == "frame 1"


@needs_browser
def test_errors_have_colours_when_asked_for(opened):
    page = opened()
    grey = panes(page)
    page.check(".by-error")
    assert page.locator(".legend").is_visible()
    assert differ(grey, panes(page)) == [False, True, True]


@needs_browser
def test_one_camera_turns_all(opened):
    page = opened()
    before = panes(page)
    box = page.locator(".pane").nth(1).bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 60)
    page.mouse.up()
    after = panes(page)
    assert differ(before, after)[0]  # dragged in another pane
    page.get_by_role("button", name="As the input").click()
    assert not any(differ(before, panes(page)))


@needs_browser
def test_keys_step_and_play(opened):
    page = opened()
    page.focus("section.player")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("section.player", "data-frame") == "1"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # around the end
    assert page.get_attribute("section.player", "data-frame") == "2"
    page.keyboard.press("Space")
    assert page.locator(".play").inner_text() == "Pause"
    page.wait_for_selector("section.player[data-frame='0']")
    page.keyboard.press("Space")
    assert page.locator(".play").inner_text() == "Play"
    page.focus("input[type=range]")
    page.keyboard.press("End")
    assert page.get_attribute("section.player", "data-frame") == str(FRAMES - 1)


@needs_browser
def test_a_narrow_screen_does_not_scroll_sideways(opened):
    page = opened(width=360)
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    tops = [pane.bounding_box()["y"] for pane in page.locator(".pane").all()]
    assert tops[0] < tops[1] == tops[2]  # the input and the truth, then both models
    assert body_share(panes(page)[0]) > 0.03


@needs_browser
def test_a_browser_without_webgl_is_told(chromium, tmp_path, player):
    written(tmp_path, player)
    page = chromium.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector("section.player[data-state=failed]")
    assert "The 3D view cannot start" in page.locator(".trouble").inner_text()
    page.close()
