"""Which backend draws: OpenGL by pyrender, or Embree."""

import functools
import os
import subprocess
import sys
from typing import Literal

from tpifu.errors import ConfigError

Backend = Literal["pyrender", "embree"]

_APT = "apt-get install libegl1 libgl1"


def choose_backend(requested: Literal["auto", "pyrender", "embree"]) -> Backend:
    """What `requested` means here: auto is Pyrender where OpenGL has a GPU, else Embree, the faster
    one on a CPU (benchmarks/render.py).

    Raises ConfigError if Pyrender is asked for by name and cannot draw.
    """
    if requested == "embree":
        return "embree"
    drawer = _opengl()
    if requested == "auto":
        on_cpu = drawer is None or any(name in drawer.lower() for name in _CPU_DRAWERS)
        return "embree" if on_cpu else "pyrender"
    if drawer is None:
        raise ConfigError(
            "render.backend is pyrender, but no OpenGL/EGL context can be created here: "
            f"{_APT}, or set render.backend=embree"
        )
    return "pyrender"


_CPU_DRAWERS = ("llvmpipe", "softpipe", "swiftshader", "swrast", "software")


def explain(requested: Literal["auto", "pyrender", "embree"], chosen: Backend) -> str | None:
    """The line to print about a choice the user did not make; None if there is nothing to say."""
    if requested != "auto" or chosen != "embree":
        return None
    drawer = _opengl()
    reason = f"OpenGL has no GPU here ({drawer})" if drawer else "no usable OpenGL/EGL was found"
    return f"Embree renders: {reason}"


@functools.cache
def _opengl() -> str | None:
    """Who draws for OpenGL here; None if nobody can."""
    # Asked in another process: a failed or crashed start of EGL leaves PyOpenGL unusable for good.
    probe = (
        "import pyrender; pyrender.OffscreenRenderer(8, 8); "
        "from OpenGL.GL import GL_RENDERER, glGetString; print(glGetString(GL_RENDERER).decode())"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe],
            env=opengl_platform() | os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() or "unknown" if done.returncode == 0 else None


def opengl_platform() -> dict[str, str]:
    # EGL needs no display and works beside one; Pyrender itself would open a window.
    return {"PYOPENGL_PLATFORM": "egl"} if sys.platform == "linux" else {}
