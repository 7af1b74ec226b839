"""Draw docs/conventions.png (axes, camera, pixels, a neighbourhood) and docs/lights.png (one body
under several lights) with the project's own code.

python tools/draw_conventions.py
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

from tpifu.body.body import embedded_body
from tpifu.geometry.camera import calibration, ndc_to_pixel, project
from tpifu.geometry.mesh import Mesh
from tpifu.prepare.meshes import centred_meshes
from tpifu.render.light import image_light
from tpifu.render.occlusion import openness
from tpifu.render.render import render, shade
from tpifu.sources.synthetic.beats import Style
from tpifu.sources.synthetic.motion import make_motion

matplotlib.use("Agg")


WINDOW, SIZE = 2.56, 256
DOCS = Path(__file__).parent.parent / "docs"
ENVIRONMENTS = 6
RAYS = 32


def main() -> None:
    rng = np.random.default_rng(7)
    motion = make_motion("walk", 41, Style.draw(rng), rng)
    betas = np.zeros(10, np.float32)
    frames = list(centred_meshes(embedded_body("male"), motion.pose[::5][2:5], betas))
    yaws = (0.0, 90.0)
    calibs = np.stack([calibration(yaw, WINDOW) for yaw in yaws])

    figure, panels = plt.subplots(1, 5, figsize=(17, 4), dpi=100)
    for panel, yaw, calib, picture in zip(
        panels, yaws, calibs, render(frames[1], calibs, SIZE, "embree"), strict=False
    ):
        panel.imshow(
            np.where(picture[..., 1] > 0, picture[..., 0], 235), cmap="gray", vmin=0, vmax=255
        )
        _axes(panel, calib)
        panel.set_title(f"yaw {yaw:g}, axes of 0.5 m")
        panel.set_xlabel("u = (x + 1) / 2 W")
        panel.set_ylabel("v = (1 - y) / 2 H")
    for panel, name, mesh in zip(panels[2:], ("t-1", "t", "t+1"), frames, strict=True):
        (picture,) = render(mesh, calibs[:1], SIZE, "embree")
        panel.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=255)
        panel.set_title(f"neighborhood 3: {name}" + (" (reconstructed)" if name == "t" else ""))
        panel.set_xticks([])
        panel.set_yticks([])
    figure.tight_layout()
    out = DOCS / "conventions.png"
    figure.savefig(out, metadata={"Software": None})
    print(out)
    print(draw_lights(frames[1], DOCS / "lights.png"))


def draw_lights(mesh: Mesh, out: Path) -> Path:
    """A sheet of grey images with one column per light: camera, fixed, then random environments.
    Only the lower row has occlusion."""
    lights = [image_light(kind, 0, "sheet", 0, 0) for kind in ("camera", "fixed")]
    lights += [image_light("environment", 0, "sheet", frame, 0) for frame in range(ENVIRONMENTS)]
    calibs = np.stack([calibration(20.0, 1.9)] * len(lights))
    values = shade(mesh, calibs, lights)
    rows = []
    for occlusion in (1.0, openness(mesh, RAYS)):
        pictures = render(mesh, calibs, SIZE, "embree", values * occlusion)[..., 0]
        narrow = pictures[:, :, SIZE // 4 : -SIZE // 4]  # crop the empty sides
        rows.append(np.concatenate(list(narrow), axis=1))
    Image.fromarray(np.concatenate(rows)).save(out, optimize=True)
    return out


def _axes(panel: plt.Axes, calib: np.ndarray) -> None:
    ends = ndc_to_pixel(project(calib, np.vstack([np.zeros(3), np.eye(3) * 0.5])), SIZE, SIZE)
    colours = ("tab:red", "tab:green", "tab:blue")
    for end, colour, name in zip(
        ends[1:], colours, ("x (left)", "y (up)", "z (front)"), strict=True
    ):
        if np.linalg.norm(end - ends[0]) < 2:  # points towards the viewer or away
            panel.plot(*ends[0], "o", color=colour, markersize=9, label=f"{name}: along the view")
        else:
            panel.annotate(
                "", end, ends[0], arrowprops={"arrowstyle": "->", "color": colour, "lw": 2}
            )
            panel.plot([], [], color=colour, label=name)
    panel.legend(loc="upper left", fontsize=7)


if __name__ == "__main__":
    main()
