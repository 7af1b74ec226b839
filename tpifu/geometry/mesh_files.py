"""Mesh files: read, checked, written."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tpifu.errors import DataError
from tpifu.files import whole_file
from tpifu.geometry.mesh import Mesh, watertight_fault

if TYPE_CHECKING:
    pass


def load_mesh(path: Path, *, scale: float = 1.0, centred: bool = True) -> Mesh:
    """Read any mesh file trimesh knows, multiply by `scale` (metres per unit) and, if `centred`,
    put the centre of mass at 0.

    Raises DataError if the file is missing, unreadable, or its surface does not bound a volume.
    """
    import trimesh

    if not path.is_file():
        raise DataError(f"{path}: no such mesh file")
    try:
        # Merge what the file format split (STL has no shared vertices; OBJ splits at texture
        # seams).
        loaded = trimesh.load(path, force="mesh", process=True, merge_tex=True, merge_norm=True)
    except Exception as error:  # trimesh raises whatever the parser of the format raises
        raise DataError(f"{path}: not a mesh that trimesh can read ({error})") from error
    if not isinstance(loaded, trimesh.Trimesh) or not len(loaded.faces):
        raise DataError(f"{path}: holds no triangles")
    faces = np.asarray(loaded.faces, dtype=np.int64)
    if fault := watertight_fault(faces):
        raise DataError(
            f"{path}: not watertight: {fault}; inside and outside are undefined. "
            "Close it (Blender: 3D-Print Toolbox, Make Manifold) and try again"
        )
    if loaded.volume < 0:  # wound inside out as a whole: turning it is safe and unambiguous
        faces = faces[:, ::-1]
    origin = loaded.center_mass if centred else 0
    vertices = (np.asarray(loaded.vertices) - origin) * scale
    return Mesh(vertices=vertices.astype(np.float32), faces=faces.astype(np.int32))


SUFFIXES = (".glb", ".obj", ".ply", ".stl")


def save_mesh(mesh: Mesh, path: Path) -> None:
    """Write a .glb, .obj, .ply or .stl file, whole or not at all; equal meshes give equal bytes."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: cannot tell the mesh format from the suffix '{suffix}': "
            f"use {', '.join(SUFFIXES)}"
        )
    with whole_file(path) as part:
        mesh.trimesh().export(part, file_type=suffix[1:])


def read_mesh(path: Path) -> Mesh:
    """A mesh as `save_mesh` wrote it, nothing merged or reordered. Raises DataError if it cannot be
    read."""
    import trimesh

    try:
        loaded = trimesh.load_mesh(path, process=False)
    except Exception as error:  # trimesh raises whatever the parser of the format raises
        raise DataError(f"{path}: not a mesh that can be read ({error})") from error
    return Mesh(np.asarray(loaded.vertices, np.float32), np.asarray(loaded.faces, np.int32))
