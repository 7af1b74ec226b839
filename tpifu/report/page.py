"""A report as one HTML file that opens offline: text, tables, pictures, and a player that shows
meshes of a clip side by side in 3D.

Everything is inside the file: styles, pictures, meshes, and the player's script (web/, built with
three.js). Equal content gives equal bytes.
"""

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from jinja2 import Environment
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from PIL import Image

from tpifu.files import write_text
from tpifu.geometry.mesh import Mesh
from tpifu.pictures.figures import Pictured
from tpifu.pictures.tiles import COLOURS, FAR
from tpifu.shards.coding import png

SLIMMEST = 0.62
"""Minimum width of a pane, relative to its height."""


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    path: Path
    """PNG."""
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Player:
    """A clip in one view. Vertices outside the input's box are moved onto its walls."""

    names: Sequence[str]
    """Names of the meshes of each frame."""
    frames: Sequence[Pictured]


Item = str | Table | Picture | Player
"""A string is a paragraph."""


def write_page(path: Path, title: str, lead: str, sections: Mapping[str, Sequence[Item]]) -> None:
    """Write the page atomically; `sections` maps headings to contents."""
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _web("page.html")
    )
    moving = any(isinstance(item, Player) for body in sections.values() for item in body)
    text = template.render(
        title=title,
        lead=lead,
        style=Markup(_web("page.css")),
        script=Markup(_web("viewer.min.js")) if moving else "",
        sections={
            heading: [(type(item).__name__, _filled(item)) for item in body]
            for heading, body in sections.items()
        },
    )
    write_text(path, text + "\n")


def _web(name: str) -> str:
    return (resources.files("tpifu.report") / "web" / name).read_text(encoding="utf-8")


def _filled(item: Item) -> Any:
    """An item in the form that the template expects."""
    match item:
        case Picture():
            with Image.open(item.path) as image:
                width, height = image.size
            source = _png_uri(item.path.read_bytes())
            return {**vars(item), "source": source, "width": width, "height": height}
        case Player():
            return _player(item)
        case _:
            return item


def _png_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _player(player: Player) -> dict[str, Any]:
    frames = player.frames
    yaw, half = frames[0].yaw, frames[0].window / 2
    view = _view([mesh for item in frames for mesh in item.meshes if mesh is not None], half)
    packed = _Packed(half)
    tracks = [
        {"frames": [packed.add(item.meshes[track], item.errors[track]) for item in frames]}
        for track in range(len(player.names))
    ]
    scale = (matplotlib.colormaps[COLOURS](np.arange(256))[:, :3] * 255).round().astype(int)
    data = {
        "labels": [f"frame {item.frame}" for item in frames],
        "inputs": [_png_uri(png(item.pixels)) for item in frames],
        "tracks": tracks,
        "yaw": yaw,
        "half": half,
        "view": view,
        "scale": scale.tolist(),
        "binary": packed.text(),
    }
    stops = [f"rgb({','.join(map(str, scale[at]))})" for at in range(0, 256, 15)]
    return {
        "title": frames[0].clip,
        "names": player.names,
        "shape": f"{view['x']} / {view['y']}",
        "last": len(frames) - 1,
        "stops": ", ".join(stops),
        "far": f"{100 * FAR:g}",
        "turns": {"Input": yaw, "Front": 0, "Side": 90, "Back": 180},
        "data": htmlsafe_json_dumps(data, separators=(",", ":")),
    }


def _view(meshes: Sequence[Mesh], half: float) -> dict[str, float]:
    """Half the width and height of a pane and the height of its centre, metres.

    The pane is upright or square and shows the bodies of all frames from every side. A few vertices
    may lie outside: otherwise a fragment in a corner of the box would make the bodies small.
    """
    bodies = [np.clip(mesh.vertices, -half, half) for mesh in meshes]
    low, high = np.array([np.quantile(body[:, 1], [0.002, 0.998]) for body in bodies]).T
    radius = max(np.quantile(np.hypot(body[:, 0], body[:, 2]), 0.998) for body in bodies)
    x, y = 1.1 * radius, 1.1 * (high.max() - low.min()) / 2
    x, y = max(x, SLIMMEST * y), max(y, x)
    view = {"x": x, "y": y, "centre": (high.max() + low.min()) / 2}
    return {name: round(float(value), 3) for name, value in view.items()}


class _Packed:
    """Concatenated arrays of meshes: 16-bit coordinates over the box, faces, 8-bit errors. Equal
    arrays, such as the faces of a body in all its poses, are stored once."""

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
        codes = np.rint((inside + 1) / 2 * 65535).astype("<u2")
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
            self._parts.append(data + bytes(-len(data) % 4))  # typed arrays start at multiples of 4
            self._size += len(self._parts[-1])
        return {"offset": self._known[data], "count": array.size}
