"""Features of maps at points: bilinear lookup in every frame of a window."""

from typing import Any

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def lookup(
    maps: list[Float[Tensor, "m c h w"]],
    frames: Int[Tensor, "b k"],
    xy: Float[Tensor, "b n 2"],
    depth: Float[Tensor, "b n"],
    align_corners: bool,
) -> Float[Tensor, "s b n kc1"]:
    """What the classifier sees of each point: the features of each map at `xy` (ndc, y up) in each
    frame of a window, oldest first, bilinear and zero beyond the image; `depth` comes last.
    Gradients reach the maps, not the places."""
    height, width = maps[0].shape[2:]
    cells, weights = _corners(xy, height, width, align_corners)
    return _Lookup.apply(frames, cells, weights, depth, *maps)


def _corners(
    xy: Float[Tensor, "b n 2"], height: int, width: int, align_corners: bool
) -> tuple[Int[Tensor, "b n 4"], Float[Tensor, "b n 4"]]:
    """The four cells around each point, counted row by row, and their bilinear weights."""
    x, y = xy.unbind(-1)
    columns, across = _neighbours(x, width, align_corners)
    rows, down = _neighbours(-y, height, align_corners)
    cells = rows[..., :, None] * width + columns[..., None, :]
    return cells.flatten(-2), (down[..., :, None] * across[..., None, :]).flatten(-2)


def _neighbours(
    at: Float[Tensor, "b n"], extent: int, align_corners: bool
) -> tuple[Int[Tensor, "b n 2"], Float[Tensor, "b n 2"]]:
    """The cells before and after each point along one axis, and their linear weights; 0 for cells
    beyond the image."""
    unit = (at + 1) / 2
    place = unit * (extent - 1) if align_corners else unit * extent - 0.5
    low = place.floor()
    found = torch.stack([low, low + 1], dim=-1)
    weights = 1 - (place[..., None] - found).abs()
    weights = weights * ((found >= 0) & (found < extent))
    return found.clamp(0, extent - 1).long(), weights


class _Lookup(torch.autograd.Function):
    """Weighted sums of four cells for each point, frame and map, then the depth."""

    @staticmethod
    def forward(
        ctx: Any,
        frames: Int[Tensor, "b k"],
        cells: Int[Tensor, "b n 4"],
        weights: Float[Tensor, "b n 4"],
        depth: Float[Tensor, "b n"],
        *maps: Float[Tensor, "m c h w"],
    ) -> Float[Tensor, "s b n kc1"]:
        (b, n, _), k = cells.shape, frames.shape[1]
        _, c, h, w = maps[0].shape
        ctx.save_for_backward(frames, cells, weights)
        ctx.maps = maps[0].shape, maps[0].dtype
        rows = (cells[:, :, None] + (frames * (h * w))[:, None, :, None]).view(-1, 4)
        weights = weights[:, :, None].expand(b, n, k, 4).reshape(-1, 4).to(maps[0].dtype)
        found = maps[0].new_empty(len(maps), b, n, k * c + 1)
        found[..., -1] = depth
        for features, of_map in zip(maps, found, strict=True):
            table = features.movedim(1, -1).reshape(-1, c)
            sums = F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
            of_map[..., :-1] = sums.view(b, n, k * c)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "s b n kc1"]) -> tuple[Tensor | None, ...]:
        frames, cells, weights = ctx.saved_tensors
        (m, c, h, w), dtype = ctx.maps
        grad = grad.flatten(1, 2)
        tables = grad.new_zeros(len(grad), m * h * w, c, dtype=torch.float32)
        on_cpu = grad.device.type == "cpu" and not torch.compiler.is_compiling()
        add = _add_by_cell if on_cpu else _add_by_corner
        add(tables, grad, frames, cells, weights, h * w)
        maps = tables.to(dtype).view(-1, m, h, w, c).movedim(-1, 2)
        return None, None, None, None, *maps


def _add_by_corner(
    tables: Float[Tensor, "s t c"],
    grad: Float[Tensor, "s bn kc1"],
    frames: Int[Tensor, "b k"],
    cells: Int[Tensor, "b n 4"],
    weights: Float[Tensor, "b n 4"],
    area: int,
) -> None:
    """Add each point's gradient to its four cells, of which each map has `area`."""
    c = tables.shape[2]
    of_frames = grad[..., :-1].reshape(len(grad), -1, c)
    for corner in range(4):
        rows = (cells[:, :, None, corner] + (frames * area)[:, None]).flatten()
        share = weights[:, :, None, corner].expand(-1, -1, frames.shape[1]).reshape(-1, 1)
        tables.index_add_(1, rows, of_frames * share)


def _add_by_cell(
    tables: Float[Tensor, "s t c"],
    grad: Float[Tensor, "s bn kc1"],
    frames: Int[Tensor, "b k"],
    cells: Int[Tensor, "b n 4"],
    weights: Float[Tensor, "b n 4"],
    area: int,
) -> None:
    """The same sums, each window's points gathered cell by cell first, for all of its frames at
    once: on a CPU twice as fast where many points share a cell."""
    (b, n, _), c = cells.shape, tables.shape[2]
    of_window = (torch.arange(b) * area)[:, None, None]
    by_point = scipy.sparse.csr_array(
        (
            weights.flatten().numpy(),
            (cells + of_window).flatten().int().numpy(),
            4 * np.arange(b * n + 1, dtype=np.int32),
        ),
        shape=(b * n, b * area),
    )
    by_cell = by_point.tocsc()
    used = torch.from_numpy(np.diff(by_cell.indptr).nonzero()[0])
    points, shares = torch.from_numpy(by_cell.indices), torch.from_numpy(by_cell.data)
    begins = torch.from_numpy(by_cell.indptr)[used]
    rows = (frames[used // area] * area + (used % area)[:, None]).flatten()
    for of_map, table in zip(grad, tables, strict=True):
        sums = F.embedding_bag(
            points, of_map, begins, mode="sum", per_sample_weights=shares.to(grad.dtype)
        )
        table.index_add_(0, rows, sums[:, :-1].reshape(-1, c).float())
