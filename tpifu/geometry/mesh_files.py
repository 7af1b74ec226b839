"""Mesh files that this project writes; `import_mesh` reads those from other programs."""

from pathlib import Path
from typing import Any

import numpy as np

from tpifu.errors import DataError
from tpifu.files import whole_file
from tpifu.geometry.mesh import Mesh

SUFFIXES = (".glb", ".obj", ".ply", ".stl")
"""Formats that `save_mesh` writes."""


def read_mesh(path: Path) -> Mesh:
    """Read a mesh written by `save_mesh`, with nothing merged or reordered. Raises DataError if the
    file is missing or unreadable."""
    import trimesh

    if not path.is_file():
        raise DataError(f"{path}: no such mesh file")
    try:
        with np.errstate(all="ignore"):
            loaded = trimesh.load_mesh(path, process=False)
            mesh = Mesh(np.asarray(loaded.vertices, np.float32), np.asarray(loaded.faces, np.int32))
    except Exception as error:  # each format's parser raises its own types
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: trimesh cannot read this mesh ({reason})") from error
    if not np.isfinite(mesh.vertices).all():
        raise DataError(f"{path}: has vertices that are not finite")
    return mesh


def save_mesh(mesh: Mesh, path: Path) -> None:
    """Write a .glb, .obj, .ply or .stl file atomically; equal meshes give equal bytes."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown mesh format '{suffix}'; use {', '.join(SUFFIXES)}")
    content: Any = mesh.trimesh().export(file_type=suffix[1:])
    with whole_file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
