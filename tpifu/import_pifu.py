"""PIFu's published shape network `net_G` as a model of this project.

Its file is a bare state dict of `image_filter.*` and `surface_classifier.*`. PIFu counts the levels
of an hourglass from the innermost, 1; ours are listed as they run. Its classifier is sigmoid, has
Conv1d layers of kernel 1, and reads features with aligned corners.
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
"""Hourglass channels, a constant of PIFu's code: a state dict does not record the groups of its
norms, so no other width is known to mean the same."""
DEPTH_SCALE = 256 / 200
"""PIFu's depth feature over ndc depth: loadSize / 2 over z_size, both at their defaults."""
LIGHTING = Lighting(light="environment", occlusion=1600)
"""PIFu's render script draws a light for every image and follows 40 x 40 rays from each vertex."""


def import_pifu(path: Path, *, window: float, size: int) -> TrainedModel:
    """Read `net_G` as a model of neighborhood 1, on the CPU; DataError names what does not fit.

    `window`: metres across its images (PIFu's own: 2.048); `size`: their width in pixels (PIFu's:
    512). In the box [-1, 1]^3 it answers as PIFu does, whatever the window: depth counts in ndc.
    (PIFu goes on before and behind the box.)

    The level is 0.5. PIFu draws points half inside as we do, so its even chance is elsewhere where
    points lie as in its pool (docs/conventions.md, Labels); but what share of that pool was inside
    follows from its scans, which the file does not tell.
    """
    state = _read(path)
    config = _configuration(path, state, window)
    if problem := config.hourglass.size_error(size):
        raise ConfigError(f"render.size is {size}, but {path} has another network: {problem}")
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
    """A file's state dict; DataError if it holds anything but tensors by name."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    wanted = "PIFu's net_G is a bare state dict of tensors"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below say it in one line
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch errors alike mean: not tensors alone
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise DataError(
                f"{path}: holds {found[1]!r}, which is not read: {wanted} "
                "(PIFuHD's file, with its options beside them, is another network)"
            ) from error
        raise DataError(f"{path}: not a file of torch, or damaged: {wanted}") from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: holds a {type(state).__name__}: {wanted}")
    if state.get("format") == FORMAT:
        raise DataError(f"{path}: is a model of this project already, nothing to import")
    if any(str(name).endswith("running_mean") for name in state):
        raise DataError(
            f"{path}: has batch norm; PIFu's published net_G, which is read, has group norm"
        )
    for name, value in state.items():
        if not (isinstance(name, str) and isinstance(value, Tensor) and value.is_floating_point()):
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise DataError(f"{path}: entry {name!r} is {kind}: {wanted}, floating point")
    return state


def _configuration(path: Path, state: dict[str, Tensor], window: float) -> Model:
    """What the entries say about the network; whether all of them fit is `_check`'s."""

    def numbered(name: str, first: int = 0) -> int:
        return next(n for n in itertools.count() if name.format(first + n) not in state)

    stacks = numbered("image_filter.l{}.weight")
    depth = numbered("image_filter.m0.b1_{}.conv1.weight", first=1)
    layers = numbered("surface_classifier.conv{}.bias")
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
        mlp=tuple(max(1, bias.numel()) for bias in biases),  # an empty one fails _check
        last_activation="sigmoid",
        align_corners=True,
        neighborhood=1,
    )


def _blocks(config: Hourglass) -> dict[str, str]:
    """Our convolution blocks -> PIFu's, both without `image_filter.`."""
    blocks = {"stem.2": "conv2", "stem_low.0": "conv3", "stem_low.1": "conv4"}
    for i in range(config.stacks):
        blocks[f"heads.{i}.0"] = f"top_m_{i}"
        blocks[f"hourglasses.{i}.bottom"] = f"m{i}.b2_plus_1"
        for n in range(config.depth):
            blocks[f"hourglasses.{i}.branches.{n}"] = f"m{i}.b1_{config.depth - n}"
            blocks[f"hourglasses.{i}.down.{n}"] = f"m{i}.b2_{config.depth - n}"
            blocks[f"hourglasses.{i}.up.{n}"] = f"m{i}.b3_{n + 1}"  # runs from the innermost
    return blocks


def _modules(config: Model) -> dict[str, str]:
    """Our modules that have weights -> PIFu's."""
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
    """DataError unless `state` holds exactly what PIFu's network has; `used`: our shapes of it."""
    expected = {
        name: (*shape, 1) if name.startswith("surface_classifier.") and len(shape) == 2 else shape
        for name, shape in used.items()
    }
    # A fourth norm in each block, on its input as the first one is: the shortcut's under a second
    # name, or, in blocks that need no shortcut, never run.
    blocks = [f"image_filter.{theirs}" for theirs in _blocks(config.hourglass).values()]
    norms = list(itertools.product(blocks, ("weight", "bias")))
    expected |= {f"{block}.bn4.{kind}": expected[f"{block}.bn1.{kind}"] for block, kind in norms}
    missing = sorted(expected.keys() - state.keys())
    unknown = sorted(state.keys() - expected.keys())
    if missing or unknown:
        faults = [
            f"{len(names)} {what} ({names[0]!r})"
            for names, what in ((missing, "missing"), (unknown, "unknown"))
            if names
        ]
        raise DataError(f"{path}: not PIFu's net_G: of {len(expected)} entries {', '.join(faults)}")
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
                f"{path}: damaged: entries {twin!r} and {second!r} are one weight stored twice, "
                "but differ"
            )
