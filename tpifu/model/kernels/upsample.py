"""Bicubic upsampling by two matrix products, several times as fast as `F.interpolate` on a CPU."""

import functools

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def plain_upsample(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Double the size by bicubic interpolation with aligned corners, as in PIFu."""
    return F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True)


def upsample(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """`plain_upsample` as two matrix products: bicubic interpolation is linear and separable."""
    b, _, h, w = x.shape
    # The compiler ignores caches; its graphs compute the matrices once per step.
    matrix = _bicubic if torch.compiler.is_compiling() else _bicubic_once
    rows, columns = (matrix(size, x.device, x.dtype) for size in (h, w))
    y = rows @ x.movedim(1, -1).reshape(b, h, -1)  # channels last: b, 2h, w c
    return (columns @ y.reshape(b, 2 * h, w, -1)).movedim(-1, 1)


def _bicubic(size: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "size2 size"]:
    """The matrix that interpolates `size` values to `2 * size` values."""
    with torch.inference_mode(False):
        basis = torch.eye(size, device=device)[None, None]
        wide = F.interpolate(basis, size=(size, 2 * size), mode="bicubic", align_corners=True)
        return wide[0, 0].mT.contiguous().to(dtype)


_bicubic_once = functools.cache(_bicubic)
