"""Reader for PLY files: ASCII or binary, in either byte order."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from tpifu.errors import DataError
from tpifu.geometry.import_mesh.polygons import Surface, surface

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
"""NumPy's codes for PLY's types."""
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}

Properties = dict[str, list[str]]
"""Type of each property; a list has two types, the first for its length."""
Rows = list[list[float]]


def read_ply(path: Path) -> Surface:
    """Vertices and faces; other elements and properties are ignored."""
    header, _, body = path.read_bytes().partition(b"end_header")
    if not header.startswith(b"ply"):
        raise ValueError("the first word is not ply")
    counts: dict[str, int] = {}
    elements: dict[str, Properties] = {}
    encoding = ""
    for line in header.decode("ascii", errors="replace").splitlines():
        match line.split():
            case ["format", encoding, _]:
                pass
            case ["element", element, count]:
                counts[element], elements[element] = int(count), {}
            case ["property", "list", length, item, name]:
                elements[element][name] = [TYPES[length], TYPES[item]]
            case ["property", item, name]:
                elements[element][name] = [TYPES[item]]
    if encoding not in ("ascii", *ORDERS):
        raise ValueError(f"unknown encoding {encoding!r}")
    if "tristrips" in elements:
        raise DataError("stores triangle strips; export triangles")
    numbers = _Numbers(body, encoding)
    rows = {element: numbers.rows(counts[element], elements[element]) for element in elements}
    vertices = np.hstack([rows["vertex"][axis] for axis in "xyz"]).tolist()
    faces = rows.get("face", {})
    polygons = faces.get("vertex_indices") or faces.get("vertex_index") or []
    return surface(vertices, [[int(index) for index in polygon] for polygon in polygons])


class _Numbers:
    """The numbers after the header, read in order."""

    def __init__(self, body: bytes, encoding: str) -> None:
        self._words = body.split() if encoding == "ascii" else None
        self._bytes = body.removeprefix(b"\r").removeprefix(b"\n")
        self._order = ORDERS.get(encoding, "")
        self._next = 0

    def rows(self, count: int, properties: Properties) -> dict[str, Rows]:
        """All rows of an element, by property."""
        start = self._next
        try:
            return self._equal_rows(count, properties)
        except ValueError:
            self._next = start
        rows: dict[str, Rows] = {name: [] for name in properties}
        for _ in range(count if properties else 0):
            for name, row in self._row(properties).items():
                rows[name].append(row)
        return rows

    def _equal_rows(self, count: int, properties: Properties) -> dict[str, Rows]:
        """All rows at once. Raises ValueError if the lists have different lengths."""
        start = self._next
        first = self._row(properties)
        self._next = start
        types: list[str] = []
        places = {}
        for name, (*length, item) in properties.items():
            types += [*length, *[item] * len(first[name])]
            places[name] = slice(len(types) - len(first[name]), len(types))
        table = self._table(count, types)
        for name, place in places.items():
            if len(properties[name]) > 1 and (table[:, place.start - 1] != len(first[name])).any():
                raise ValueError("lists of different lengths")
        return {name: table[:, place].tolist() for name, place in places.items()}

    def _row(self, properties: Properties) -> dict[str, list[float]]:
        row = {}
        for name, (*length, item) in properties.items():
            count = int(self._table(1, length)[0, 0]) if length else 1
            if count > len(self._bytes):
                raise ValueError("the file ends early")
            row[name] = self._table(1, [item] * count)[0].tolist()
        return row

    def _table(self, count: int, types: list[str]) -> Float[np.ndarray, "{count} n"]:
        if not types:
            return np.zeros((count, 0))
        if self._words is not None:
            words = self._words[self._next : self._next + count * len(types)]
            self._next += len(words)
            if len(words) < count * len(types):
                raise ValueError("the file ends early")
            return np.array(words).astype(np.float64).reshape(count, -1)
        names = [str(column) for column in range(len(types))]
        row = [(name, self._order + code) for name, code in zip(names, types, strict=True)]
        table = np.frombuffer(self._bytes, np.dtype(row), count, self._next)
        self._next += table.nbytes
        return np.stack([table[name] for name in names], axis=1, dtype=np.float64)
