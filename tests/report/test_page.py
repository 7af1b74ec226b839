import base64
import gzip
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tpifu.geometry.camera import calibration
from tpifu.geometry.mesh import Mesh
from tpifu.pictures.figures import Pictured
from tpifu.pictures.tiles import COLOURS, FAR
from tpifu.render.render import render
from tpifu.report.page import Picture, Player, Table, write_page

WEB = Path(__file__).parents[2] / "tpifu" / "report" / "web"
FRAMES = 3
BLANK = np.zeros((8, 8, 2), np.uint8)


def turned(mesh: Mesh, frame: int) -> Mesh:
    """A different pose for each frame, recognisable from every view."""
    return Mesh(mesh.vertices * np.float32([1 - 0.2 * frame, 1, 1 - 0.2 * frame]), mesh.faces)


def clip_of(pixels: list[np.ndarray], yaw: float = 0.0, name: str = "a", **tracks) -> Player:
    """A clip whose meshes have the names of `tracks`: (mesh, errors) of every frame."""
    frames = [
        Pictured(name, frame, pixels[frame], yaw, 2.56, *map(list, zip(*own, strict=True)))
        for frame, own in enumerate(zip(*tracks.values(), strict=True))
    ]
    return Player(list(tracks), frames)


def true(*meshes: Mesh) -> list[tuple[Mesh, None]]:
    return [(mesh, None) for mesh in meshes]


@pytest.fixture
def player(walking, ball) -> Player:
    found = []
    for mesh in (ball(0.5), None, ball(0.3)):
        far = None if mesh is None else np.linspace(0, 0.08, len(mesh.vertices))
        found.append((mesh, far))
    return clip_of(
        [np.full((8, 8, 2), 60 * frame + 60, np.uint8) for frame in range(FRAMES)],
        90.0,
        "03_walk & more",
        truth=true(*(turned(walking, frame) for frame in range(FRAMES))),
        baseline=found,
        temporal=found[::-1],
    )


def written(tmp_path: Path, *body) -> str:
    path = tmp_path / "index.html"
    write_page(path, "A page", "What it shows.", {"One": body})
    return path.read_text()


def data_of(page: str) -> tuple[dict, bytes]:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    data = json.loads(text)
    return data, gzip.decompress(base64.b64decode(data["binary"]))


def test_text_is_escaped_wherever_it_comes_from(tmp_path, player):
    evil = "<script>alert(1)</script> & \"'"
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    hostile = Player([evil] * 3, [replace(frame, clip=evil) for frame in player.frames])
    path = tmp_path / "index.html"
    body = [evil, Table([evil], [[evil]], evil), Picture(tmp_path / "p.png", evil, evil), hostile]
    write_page(path, evil, evil, {evil: body})
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


def test_a_page_is_self_contained_and_reproducible(tmp_path, player):
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "p.png")
    body = ["text", Table(["a"], [["1"]]), Picture(tmp_path / "p.png", "a plot"), player]
    page = written(tmp_path, *body)
    assert page == written(tmp_path, *body)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    assert 'width="40" height="30"' in page
    (stored,) = re.findall(r'<img src="data:image/png;base64,([^"]*)" alt="a plot"', page)
    assert base64.b64decode(stored) == (tmp_path / "p.png").read_bytes()
    # Without a player there is no script.
    assert "<script" not in written(tmp_path, "text")


def test_meshes_are_stored_to_a_twentieth_of_a_millimetre_and_equal_faces_once(tmp_path, player):
    data, binary = data_of(written(tmp_path, player))
    truth, baseline, _ = data["tracks"]
    faces = set()
    for frame, shown in zip(truth["frames"], player.frames, strict=True):
        mesh = shown.truth
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
    expected = np.clip(player.frames[0].errors[1] / FAR, 0, 1) * 255
    np.testing.assert_allclose(codes, expected, atol=0.51)
    for track in data["tracks"]:
        for frame in filter(None, track["frames"]):
            assert all(part["offset"] % 4 == 0 for part in frame.values())


def test_panes_hold_every_body_from_all_around_and_ignore_fragments(tmp_path, ball, walking):
    def view(mesh: Mesh) -> dict:
        clip = clip_of([BLANK], truth=true(mesh), found=[(None, None)])
        return data_of(written(tmp_path, clip))[0]["view"]

    slim = view(walking)
    inside = np.abs(walking.vertices[:, 1] - slim["centre"]) < slim["y"]
    assert (inside & (np.hypot(*walking.vertices.T[::2]) < slim["x"])).mean() > 0.99
    assert slim["x"] < slim["y"] < 1.28  # upright, as the body is
    body = ball(0.5)
    fragment = np.float32([[1.2, -1.2, 1.2], [1.2, -1.19, 1.2], [1.19, -1.2, 1.2]])
    both = Mesh(np.concatenate([body.vertices, fragment]), body.faces)
    assert view(both) == pytest.approx(view(body), abs=0.02)


def test_the_viewer_is_built_from_the_current_source():
    source = hashlib.sha256((WEB / "viewer.js").read_bytes()).hexdigest()
    built = (WEB / "viewer.min.js").read_text()
    assert source in built[:200], "run tools/viewer/build.sh"
    assert "Three.js Authors" in built  # its licence asks for that


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on PATH")
# WebGL without a GPU.
FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path, player):
    """Opens the page of `player` as a file, in a window of the given width; fails on any error
    message or request. Nothing moves by itself unless `motion` is "no-preference"."""
    pages, complaints, requests = [], [], []

    def open_page(width: int = 1200, player: Player = player, motion: str = "reduce"):
        written(tmp_path, player, Table(["a"] * 12, [["a long cell of a wide table"] * 12]))
        page = chromium.new_page(viewport={"width": width, "height": 900}, reduced_motion=motion)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "index.html").as_uri())
        page.add_style_tag(content=FLAT)
        page.wait_for_selector("section.player[data-state]")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)


def panes(page, which: str = ".track") -> list[np.ndarray]:
    """Image of each pane, (h, w, 3)."""
    stage = page.locator(".stage")
    picture = np.array(Image.open(io.BytesIO(stage.screenshot())).convert("RGB")).astype(int)
    corner = stage.bounding_box()
    boxes = [pane.bounding_box() for pane in page.locator(which).all()]
    height, width = int(boxes[0]["height"]), int(boxes[0]["width"])
    tops = [round(box["y"] - corner["y"]) for box in boxes]
    lefts = [round(box["x"] - corner["x"]) for box in boxes]
    return [
        picture[y : y + height, x : x + width][1:-1, 1:-1] for y, x in zip(tops, lefts, strict=True)
    ]


# Panes have one background colour in tests; pixels that differ from the corner are the body.
FLAT = ".pane { background: #30a030 !important; border-radius: 0 !important }"


def silhouette(picture: np.ndarray) -> np.ndarray:
    return np.abs(picture - picture[2, 2]).max(axis=-1) > 12


def body_share(picture: np.ndarray) -> float:
    return float(silhouette(picture).mean())


def differ(one: list[np.ndarray], other: list[np.ndarray]) -> list[bool]:
    return [
        bool((np.abs(a - b).max(axis=-1) > 12).mean() > 0.002)
        for a, b in zip(one, other, strict=True)
    ]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of the bodies in two panes."""
    a, b = silhouette(one), silhouette(other)
    return float((a & b).sum() / (a | b).sum())


def centre(page, pane: int) -> tuple[float, float]:
    box = page.locator(".pane").nth(pane).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, pane: int, right: float, down: float) -> None:
    x, y = centre(page, pane)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right / 2, y + down / 2)
    page.mouse.move(x + right, y + down)
    page.mouse.up()


def wheel(page, pane: int, down: float) -> None:
    page.mouse.move(*centre(page, pane))
    page.mouse.wheel(0, down)
    page.wait_for_timeout(150)  # the browser may delay the wheel event


@needs_browser
def test_the_player_shows_every_track_and_the_slider_moves_them(opened, player, tmp_path):
    page = opened()
    assert page.get_attribute("section.player", "data-state") == "ready"
    first = panes(page)
    view = data_of((tmp_path / "index.html").read_text())[0]["view"]
    ball_share = np.pi * 0.5**2 / (4 * view["x"] * view["y"])
    assert body_share(first[0]) > 0.05
    assert body_share(first[1]) == pytest.approx(ball_share, rel=0.03)
    page.locator("input[type=range]").fill("1")
    second = panes(page)
    assert differ(first, second) == [True, True, True]
    assert body_share(second[1]) < 0.05  # nothing was predicted, and the pane shows a message
    assert page.get_attribute("section.player", "data-frame") == "1"
    assert page.locator(".frame").inner_text() == "frame 1"


@needs_browser
def test_input_and_truth_cover_each_other_at_any_zoom(opened, walking):
    yaw = 35.0
    pixels = render(walking, calibration(yaw, 2.56)[None], 512, "embree")[0]
    page = opened(player=clip_of([pixels], yaw, truth=true(walking)))
    seen, body = panes(page, ".pane")
    assert overlap(seen, body) > 0.95
    assert overlap(seen, seen[:, ::-1]) < 0.8  # so a mirrored or otherwise turned one would not
    wheel_page = page.evaluate("scrollY")
    page.keyboard.down("Control")
    wheel(page, 1, -200)
    page.keyboard.up("Control")
    page.keyboard.down("Shift")
    drag(page, 0, 30, -40)
    page.keyboard.up("Shift")
    near = panes(page, ".pane")
    assert body_share(near[1]) > 1.5 * body_share(body)
    assert overlap(*near) > 0.95
    assert page.evaluate("scrollY") == wheel_page
    wheel(page, 1, 60)
    assert page.evaluate("scrollY") > wheel_page  # without Ctrl, the wheel scrolls the page


@needs_browser
def test_errors_are_coloured_as_in_the_legend(opened, ball, walking):
    sphere = ball(0.5)
    errors = [np.full(len(sphere.vertices), far, np.float32) for far in (0.0125, 0.03)]
    near, far = ([(sphere, own)] for own in errors)
    page = opened(player=clip_of([BLANK], truth=true(walking), near=near, far=far))
    grey = panes(page)
    page.check(".by-error")
    coloured = panes(page)
    assert differ(grey, coloured) == [False, True, True]
    scale = matplotlib.colormaps[COLOURS]
    for own, picture in zip(errors, coloured[1:], strict=True):
        height, width = picture.shape[:2]
        middle = picture[height // 2 - 5 : height // 2 + 5, width // 2 - 5 : width // 2 + 5]
        colour = middle.mean(axis=(0, 1)) / 255
        np.testing.assert_allclose(colour, scale(own[0] / FAR)[:3], atol=0.06)


@needs_browser
def test_one_camera_turns_all(opened):
    page = opened()
    before = panes(page, ".pane")
    drag(page, 2, 80, 10)
    assert differ(before, panes(page, ".pane"))[:2] == [False, True]  # a picture cannot turn
    page.get_by_role("button", name="Input").click()
    assert not any(differ(before, panes(page, ".pane")))
    drag(page, 0, 80, 10)
    assert differ(before, panes(page, ".pane"))[1]
    page.focus("section.player")
    page.keyboard.press("0")
    assert not any(differ(before, panes(page, ".pane")))
    page.get_by_role("button", name="Zoom in").click()
    assert all(differ(before, panes(page, ".pane"))[1:])


@needs_browser
def test_a_body_dragged_to_the_right_turns_to_the_right(opened, walking):
    yaw = 20.0
    page = opened(player=clip_of([BLANK], yaw, truth=true(walking)))
    width = page.locator(".track").bounding_box()["width"]
    drag(page, 1, width / 4, 0)  # half a turn across a pane: 45 degrees
    (turned_body,) = panes(page)
    pixels = render(walking, calibration(yaw + 45, 2.56)[None], 512, "embree")[0]
    other = opened(player=clip_of([pixels], yaw, truth=true(walking)))
    assert overlap(panes(other, ".input")[0], turned_body) > 0.95


@needs_browser
def test_two_fingers_zoom_all_panes(opened):
    page = opened()
    before = panes(page)
    x, y = centre(page, 2)
    touch = page.context.new_cdp_session(page)
    for kind, reach in (("touchStart", 20), ("touchMove", 30), ("touchMove", 40)):
        fingers = [{"x": x - reach, "y": y, "id": 0}, {"x": x + reach, "y": y, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    first, second = (
        [body_share(shown[pane]) for pane in (0, 1)] for shown in (before, panes(page))
    )
    assert np.array(second) == pytest.approx(2.5 * np.array(first), rel=0.35)  # 4 if uncropped


@needs_browser
def test_keys_step_and_play_and_turn(opened):
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
    before = panes(page)
    page.keyboard.press("Shift+ArrowRight")
    assert page.get_attribute("section.player", "data-frame") == str(FRAMES - 1)
    assert differ(before, panes(page))[0]


@needs_browser
def test_every_control_is_reached_by_tab_and_has_a_name(opened):
    page = opened()
    names = []
    for _ in range(20):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "[document.activeElement.ariaLabel, document.activeElement.labels?.[0]?.innerText,"
                " document.activeElement.innerText].find(Boolean)?.trim()"
            )
        )
    wanted = ["03_walk & more", "Play", "Frame", "Speed, frames a second", "Input", "Front"]
    wanted += ["Side", "Back", "Zoom out", "Zoom in", "colour by error", "Mouse, touch and keys"]
    start = names.index(wanted[0])
    assert names[start : start + len(wanted)] == wanted


@needs_browser
def test_it_plays_when_visible_unless_the_user_prefers_reduced_motion(opened):
    page = opened(motion="no-preference")
    page.wait_for_selector("section.player[data-frame='2']")
    page.get_by_role("button", name="Pause").click()
    still = opened()
    still.wait_for_timeout(400)  # more than two frames
    assert still.get_attribute("section.player", "data-frame") == "0"
    assert still.locator(".play").inner_text() == "Play"


@needs_browser
def test_a_narrow_screen_does_not_scroll_sideways(opened):
    page = opened(width=360)
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    tops = [pane.bounding_box()["y"] for pane in page.locator(".track").all()]
    assert tops[0] < tops[1] == tops[2]  # the input and the truth, then both models
    assert body_share(panes(page)[0]) > 0.05


@needs_browser
@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("HTMLCanvasElement.prototype.getContext = () => null", "WebGL 2 is missing"),
        ("delete window.DecompressionStream", "too old to unpack"),
    ],
)
def test_an_unsupported_browser_shows_the_reason(chromium, tmp_path, player, missing, reason):
    written(tmp_path, player)
    page = chromium.new_page()
    page.add_init_script(missing)
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector("section.player[data-state=failed]")
    assert reason in page.locator(".trouble").inner_text()
    assert not page.locator(".stage").is_visible()
    page.close()
