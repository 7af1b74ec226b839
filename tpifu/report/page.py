"""A report as one HTML file that opens offline: text, tables, pictures, and a player that shows
meshes of a clip side by side in 3D.

Everything is inside the file: styles, pictures, meshes, and the player's script (tpifu/web, built
with three.js). Equal content gives equal bytes.
"""

import base64
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from jinja2 import Environment
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from PIL import Image

from tpifu.errors import DataError
from tpifu.files import write_text
from tpifu.geometry.mesh import Mesh
from tpifu.pictures.tiles import COLOURS, FAR
from tpifu.shards.coding import png

SLIMMEST = 0.62
"""Least width of a pane, in heights."""
_STEPS = 65535


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    path: Path
    """PNG, WebP (which may move) or SVG."""
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Track:
    """One mesh per frame, shown in one pane."""

    name: str
    meshes: Sequence[Mesh | None]
    """None: nothing was predicted."""
    errors: Sequence[Float[np.ndarray, " _"] | None] | None = None
    """Metres from each vertex of each mesh to the true surface; None for the truth."""


@dataclass(frozen=True)
class Player:
    title: str
    labels: Sequence[str]
    """One per frame."""
    inputs: Sequence[UInt8[np.ndarray, "_ _ _"]]
    """What the network saw of each frame: (grey, mask) or (r, g, b, mask)."""
    tracks: Sequence[Track]
    yaw: float
    """Degrees: the view of the inputs, from which the meshes are seen first."""
    half: float
    """Half the box that the inputs show, metres; what lies beyond in x, y or z is moved onto it."""


@dataclass(frozen=True)
class Section:
    title: str
    body: Sequence[str | Table | Picture | Player]
    """A string is a paragraph."""


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Write the page, whole. Raises DataError for a picture that cannot be read."""
    items = [item for section in sections for item in section.body]
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _web("page.html")
    )
    text = template.render(
        title=title,
        lead=lead,
        style=Markup(_web("page.css")),
        script=Markup(_web("viewer.min.js")) if any(type(i) is Player for i in items) else "",
        sections=[
            {
                "title": section.title,
                "body": [(type(item).__name__, _filled(item)) for item in section.body],
            }
            for section in sections
        ],
    )
    write_text(path, text + "\n")


def _web(name: str) -> str:
    return (resources.files("tpifu.report") / "web" / name).read_text(encoding="utf-8")


def _filled(item: str | Table | Picture | Player) -> Any:
    """An item as the template takes it."""
    match item:
        case Picture():
            return _picture(item)
        case Player():
            return _player(item)
        case _:
            return item


def _picture(picture: Picture) -> dict[str, Any]:
    try:
        data = picture.path.read_bytes()
        kind, width, height = (_vector if picture.path.suffix == ".svg" else _raster)(data)
    except (OSError, ValueError) as error:
        raise DataError(f"{picture.path}: not a picture that can be shown ({error})") from error
    return {
        "source": _data_uri(kind, data),
        "alt": picture.alt,
        "caption": picture.caption,
        "width": width,
        "height": height,
    }


def _raster(data: bytes) -> tuple[str, int, int]:
    """Media type, width and height in pixels."""
    with Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]) as image:
        return Image.MIME[str(image.format)], *image.size


def _vector(data: bytes) -> tuple[str, int, int]:
    """Media type, width and height of the view box."""
    try:
        box = ElementTree.fromstring(data).get("viewBox", "")
    except ElementTree.ParseError as error:
        raise ValueError(error) from error
    _, _, width, height = (round(float(number)) for number in box.replace(",", " ").split())
    return "image/svg+xml", width, height


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _player(player: Player) -> dict[str, Any]:
    frames = len(player.labels)
    assert len(player.inputs) == frames, "one input a frame"
    assert all(len(track.meshes) == frames for track in player.tracks), "one mesh a frame"
    view = _view(player)
    packed = _Packed(player.half)
    tracks = []
    for track in player.tracks:
        errors = track.errors or [None] * len(track.meshes)
        places = [packed.add(*pair) for pair in zip(track.meshes, errors, strict=True)]
        tracks.append({"frames": places})
    scale = (matplotlib.colormaps[COLOURS](np.arange(256))[:, :3] * 255).round().astype(int)
    data = {
        "labels": list(player.labels),
        "inputs": [_data_uri("image/png", png(pixels)) for pixels in player.inputs],
        "tracks": tracks,
        "yaw": player.yaw,
        "half": player.half,
        "view": view,
        "scale": scale.tolist(),
        "binary": packed.text(),
    }
    stops = [f"rgb({','.join(map(str, scale[at]))})" for at in range(0, 256, 15)]
    return {
        "title": player.title,
        "names": [track.name for track in player.tracks],
        "shape": f"{view['x']} / {view['y']}",
        "last": frames - 1,
        "stops": ", ".join(stops) if any(track.errors for track in player.tracks) else "",
        "far": f"{100 * FAR:g}",
        "turns": {"Input": player.yaw, "Front": 0, "Side": 90, "Back": 180},
        "data": htmlsafe_json_dumps(data, separators=(",", ":")),
    }


def _view(player: Player) -> dict[str, float]:
    """Half the width and height of a pane and the height of its centre, metres: what shows the
    bodies of all frames from all around, upright or square.

    A few vertices may lie outside, or a crumb that a network left in a corner of the box would make
    the bodies small.
    """
    found = [mesh.vertices for track in player.tracks for mesh in track.meshes if mesh is not None]
    bodies = [np.clip(vertices, -player.half, player.half) for vertices in found if len(vertices)]
    if not bodies:
        return {"x": player.half, "y": player.half, "centre": 0.0}
    low, high = np.array([np.quantile(body[:, 1], [0.002, 0.998]) for body in bodies]).T
    radius = max(np.quantile(np.hypot(body[:, 0], body[:, 2]), 0.998) for body in bodies)
    x, y = 1.1 * radius, 1.1 * (high.max() - low.min()) / 2
    x, y = max(x, SLIMMEST * y), max(y, x)
    view = {"x": x, "y": y, "centre": (high.max() + low.min()) / 2}
    return {name: round(float(value), 3) for name, value in view.items()}


class _Packed:
    """Arrays of meshes end to end: 16-bit coordinates over the box, faces, 8-bit errors. Arrays
    that are equal, as the faces of a body in all its poses, are stored once."""

    def __init__(self, half: float) -> None:
        self._half = half
        self._parts: list[bytes] = []
        self._known: dict[bytes, int] = {}
        self._size = 0

    def add(self, mesh: Mesh | None, errors: Float[np.ndarray, " _"] | None) -> Any:
        """Location of a mesh for the player; None if there is no mesh."""
        if mesh is None:
            return None
        inside = np.clip(mesh.vertices / self._half, -1, 1)
        codes = np.rint((inside + 1) / 2 * _STEPS).astype("<u2")
        found = {
            "vertices": self._place(codes),
            "faces": self._place(mesh.faces.astype("<u4")),
        }
        if errors is not None:
            far = np.clip(errors / FAR, 0, 1)
            found["errors"] = self._place(np.rint(255 * far).astype(np.uint8))
        return found

    def text(self) -> str:
        packed = gzip.compress(b"".join(self._parts), mtime=0)
        return base64.b64encode(packed).decode()

    def _place(self, array: np.ndarray) -> dict[str, int]:
        data = array.tobytes()
        if data not in self._known:
            self._known[data] = self._size
            self._parts.append(data + bytes(-len(data) % 4))  # typed arrays begin at multiples of 4
            self._size += len(self._parts[-1])
        return {"offset": self._known[data], "count": array.size}
