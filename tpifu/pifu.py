"""Pixel-aligned implicit function: filter images, then query points (Sec. 3.2). neighborhood 1 is
PIFu, k Temporal PIFu.

`frames` says which images make up a window: row w holds the image numbers of frames t-k/2 .. t+k/2,
oldest first, so windows that overlap share the filtering of their frames. Points are in world
metres; `calib` takes them to ndc.
"""

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tpifu.camera import depth_feature, project
from tpifu.config import Model
from tpifu.hourglass import StackedHourglass

INIT_STD = 0.02
"""PIFu draws all weights from N(0, 0.02), biases 0."""


class PointClassifier(nn.Module):
    """The MLP: leaky ReLU between layers, and the input fed to every layer again."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], last_activation: str) -> None:
        super().__init__()
        before = [inputs, *(width + inputs for width in hidden)]
        self.layers = nn.ModuleList(
            [nn.Linear(i, o) for i, o in zip(before, [*hidden, 1], strict=True)]
        )
        self.last = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}[last_activation]

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, " n"]:
        layers = cast(list[nn.Linear], list(self.layers))
        # A layer's columns are those of the layer before, then the input's: what the input adds to
        # all layers is one product, and nothing is concatenated for each point.
        of_input = torch.cat([layer.weight[:, -x.shape[1] :] for layer in layers])
        added = dense(x, of_input, torch.cat([layer.bias for layer in layers]))
        y, *extras = added.split([layer.out_features for layer in layers], dim=1)
        for layer, extra in zip(layers[1:], extras, strict=True):
            y = dense(F.leaky_relu(y), layer.weight[:, : -x.shape[1]], None) + extra
        return self.last(y[:, 0])

    def bytes_per_point(self) -> int:
        """What `forward` makes of one point: its input and all layers, before and after the
        activation, in float32."""
        layers = cast(list[nn.Linear], list(self.layers))
        return 8 * (layers[0].in_features + sum(layer.out_features for layer in layers))


def dense(
    x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None
) -> Float[Tensor, "n o"]:
    """A linear layer."""
    if x.device.type != "cpu":
        return F.linear(x, weight, bias)
    # As a convolution of size 1: on many CPUs that library has the faster matrix product.
    as_image = x[None, None].movedim(-1, 1)
    return F.conv2d(as_image, weight[:, :, None, None], bias).movedim(1, -1)[0, 0]


class PIFu(nn.Module):
    """One network for both models; only the classifier's input width depends on `neighborhood`."""

    def __init__(self, config: Model, neighborhood: int, window: float) -> None:
        """`window`: metres across the image, which turns ndc depth into metres."""
        super().__init__()
        self.window = window
        self.z_normalization = config.z_normalization
        self.align_corners = config.align_corners
        # The filter comes first: with one seed it starts equal whatever the neighborhood.
        self.image_filter = StackedHourglass(config.hourglass, config.norm)
        _initialise(self.image_filter)
        inputs = neighborhood * config.hourglass.dim + 1
        self.classifier = PointClassifier(inputs, config.mlp, config.last_activation)
        _initialise(self.classifier)

    def filter(self, images: Float[Tensor, "m 3 h w"]) -> list[Float[Tensor, "m c h4 w4"]]:
        """A feature map for each image and stack, last stack last. Images: [-1, 1] times the
        mask."""
        return self.image_filter(images)

    def query(
        self,
        features: Float[Tensor, "m c h w"],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "b n"]:
        """Occupancy of `points` from one stack's features; 0 outside the box [-1, 1]^3, which no
        image covers."""
        return self._occupancy([features], frames, points, calib)[0]

    def forward(
        self,
        images: Float[Tensor, "m 3 h w"],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "s b n"]:
        """Occupancy after each stack, for the loss at every stack."""
        return self._occupancy(self.filter(images), frames, points, calib)

    def _occupancy(
        self,
        maps: list[Float[Tensor, "m c h w"]],
        frames: Int[Tensor, "b k"],
        points: Float[Tensor, "b n 3"],
        calib: Float[Tensor, "b 3 4"],
    ) -> Float[Tensor, "s b n"]:
        b, n = points.shape[:2]
        ndc = project(calib, points)
        pixel_aligned = lookup(maps, frames, ndc[..., :2], self.align_corners)
        depth = depth_feature(ndc[..., 2], self.window, self.z_normalization)
        depth = depth.to(pixel_aligned.dtype).expand(len(maps), b, n)[..., None]
        inputs = torch.cat([pixel_aligned, depth], dim=-1)
        occupancy = self.classifier(inputs.flatten(0, 2)).view(len(maps), b, n)
        return occupancy * (ndc.abs() <= 1).all(dim=-1)


def lookup(
    maps: list[Float[Tensor, "m c h w"]],
    frames: Int[Tensor, "b k"],
    xy: Float[Tensor, "b n 2"],
    align_corners: bool,
) -> Float[Tensor, "s b n kc"]:
    """Features of each map at `xy` (ndc, y up) in each frame of a window, oldest frame first:
    bilinear, zeros beyond the image."""
    (b, k), n = frames.shape, xy.shape[1]
    c, h, w = maps[0].shape[1:]
    if xy.device.type != "cpu" or torch.compiler.is_compiling():
        grid = (xy * xy.new_tensor([1.0, -1.0]))[:, None].expand(b, k, n, 2).flatten(0, 1)
        found = [
            F.grid_sample(
                features[frames.flatten()],
                grid[:, None].to(features.dtype),
                align_corners=align_corners,
            )
            for features in maps
        ]
        return torch.stack(found).view(-1, b, k * c, n).mT
    cells, weights = _corners(xy, (h, w), align_corners)
    rows = (cells[:, :, None] + (frames * (h * w))[:, None, :, None]).view(-1, 4)
    weights = weights[:, :, None].expand(b, n, k, 4).reshape(-1, 4)
    tables = [features.movedim(1, -1).reshape(-1, c) for features in maps]
    return torch.stack([_GatherRows.apply(table, rows, weights) for table in tables]).view(
        -1, b, n, k * c
    )


def _corners(
    xy: Float[Tensor, "b n 2"], size: tuple[int, int], align_corners: bool
) -> tuple[Int[Tensor, "b n 4"], Float[Tensor, "b n 4"]]:
    """The four cells around each point, counted row by row, and their bilinear weights."""
    extent = xy.new_tensor([size[1], size[0]])  # x runs over columns
    unit = (xy * xy.new_tensor([1.0, -1.0]) + 1) / 2
    place = unit * (extent - 1) if align_corners else unit * extent - 0.5
    low = place.floor()
    corners = low[:, :, None] + xy.new_tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
    weights = (1 - (place[:, :, None] - corners).abs()).prod(dim=-1)
    weights = weights * ((corners >= 0) & (corners < extent)).all(dim=-1)
    column, row = corners.clamp(min=0).minimum(extent - 1).long().unbind(-1)
    return row * size[1] + column, weights


class _GatherRows(torch.autograd.Function):
    """Weighted sums of four rows each of a table: an embedding bag with a faster backward."""

    @staticmethod
    def forward(
        ctx: Any,
        table: Float[Tensor, "t c"],
        rows: Int[Tensor, "n 4"],
        weights: Float[Tensor, "n 4"],
    ) -> Float[Tensor, "n c"]:
        ctx.save_for_backward(rows, weights)
        ctx.table = table.shape, table.dtype
        weights = weights.to(table.dtype)
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "n c"]) -> tuple[Tensor, None, None]:
        rows, weights = ctx.saved_tensors
        shape, dtype = ctx.table
        table = grad.new_zeros(shape, dtype=torch.float32)
        # Corner by corner, so that nothing four times as large as the gradient is written.
        for corner in range(4):
            table.index_add_(0, rows[:, corner], grad * weights[:, corner, None])
        return table.to(dtype), None, None


def _initialise(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
