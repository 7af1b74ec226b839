"""Pixel-aligned implicit function: filter images, then query points (Sec. 3.2). neighborhood 1 is
PIFu, k Temporal PIFu.

`frames` says which images make up a window: row w holds the image numbers of frames t-k/2 .. t+k/2,
oldest first, so windows that overlap share the filtering of their frames. Points are in world
metres; `calib` takes them to ndc.
"""

from typing import Any, cast

import numpy as np
import scipy.sparse
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

CPU_MEMORY, GPU_MEMORY = 2**26, 2**30
"""Bytes of what is made of points that go through the MLP together. A CPU's queries are twice as
fast where they stay in its caches and take no fresh pages from the system."""


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
        # A layer's columns are those of the layer before, then the input's.
        i = x.shape[1]
        of_input = torch.cat([layer.weight[:, -i:] for layer in layers])
        biases = torch.cat([layer.bias for layer in layers])
        between = [layer.weight[:, :-i] for layer in layers[1:]]
        pieces = x.split(self.at_once(x.device))
        y = torch.cat([_Layers.apply(piece, of_input, biases, *between) for piece in pieces])
        return self.last(y[:, 0])

    def at_once(self, device: torch.device) -> int:
        """Points that go through together, by what is made of one: its input and all layers,
        before and after the activation, in float32, and in training their gradients."""
        layers = cast(list[nn.Linear], list(self.layers))
        of_point = 8 * (layers[0].in_features + sum(layer.out_features for layer in layers))
        if torch.is_grad_enabled():
            of_point *= 2
        return max(1, (CPU_MEMORY if device.type == "cpu" else GPU_MEMORY) // of_point)


class _Layers(torch.autograd.Function):
    """What the last layer of the MLP gives, before its activation.

    What the input adds to all layers is one product, and so are its gradients: nothing is
    concatenated for each point. Only the input and the activations are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "n i"],
        of_input: Float[Tensor, "o i"],
        biases: Float[Tensor, " o"],
        *between: Float[Tensor, "_ _"],
    ) -> Float[Tensor, "n last"]:
        widths = [weight.shape[1] for weight in between]
        last = len(biases) - sum(widths)
        y, *extras = _dense(x, of_input, biases).split([*widths, last], dim=1)
        activations = []
        for weight, extra in zip(between, extras, strict=True):
            activations.append(F.leaky_relu(y, _SLOPE))
            y = _dense(activations[-1], weight, None).add_(extra)
        ctx.save_for_backward(x, of_input, *between, *activations)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "n last"]) -> tuple[Tensor | None, ...]:
        x, of_input, *rest = ctx.saved_tensors
        between, activations = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        of_layers, of_between = [grad], []
        for weight, y in zip(reversed(between), reversed(activations), strict=True):
            of_y, of_weight, _ = _dense_backward(of_layers[-1], y, weight)
            of_between.append(of_weight)
            of_layers.append(torch.ops.aten.leaky_relu_backward(of_y, y, _SLOPE, True))
        together = torch.cat(of_layers[::-1], dim=1)
        return *_dense_backward(together, x, of_input), *of_between[::-1]


_SLOPE = 0.01
"""Of the leaky ReLU."""


def _dense(
    x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None
) -> Float[Tensor, "n o"]:
    """A linear layer."""
    if not _convolves(x):
        return F.linear(x, weight, bias)
    return F.conv2d(_as_image(x), weight[:, :, None, None], bias).movedim(1, -1)[0, 0]


def _dense_backward(
    grad: Float[Tensor, "n o"], x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"]
) -> tuple[Float[Tensor, "n i"], Float[Tensor, "o i"], Float[Tensor, " o"]]:
    """Gradients of a linear layer's input, weight and bias."""
    kept, weight = weight.dtype, weight.to(x.dtype)
    if not _convolves(x):
        return grad @ weight, (grad.mT @ x).to(kept), grad.sum(dim=0, dtype=kept)
    of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
        _as_image(grad),
        _as_image(x),
        weight[:, :, None, None],
        [len(weight)],
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        [True, True, True],
    )
    return of_x.movedim(1, -1)[0, 0], of_weight[:, :, 0, 0].to(kept), of_bias.to(kept)


def _convolves(x: Tensor) -> bool:
    """Whether linear layers are convolutions of size 1: on many CPUs that library has the faster
    matrix product."""
    return x.device.type == "cpu"


def _as_image(x: Float[Tensor, "n i"]) -> Float[Tensor, "1 i 1 n"]:
    """Of one row, channels-last."""
    return x[None, None].movedim(-1, 1)


class PIFu(nn.Module):
    """One network for both models; the neighborhood sets the classifier's input width alone."""

    def __init__(self, config: Model, window: float) -> None:
        """`window`: metres across the image, which turns ndc depth into metres."""
        super().__init__()
        self.window = window
        self.z_normalization = config.z_normalization
        self.align_corners = config.align_corners
        # The filter comes first: with one seed it starts equal whatever the neighborhood.
        self.image_filter = StackedHourglass(config.hourglass, config.norm)
        _initialise(self.image_filter)
        inputs = config.neighborhood * config.hourglass.dim + 1
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
        depth = depth_feature(ndc[..., 2], self.window, self.z_normalization)
        inputs = lookup(maps, frames, ndc[..., :2], depth, self.align_corners)
        occupancy = self.classifier(inputs.flatten(0, 2)).view(len(maps), b, n)
        return occupancy * (ndc.abs() <= 1).all(dim=-1)


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


def _initialise(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
