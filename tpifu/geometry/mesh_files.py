"""Mesh files: reading, checking, writing."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tpifu.errors import DataError
from tpifu.files import whole_file
from tpifu.geometry.mesh import Mesh, watertight_error

if TYPE_CHECKING:
    import trimesh

SUFFIXES = (".glb", ".obj", ".ply", ".stl")
"""Formats that `save_mesh` writes."""


def load_mesh(path: Path, *, scale: float = 1.0, centred: bool = True) -> Mesh:
    """Read a closed mesh in any format trimesh reads, in metres; `scale` is metres per file unit.

    `centred` moves the centre of mass to the origin. Raises DataError if the file is missing or
    unreadable, or if its surface is not watertight.
    """
    # Merging restores vertices that the format splits: all of them in STL, texture seams in OBJ.
    loaded = _load(path, process=True, merge_tex=True, merge_norm=True)
    if not len(loaded.faces):
        raise DataError(f"{path}: contains no triangles")
    faces = np.asarray(loaded.faces, dtype=np.int64)
    if error := watertight_error(faces):
        raise DataError(
            f"{path}: not watertight: {error}; inside and outside are undefined. "
            "Close the mesh (Blender: 3D-Print Toolbox, Make Manifold) and try again"
        )
    if loaded.volume < 0:  # the whole mesh is inside out: flipping it is unambiguous
        faces = faces[:, ::-1]
    origin = loaded.center_mass if centred else 0
    vertices = (np.asarray(loaded.vertices) - origin) * scale
    return Mesh(vertices=vertices.astype(np.float32), faces=faces.astype(np.int32))


def read_mesh(path: Path) -> Mesh:
    """Read a mesh that `save_mesh` wrote, nothing merged or reordered. Raises DataError if the file
    is missing or unreadable."""
    loaded = _load(path, process=False)
    return Mesh(np.asarray(loaded.vertices, np.float32), np.asarray(loaded.faces, np.int32))


def _load(path: Path, **options: bool) -> "trimesh.Trimesh":
    import trimesh

    if not path.is_file():
        raise DataError(f"{path}: no such mesh file")
    try:
        return trimesh.load_mesh(path, **options)
    except Exception as error:  # each format's parser raises its own kinds
        raise DataError(f"{path}: trimesh cannot read this mesh ({error})") from error


def save_mesh(mesh: Mesh, path: Path) -> None:
    """Write a .glb, .obj, .ply or .stl file atomically; equal meshes give equal bytes."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown mesh format '{suffix}'; use {', '.join(SUFFIXES)}")
    with whole_file(path) as part:
        mesh.trimesh().export(part, file_type=suffix[1:])
