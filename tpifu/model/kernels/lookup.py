"""Pixel-aligned features: feature maps at the projections of points.

The kernel treats a map as a table with one row per cell; the features of a point are a weighted sum
of four rows. `F.grid_sample` accesses single channels instead, which makes a compiled step on a GPU
a fifth slower (docs/scaling.md).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def plain_lookup(
    features: Float[Tensor, "m c h w"],
    frames: Int[Tensor, "b k"],
    xy: Float[Tensor, "b n 2"],
    align_corners: bool,
) -> Float[Tensor, "b n kc"]:
    """Features of the k frames of each window at `xy` (ndc, y up), oldest frame first, by bilinear
    interpolation; 0 outside the image."""
    (b, k), n = frames.shape, xy.shape[1]
    grid = (xy * xy.new_tensor([1.0, -1.0])).to(features.dtype)  # rows run downwards
    found = F.grid_sample(
        features[frames.flatten()],
        grid.repeat_interleave(k, dim=0)[:, None],
        align_corners=align_corners,
    )
    return found.view(b, -1, n).mT


def lookup(
    features: Float[Tensor, "m c h w"],
    frames: Int[Tensor, "b k"],
    xy: Float[Tensor, "b n 2"],
    align_corners: bool,
) -> Float[Tensor, "b n kc"]:
    """`plain_lookup`, but without gradients for `xy`."""
    height, width = features.shape[2:]
    cells, weights = _corners(xy, height, width, align_corners)
    return _Lookup.apply(features, frames, cells, weights)


def _corners(
    xy: Float[Tensor, "b n 2"], height: int, width: int, align_corners: bool
) -> tuple[Int[Tensor, "b n 4"], Float[Tensor, "b n 4"]]:
    """Row-major indices of the four cells around each point, and their bilinear weights."""
    x, y = xy.unbind(-1)
    columns, across = _neighbours(x, width, align_corners)
    rows, down = _neighbours(-y, height, align_corners)
    cells = rows[..., :, None] * width + columns[..., None, :]
    return cells.flatten(-2), (down[..., :, None] * across[..., None, :]).flatten(-2)


def _neighbours(
    at: Float[Tensor, "b n"], extent: int, align_corners: bool
) -> tuple[Int[Tensor, "b n 2"], Float[Tensor, "b n 2"]]:
    """The cells before and after each point along one axis, and their linear weights, which are 0
    outside the image."""
    unit = (at + 1) / 2
    place = unit * (extent - 1) if align_corners else unit * extent - 0.5
    low = place.floor()
    found = torch.stack([low, low + 1], dim=-1)
    weights = 1 - (place[..., None] - found).abs()
    weights = weights * ((found >= 0) & (found < extent))
    return found.clamp(0, extent - 1).long(), weights


class _Lookup(torch.autograd.Function):
    """The weighted sum of four cells for each point and frame, with a float32 gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Float[Tensor, "m c h w"],
        frames: Int[Tensor, "b k"],
        cells: Int[Tensor, "b n 4"],
        weights: Float[Tensor, "b n 4"],
    ) -> Float[Tensor, "b n kc"]:
        (b, n, _), k = cells.shape, frames.shape[1]
        m, c, h, w = features.shape
        table = features.movedim(1, -1).reshape(m * h * w, c)
        rows = (cells[:, :, None] + (frames * (h * w))[:, None, :, None]).view(-1, 4)
        weights = weights[:, :, None].expand(b, n, k, 4).reshape(-1, 4)
        ctx.save_for_backward(rows, weights)
        ctx.features = features.shape, features.dtype
        sums = F.embedding_bag(
            rows, table, mode="sum", per_sample_weights=weights.to(features.dtype)
        )
        return sums.view(b, n, k * c)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "b n kc"]) -> tuple[Tensor | None, ...]:
        rows, weights = ctx.saved_tensors
        (m, c, h, w), dtype = ctx.features
        of_points = grad.reshape(-1, c)
        table = grad.new_zeros(m * h * w, c, dtype=torch.float32)
        for corner in range(4):
            table.index_add_(0, rows[:, corner], of_points * weights[:, corner, None])
        return table.to(dtype).view(m, h, w, c).movedim(-1, 1), None, None, None
