"""Inside tests by winding number, because posed bodies intersect themselves."""

import numpy as np
from jaxtyping import Bool, Float, Int

from tpifu.geometry.grid import cell_centres
from tpifu.geometry.mesh import Mesh, safe_divide


class Inside:
    """An inside test for a closed mesh: build it once per mesh, then call it with points.

    The winding number is the sum of the signs of all crossings of one ray along the mesh's thinnest
    axis. A 2D grid over the projection along that axis lists the triangles of each cell. The side
    of an edge is computed from that edge alone, with half-open ends, so adjacent triangles always
    agree: a ray through an edge or a vertex crosses exactly once, and crossings may be arbitrarily
    close. (Embree finds only the first hit; restarting behind it skips closer crossings.)
    """

    def __init__(self, mesh: Mesh) -> None:
        vertices = mesh.vertices.T.astype(np.float64)
        self._axis = int(np.argmin(np.ptp(vertices, axis=1)))
        # (h, x, y): height along the ray, then the projected coordinates; right-handed.
        vertices = np.roll(vertices, -self._axis, axis=0)
        corners = [vertices.take(corner, axis=1) for corner in mesh.faces.T]
        # Sort the corners by x; each swap flips the orientation.
        cyclic = np.ones(len(mesh.faces))
        for i, j in ((0, 1), (1, 2), (0, 1)):
            exchanged = corners[i][1] > corners[j][1]
            corners[i], corners[j] = (
                np.where(exchanged, corners[j], corners[i]),
                np.where(exchanged, corners[i], corners[j]),
            )
            cyclic[exchanged] *= -1
        h, x, y = np.stack(corners, axis=1)

        # Edges 0-1, 1-2, 0-2 as functions y(x), and the plane's height h(x, y).
        dh, dx, dy = (value[[1, 2, 2]] - value[[0, 1, 0]] for value in (h, x, y))
        slopes = safe_divide(dy, dx)
        det = dx[0] * dy[2] - dy[0] * dx[2]
        h_x = safe_divide(dh[0] * dy[2] - dy[0] * dh[2], det)
        h_y = safe_divide(dx[0] * dh[2] - dh[0] * dx[2], det)
        self._triangles = np.stack(
            [x[0], x[1], y[0], y[1], *slopes, h[0], h_x, h_y, h.min(axis=0), h.max(axis=0), cyclic],
            axis=1,
        )

        # Slack for rounding in y(x): the boxes must contain every point that the edges contain.
        slack = 1e-12 * np.abs(vertices).max()
        low = np.stack([x[0], y.min(axis=0) - slack])
        high = np.stack([x[2], y.max(axis=0) + slack])
        self._low = low.min(axis=1, keepdims=True)
        extent = high.max(axis=1, keepdims=True) - self._low
        extent = np.maximum(extent, 1e-3 * extent.max())
        self._cell = np.sqrt(extent.prod() / len(mesh.faces))  # about as many cells as triangles
        self._shape = np.ceil(extent / self._cell).astype(np.int64)

        first, last = self._cells(low), self._cells(high)
        wide, tall = last - first + 1
        face, step = _ranges(wide * tall)
        across, along = np.divmod(step, tall.take(face))
        cell = (first[0] * self._shape[1] + first[1]).take(face) + across * self._shape[1] + along
        # NumPy radix-sorts 16-bit integers, four times as fast as longer integers.
        short = np.uint16 if self._shape.prod() < 2**16 else np.int64
        by_cell = np.argsort(cell.astype(short), kind="stable")
        self._faces = face.take(by_cell)
        self._start = np.zeros(self._shape.prod() + 1, dtype=np.int64)
        np.cumsum(np.bincount(cell, minlength=self._shape.prod()), out=self._start[1:])
        self._boxes = np.stack([*low, *high, h.max(axis=0)]).take(self._faces, axis=1)

    def __call__(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        inside = np.zeros(len(points), dtype=bool)
        for start in range(0, len(points), 65536):
            part = slice(start, start + 65536)
            h, x, y = np.roll(points[part].astype(np.float64), -self._axis, axis=1).T.copy()
            ray, _, sign = self._crossings(x, y, above=h)
            inside[part] = np.bincount(ray, sign, minlength=len(h)) > 0.5
        return inside

    def grid(self, resolution: int, half: float) -> Bool[np.ndarray, "{resolution} r r"]:
        """The inside test at all `cell_centres` of the box, with one ray per column."""
        r = resolution
        heights = cell_centres(r, half).astype(np.float32).astype(np.float64)
        x, y = (axis.ravel() for axis in np.meshgrid(heights, heights, indexing="ij"))
        ray, height, sign = self._crossings(x, y, above=np.full(r * r, -np.inf))
        # A crossing counts for the points strictly below it: those before index `below`.
        below = np.searchsorted(heights, height, side="left")
        counts = np.bincount(ray * (r + 1) + below, sign, minlength=r * r * (r + 1))
        above = counts.reshape(r, r, r + 1)[:, :, ::-1].cumsum(axis=2)[:, :, -2::-1]
        axes = [(self._axis + n) % 3 for n in range(3)]  # world axes of (h, x, y)
        return np.ascontiguousarray(np.moveaxis(above > 0.5, (2, 0, 1), axes))

    def _cells(self, xy: Float[np.ndarray, "2 n"]) -> Int[np.ndarray, "2 n"]:
        return ((xy - self._low) / self._cell).astype(np.int64).clip(0, self._shape - 1)

    def _crossings(
        self, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], above: Float[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Ray index, height and sign (+1: outwards) of all crossings strictly above `above`."""
        column, row = self._cells(np.stack([x, y]))
        cell = column * self._shape[1] + row
        start = self._start.take(cell)
        ray, step = _ranges(self._start.take(cell + 1) - start)
        entry = start.take(ray) + step
        x_low, y_low, x_high, y_high, h_high = self._boxes
        # Filter one test at a time: most candidates fail early.
        for left, right in ((above, h_high), (x, x_high), (y, y_high)):
            kept = np.flatnonzero(left.take(ray) < right.take(entry))
            ray, entry = ray.take(kept), entry.take(kept)
        for left, right in ((x, x_low), (y, y_low)):
            kept = np.flatnonzero(left.take(ray) >= right.take(entry))
            ray, entry = ray.take(kept), entry.take(kept)

        x, y = x.take(ray), y.take(ray)
        x0, x1, y0, y1, y01, y12, y02, h0, h_x, h_y, h_low, h_high, cyclic = self._triangles[
            self._faces[entry]
        ].T
        under_long = y < y0 + (x - x0) * y02
        under_short = y < np.where(x < x1, y0 + (x - x0) * y01, y1 + (x - x1) * y12)
        height = (h0 + (x - x0) * h_x + (y - y0) * h_y).clip(h_low, h_high)
        hit = np.flatnonzero((under_long != under_short) & (height > above[ray]))
        sign = cyclic[hit] * np.where(under_long[hit], 1.0, -1.0)
        return ray[hit], height[hit], sign


def _ranges(counts: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """All pairs (i, j) with j < counts[i]; i varies slowest."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
