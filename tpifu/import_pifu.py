"""Import of PIFu's published shape network `net_G`.

The file is a bare state dict of `image_filter.*` and `surface_classifier.*`. PIFu numbers the
levels of an hourglass from 1, the innermost; here they are in the order of execution. PIFu's
classifier has Conv1d layers with kernel size 1 and ends with a sigmoid; its lookup aligns corners.
"""

import itertools
from pathlib import Path

import torch
from torch import Tensor

from tpifu.config import DataRecord, Hourglass, Model
from tpifu.errors import ConfigError, DataError
from tpifu.model.folder import TrainedModel, network_of, read_tensors
from tpifu.model.pifu import PIFu

DIM = 256
"""Hourglass channels, a constant of PIFu's code. A state dict does not record how many groups its
norms have, so other widths cannot be imported."""
DEPTH_SCALE = 256 / 200
"""PIFu's depth feature / ndc depth: loadSize / 2 / z_size, with their default values."""
KINDS = ("weight", "bias")
RENDER_PEOPLE = "RenderPeople"
"""Source of PIFu's training data: scans of people in coloured clothes."""
DATA = DataRecord(light="environment", occlusion=1600, source=RENDER_PEOPLE)
"""PIFu's render script draws a light for each image and casts 40 x 40 rays from each vertex."""


def import_pifu(path: Path, *, window: float, size: int) -> TrainedModel:
    """Read `net_G` as a model of neighborhood 1, on the CPU. Raises DataError with the first
    mismatch.

    `window`: width of the images in metres (PIFu: 2.048); `size`: their width in pixels (PIFu:
    512). In the box [-1, 1]^3 the occupancy equals PIFu's for any window, because depth is measured
    in ndc. Outside it is 0, where PIFu extrapolates in depth.

    The level is 0.5. PIFu draws half of the points inside, so the best level for other points
    depends on the inside share of PIFu's pool (docs/conventions.md, Labels), which the file does
    not contain.
    """
    state = _read(path)
    config = _configuration(path, state, window)
    if error := config.hourglass.size_error(size):
        raise ConfigError(f"render.size is {size}, which the network of {path} rejects: {error}")
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in PIFu(config, window).state_dict().items()}
    names = _names(config)
    expected = {names[name]: shape for name, shape in shapes.items()}
    found = {name: value.shape for name, value in state.items()}
    wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
    if wrong:
        raise DataError(
            f"{path}: not PIFu's net_G: {len(wrong)} of its entries are missing, unknown or have "
            f"another shape; the first is {wrong[0]!r}"
        )
    weights = {name: state[names[name]] for name in shapes}
    return TrainedModel(
        network=network_of(config, window, weights),
        config=config,
        window=window,
        size=size,
        level=0.5,
        data=DATA,
    )


def _read(path: Path) -> dict[str, Tensor]:
    """The entries that our network uses. Raises DataError if the file contains anything but
    tensors."""
    state = read_tensors(path)
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) and value.is_floating_point() for value in state.values()
    ):
        raise DataError(f"{path}: not PIFu's net_G, a bare state dict of floating-point tensors")
    # Each block has a fourth norm: a second name of the shortcut's norm, or, without a shortcut,
    # unused. Conv1d weights have a third dimension of 1.
    return {
        str(name): value.squeeze(-1) if value.ndim == 3 else value
        for name, value in state.items()
        if ".bn4." not in str(name)
    }


def _configuration(path: Path, state: dict[str, Tensor], window: float) -> Model:
    """The configuration that the entries imply."""

    def count(name: str, first: int = 0) -> int:
        return next(n for n in itertools.count() if name.format(first + n) not in state)

    stacks = count("image_filter.l{}.weight")
    depth = count("image_filter.m0.b1_{}.conv1.weight", first=1)
    layers = count("surface_classifier.conv{}.bias")
    if not (stacks and depth and layers > 1):
        raise DataError(
            f"{path}: not PIFu's net_G (net_C is another network): {stacks} hourglass stacks of "
            f"depth {depth} and {layers} classifier layers among its {len(state)} entries, "
            f"the first {next(iter(state), None)!r}"
        )
    biases = [state[f"surface_classifier.conv{n}.bias"] for n in range(layers - 1)]
    return Model(
        z_normalization=window / 2 / DEPTH_SCALE,
        hourglass=Hourglass(stacks=stacks, depth=depth, dim=DIM),
        mlp=tuple(max(1, bias.numel()) for bias in biases),  # an empty one is rejected later
        last_activation="sigmoid",
        align_corners=True,
        neighborhood=1,
    )


def _names(config: Model) -> dict[str, str]:
    """Names of our weights -> PIFu's."""
    stacks, depth = config.hourglass.stacks, config.hourglass.depth
    blocks = {"stem.2": "conv2", "stem_low.0": "conv3", "stem_low.1": "conv4"}
    modules = {"stem.0": "conv1", "stem.1.norm": "bn1"}
    for i in range(stacks):
        blocks[f"heads.{i}.0"] = f"top_m_{i}"
        blocks[f"hourglasses.{i}.bottom"] = f"m{i}.b2_plus_1"
        for n in range(depth):
            blocks[f"hourglasses.{i}.branches.{n}"] = f"m{i}.b1_{depth - n}"
            blocks[f"hourglasses.{i}.down.{n}"] = f"m{i}.b2_{depth - n}"
            blocks[f"hourglasses.{i}.up.{n}"] = f"m{i}.b3_{n + 1}"  # innermost first
        modules[f"heads.{i}.1"] = f"conv_last{i}"
        modules[f"heads.{i}.2.norm"] = f"bn_end{i}"
        modules[f"outputs.{i}"] = f"l{i}"
        modules[f"feature_back.{i}"] = f"bl{i}"
        modules[f"output_back.{i}"] = f"al{i}"
    for ours, theirs in blocks.items():
        for n in range(3):
            modules[f"{ours}.layers.{n}.norm"] = f"{theirs}.bn{n + 1}"
            modules[f"{ours}.layers.{n}.conv"] = f"{theirs}.conv{n + 1}"
        modules[f"{ours}.shortcut.norm"] = f"{theirs}.downsample.0"
        modules[f"{ours}.shortcut.conv"] = f"{theirs}.downsample.2"
    names = {f"image_filter.{ours}": f"image_filter.{modules[ours]}" for ours in modules}
    for n in range(len(config.mlp) + 1):
        names[f"classifier.layers.{n}"] = f"surface_classifier.conv{n}"
    return {f"{ours}.{kind}": f"{names[ours]}.{kind}" for ours in names for kind in KINDS}
