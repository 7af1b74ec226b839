"""Choose the renderer: OpenGL through Pyrender, or Embree."""

import functools
import os
import subprocess
import sys
from typing import Literal

from tpifu.errors import ConfigError

Backend = Literal["pyrender", "embree"]

if sys.platform == "linux":
    # EGL needs no display; Pyrender's default opens a window. PyOpenGL reads this on import.
    os.environ.setdefault("PYOPENGL_PLATFORM", "egl")

_SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swiftshader", "swrast", "software")


def choose_backend(
    requested: Literal["auto", "pyrender", "embree"],
) -> tuple[Backend, str | None]:
    """The backend for a setting, and for `auto` a line that explains the choice. `auto` selects
    Pyrender if OpenGL has a GPU, else Embree, which is faster on a CPU (benchmarks/render.py).

    Raises ConfigError if Pyrender is requested by name but OpenGL is unavailable.
    """
    if requested == "embree":
        return "embree", None
    renderer = opengl_renderer()
    if requested == "pyrender":
        if renderer is None:
            raise ConfigError(
                "render.backend is pyrender, but no OpenGL/EGL context can be created: "
                "apt-get install libegl1 libgl1, or set render.backend=embree"
            )
        return "pyrender", None
    if renderer is None:
        return "embree", "rendering with Embree: no usable OpenGL/EGL was found"
    if any(name in renderer.lower() for name in _SOFTWARE_RENDERERS):
        return "embree", f"rendering with Embree: OpenGL has no GPU ({renderer})"
    return "pyrender", f"rendering with OpenGL ({renderer})"


@functools.cache
def opengl_renderer() -> str | None:
    """Name of the OpenGL renderer; None if no context can be created."""
    # In a subprocess, because PyOpenGL stays unusable after EGL fails or crashes.
    probe = (
        "import pyrender; pyrender.OffscreenRenderer(8, 8); "
        "from OpenGL.GL import GL_RENDERER, glGetString; print(glGetString(GL_RENDERER).decode())"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() or "unknown" if done.returncode == 0 else None
