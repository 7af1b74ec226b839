"""Load mesh files from other programs as closed meshes."""

from pathlib import Path

import numpy as np

from tpifu.errors import DataError
from tpifu.geometry.import_mesh.gltf import read_gltf
from tpifu.geometry.import_mesh.ply import read_ply
from tpifu.geometry.import_mesh.polygons import Surface, read_obj, read_off, read_stl
from tpifu.geometry.import_mesh.solid import centre_of_mass, closed_surface
from tpifu.geometry.mesh import Mesh

READERS = {
    **{".glb": read_gltf, ".gltf": read_gltf, ".obj": read_obj},
    **{".off": read_off, ".ply": read_ply, ".stl": read_stl},
}
SUFFIXES = tuple(READERS)


def load_mesh(path: Path, *, scale: float = 1.0, centred: bool = True, up: str = "y") -> Mesh:
    """Read a closed mesh; the result is in metres, y up.

    `scale`: metres per file unit. `up`: the file's up axis, y or z. `centred`
    moves the centre of mass to the origin. Raises DataError if the file is missing or unreadable,
    uses an unsupported feature, or does not contain a closed surface.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such mesh file")
    try:
        vertices, faces = closed_surface(*_read(path))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if up == "z":
        vertices = vertices[:, [0, 2, 1]] * [1, 1, -1]
    if centred:
        vertices = vertices - centre_of_mass(vertices, faces)
    return Mesh((vertices * scale).astype(np.float32), faces.astype(np.int32))


def _read(path: Path) -> Surface:
    """Vertices and triangles as the file stores them."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(SUFFIXES)
        raise DataError(f"unknown mesh format '{path.suffix}'; export one of {known}")
    try:
        return reader(path)
    except DataError:
        raise
    except Exception as error:  # broken files raise many types
        raise DataError(f"cannot read this mesh ({' '.join(str(error).split())})") from error
