"""Draw docs/pictures.png: pictures that suit `tpifu reconstruct`, and pictures that it warns about.

python tools/draw_pictures.py
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from tpifu.body.body import embedded_body
from tpifu.geometry.camera import calibration
from tpifu.geometry.mesh import Mesh
from tpifu.pictures.figures import sheet
from tpifu.prepare.meshes import centred_meshes
from tpifu.render.render import render

WINDOW, SIZE = 2.56, 200
SHOULDERS = (16, 17)
"""SMPL joints."""
TRANSPARENT = (176, 196, 222)
"""Colour of transparent pixels in the sheet."""


def main() -> None:
    tiles = []
    for pixels in pictures().values():
        alpha = pixels[..., 3:] / 255
        tiles.append((pixels[..., :3] * alpha + TRANSPARENT * (1 - alpha)).astype(np.uint8))
    out = Path(__file__).parent.parent / "docs" / "pictures.png"
    sheet([tiles], list(pictures()), [""], size=SIZE, left=0).save(out, optimize=True)
    print(out)


def pictures() -> dict[str, UInt8[np.ndarray, "h w 4"]]:
    """(r, g, b, mask) pixels by title: two that suit a model, then others."""
    pose = np.zeros((1, 24, 3), np.float32)
    pose[:, SHOULDERS, 2] = -0.9, 0.9
    (body,) = centred_meshes(embedded_body("male"), pose.reshape(1, 72), np.zeros(10, np.float32))
    front = _picture(body)
    inverted = front.copy()
    inverted[..., 3] = 255 - front[..., 3]
    return {
        "good": front,
        "good: from any side": _picture(body, yaw=60.0),
        "too small": _picture(body, scale=0.4),
        "cut off": _picture(body, scale=1.3, up=-0.6),
        "too dark": (front * [0.3, 0.3, 0.3, 1]).astype(np.uint8),
        "mask inverted": inverted,
    }


def _picture(
    body: Mesh, *, yaw: float = 0.0, scale: float = 1.0, up: float = 0.0
) -> UInt8[np.ndarray, "h w 4"]:
    moved = Mesh((scale * body.vertices + [0, up, 0]).astype(np.float32), body.faces)
    (view,) = render(moved, calibration(yaw, WINDOW)[None], SIZE, "embree")
    return view[..., [0, 0, 0, 1]]


if __name__ == "__main__":
    main()
