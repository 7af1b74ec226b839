"""Import of PIFu's published shape network `net_G`.

The file is a bare state dict of `image_filter.*` and `surface_classifier.*`. PIFu numbers the
levels of an hourglass from 1, the innermost; here they are in the order of execution. PIFu's
classifier has Conv1d layers with kernel size 1 and ends with a sigmoid; its lookup aligns corners.
"""

import itertools
import re
import warnings
from pathlib import Path

import torch
from torch import Tensor

from tpifu.config import Hourglass, Lighting, Model
from tpifu.errors import ConfigError, DataError
from tpifu.model.folder import FORMAT, TrainedModel, network_of
from tpifu.model.pifu import PIFu

DIM = 256
"""Hourglass channels, a constant of PIFu's code. A state dict does not contain the number of groups
of its norms, so other widths cannot be imported."""
DEPTH_SCALE = 256 / 200
"""PIFu's depth feature / ndc depth: loadSize / 2 / z_size, with their default values."""
LIGHTING = Lighting(light="environment", occlusion=1600)
"""PIFu's render script draws a light for each image and casts 40 x 40 rays from each vertex."""


def import_pifu(path: Path, *, window: float, size: int) -> TrainedModel:
    """Read `net_G` as a model of neighborhood 1, on the CPU. Raises DataError with the first
    mismatch.

    `window`: width of the images in metres (PIFu: 2.048); `size`: their width in pixels (PIFu:
    512). In the box [-1, 1]^3 the occupancy equals PIFu's for any window, because depth is measured
    in ndc. Outside it is 0, where PIFu extrapolates in depth.

    The level is 0.5. PIFu draws points half inside, so the best level for other points depends on
    the inside share of PIFu's pool (docs/conventions.md, Labels), which the file does not contain.
    """
    state = _read(path)
    config = _configuration(path, state, window)
    if error := config.hourglass.size_error(size):
        raise ConfigError(f"render.size is {size}, which the network of {path} rejects: {error}")
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in PIFu(config, window).state_dict().items()}
    modules = _modules(config)
    names = {}
    for name in shapes:
        module, _, kind = name.rpartition(".")
        names[name] = f"{modules[module]}.{kind}"
    _check(path, state, config, {names[name]: shape for name, shape in shapes.items()})
    weights = {name: state[names[name]].reshape(shape) for name, shape in shapes.items()}
    return TrainedModel(
        network=network_of(config, window, weights),
        config=config,
        window=window,
        size=size,
        level=0.5,
        lighting=LIGHTING,
    )


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict. Raises DataError if the file contains anything but named tensors."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    expected = "PIFu's net_G is a bare state dict of tensors"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below are enough
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # errors of zipfile, pickle and torch
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise DataError(
                f"{path}: contains {found[1]!r}, which is not allowed: {expected} "
                "(PIFuHD's file, which also contains options, is another network)"
            ) from error
        raise DataError(f"{path}: not a torch file, or damaged: {expected}") from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: contains a {type(state).__name__}: {expected}")
    if state.get("format") == FORMAT:
        raise DataError(f"{path}: already a model of this project; no import is needed")
    if any(str(name).endswith("running_mean") for name in state):
        raise DataError(f"{path}: has batch norm; PIFu's published net_G has group norm")
    for name, value in state.items():
        if not (isinstance(name, str) and isinstance(value, Tensor) and value.is_floating_point()):
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise DataError(f"{path}: entry {name!r} is {kind}: {expected}, floating point")
    return state


def _configuration(path: Path, state: dict[str, Tensor], window: float) -> Model:
    """The configuration that the entries imply; `_check` then compares every entry."""

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
        mlp=tuple(max(1, bias.numel()) for bias in biases),  # _check rejects empty biases
        last_activation="sigmoid",
        align_corners=True,
        neighborhood=1,
    )


def _blocks(config: Hourglass) -> dict[str, str]:
    """Names of our convolution blocks -> PIFu's, without `image_filter.`."""
    blocks = {"stem.2": "conv2", "stem_low.0": "conv3", "stem_low.1": "conv4"}
    for i in range(config.stacks):
        blocks[f"heads.{i}.0"] = f"top_m_{i}"
        blocks[f"hourglasses.{i}.bottom"] = f"m{i}.b2_plus_1"
        for n in range(config.depth):
            blocks[f"hourglasses.{i}.branches.{n}"] = f"m{i}.b1_{config.depth - n}"
            blocks[f"hourglasses.{i}.down.{n}"] = f"m{i}.b2_{config.depth - n}"
            blocks[f"hourglasses.{i}.up.{n}"] = f"m{i}.b3_{n + 1}"  # innermost first
    return blocks


def _modules(config: Model) -> dict[str, str]:
    """Names of our modules with weights -> PIFu's."""
    filters = {"stem.0": "conv1", "stem.1.norm": "bn1"}
    for i in range(config.hourglass.stacks):
        filters[f"heads.{i}.1"] = f"conv_last{i}"
        filters[f"heads.{i}.2.norm"] = f"bn_end{i}"
        filters[f"outputs.{i}"] = f"l{i}"
        filters[f"feature_back.{i}"] = f"bl{i}"
        filters[f"output_back.{i}"] = f"al{i}"
    for ours, theirs in _blocks(config.hourglass).items():
        for n in range(3):
            filters[f"{ours}.layers.{n}.norm"] = f"{theirs}.bn{n + 1}"
            filters[f"{ours}.layers.{n}.conv"] = f"{theirs}.conv{n + 1}"
        filters[f"{ours}.shortcut.norm"] = f"{theirs}.downsample.0"
        filters[f"{ours}.shortcut.conv"] = f"{theirs}.downsample.2"
    modules = {f"image_filter.{ours}": f"image_filter.{filters[ours]}" for ours in filters}
    for n in range(len(config.mlp) + 1):
        modules[f"classifier.layers.{n}"] = f"surface_classifier.conv{n}"
    return modules


def _check(
    path: Path, state: dict[str, Tensor], config: Model, used: dict[str, torch.Size]
) -> None:
    """Raise DataError unless `state` has exactly the entries of PIFu's network. `used`: the shapes
    of the entries that our network uses."""
    expected = {
        name: (*shape, 1) if name.startswith("surface_classifier.") and len(shape) == 2 else shape
        for name, shape in used.items()
    }
    # Each block has a fourth norm, as wide as the first: a second name of the shortcut's norm, or,
    # without a shortcut, unused.
    blocks = [f"image_filter.{theirs}" for theirs in _blocks(config.hourglass).values()]
    norms = list(itertools.product(blocks, ("weight", "bias")))
    expected |= {f"{block}.bn4.{kind}": expected[f"{block}.bn1.{kind}"] for block, kind in norms}
    missing = sorted(expected.keys() - state.keys())
    unknown = sorted(state.keys() - expected.keys())
    if missing or unknown:
        errors = [
            f"{len(names)} {kind} ({names[0]!r})"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise DataError(f"{path}: not PIFu's net_G: of {len(expected)} entries {', '.join(errors)}")
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise DataError(
                f"{path}: not PIFu's net_G: entry {name!r} is {tuple(state[name].shape)}, "
                f"not {tuple(shape)}"
            )
    for block, kind in norms:
        twin, second = f"{block}.downsample.0.{kind}", f"{block}.bn4.{kind}"
        if twin in expected and not torch.equal(state[twin], state[second]):
            raise DataError(
                f"{path}: damaged: entries {twin!r} and {second!r} store one weight, but differ"
            )
