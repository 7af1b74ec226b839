import argparse
from dataclasses import replace

import pytest
import torch
from helpers.command import Payload, done, refused
from torch.nn import functional as F

from tpifu.config import DataRecord, Hourglass
from tpifu.errors import ConfigError, DataError
from tpifu.geometry.camera import calibration
from tpifu.import_pifu import import_pifu
from tpifu.model.folder import TrainedModel, load_model
from tpifu.model.pifu import PIFu, network_input
from tpifu.model.widen import widen

CPU = torch.device("cpu")
OFFICIAL = (4, 2, (1024, 512, 256, 128))
SMALL = (1, 1, (6, 5))


def net_g(stacks: int, depth: int, hidden: tuple[int, ...], seed=0) -> dict[str, torch.Tensor]:
    """A random state dict with PIFu's names, shapes and order."""
    rng = torch.Generator().manual_seed(seed)
    state = {}

    def conv(name, outputs, inputs, *kernel, bias=True):
        fan = inputs * torch.Size(kernel).numel()
        shape = (outputs, inputs, *kernel)
        state[f"{name}.weight"] = torch.randn(shape, generator=rng) * (2 / fan) ** 0.5
        if bias:
            state[f"{name}.bias"] = torch.randn(outputs, generator=rng) * 0.1

    def norm(name, width):
        state[f"{name}.weight"] = 1 + torch.randn(width, generator=rng) * 0.1
        state[f"{name}.bias"] = torch.randn(width, generator=rng) * 0.1

    def block(name, inputs, outputs):
        conv(f"{name}.conv1", outputs // 2, inputs, 3, 3, bias=False)
        conv(f"{name}.conv2", outputs // 4, outputs // 2, 3, 3, bias=False)
        conv(f"{name}.conv3", outputs // 4, outputs // 4, 3, 3, bias=False)
        for number, width in enumerate([inputs, outputs // 2, outputs // 4, inputs], start=1):
            norm(f"{name}.bn{number}", width)
        if inputs != outputs:  # the fourth norm under a second name, and a convolution
            for kind in ("weight", "bias"):
                state[f"{name}.downsample.0.{kind}"] = state[f"{name}.bn4.{kind}"]
            conv(f"{name}.downsample.2", outputs, inputs, 1, 1, bias=False)

    def hourglass(name, level):
        block(f"{name}.b1_{level}", 256, 256)
        block(f"{name}.b2_{level}", 256, 256)
        if level > 1:
            hourglass(name, level - 1)
        else:
            block(f"{name}.b2_plus_1", 256, 256)
        block(f"{name}.b3_{level}", 256, 256)

    conv("image_filter.conv1", 64, 3, 7, 7)
    norm("image_filter.bn1", 64)
    block("image_filter.conv2", 64, 128)
    block("image_filter.conv3", 128, 128)
    block("image_filter.conv4", 128, 256)
    for i in range(stacks):
        hourglass(f"image_filter.m{i}", depth)
        block(f"image_filter.top_m_{i}", 256, 256)
        conv(f"image_filter.conv_last{i}", 256, 256, 1, 1)
        norm(f"image_filter.bn_end{i}", 256)
        conv(f"image_filter.l{i}", 256, 256, 1, 1)
        if i < stacks - 1:
            conv(f"image_filter.bl{i}", 256, 256, 1, 1)
            conv(f"image_filter.al{i}", 256, 256, 1, 1)
    widths = [257, *hidden, 1]
    for n, outputs in enumerate(widths[1:]):
        conv(f"surface_classifier.conv{n}", outputs, widths[n] + (257 if n else 0), 1)
    return state


def pifu_occupancy(state, stacks, depth, images, points, calib) -> torch.Tensor:
    """Slow and plain. images (b 3 h w), points (b 3 n), calib (b 4 4) to x right, y DOWN, z
    towards the viewer -> (stacks, b, n)."""

    def conv(name, x, **options):
        convolve = F.conv1d if x.ndim == 3 else F.conv2d
        return convolve(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def norm(name, x):
        return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"])

    def block(name, x):
        one = conv(f"{name}.conv1", F.relu(norm(f"{name}.bn1", x)), padding=1)
        two = conv(f"{name}.conv2", F.relu(norm(f"{name}.bn2", one)), padding=1)
        three = conv(f"{name}.conv3", F.relu(norm(f"{name}.bn3", two)), padding=1)
        if f"{name}.downsample.0.weight" in state:
            x = conv(f"{name}.downsample.2", F.relu(norm(f"{name}.downsample.0", x)))
        return torch.cat([one, two, three], 1) + x

    def hourglass(name, level, x):
        low = block(f"{name}.b2_{level}", F.avg_pool2d(x, 2))
        low = hourglass(name, level - 1, low) if level > 1 else block(f"{name}.b2_plus_1", low)
        low = block(f"{name}.b3_{level}", low)
        up = F.interpolate(low, scale_factor=2, mode="bicubic", align_corners=True)
        return block(f"{name}.b1_{level}", x) + up

    def filtered():
        name = "image_filter"
        x = conv(f"{name}.conv1", images, stride=2, padding=3)
        x = block(f"{name}.conv2", F.relu(norm(f"{name}.bn1", x)))
        x = block(f"{name}.conv4", block(f"{name}.conv3", F.avg_pool2d(x, 2)))
        for i in range(stacks):
            y = block(f"{name}.top_m_{i}", hourglass(f"{name}.m{i}", depth, x))
            y = F.relu(norm(f"{name}.bn_end{i}", conv(f"{name}.conv_last{i}", y)))
            out = conv(f"{name}.l{i}", y)
            yield out
            if i < stacks - 1:
                x = x + conv(f"{name}.bl{i}", y) + conv(f"{name}.al{i}", out)

    def classified(feature):
        y, n = conv("surface_classifier.conv0", feature), 1
        while f"surface_classifier.conv{n}.weight" in state:
            y = torch.cat([F.leaky_relu(y, 0.01), feature], 1)
            y, n = conv(f"surface_classifier.conv{n}", y), n + 1
        return torch.sigmoid(y)[:, 0]

    xyz = calib[:, :3, :3] @ points + calib[:, :3, 3:]
    xy, z = xyz[:, :2], xyz[:, 2:]
    seen = (xy.abs() <= 1).all(1)
    answers = []
    for features in filtered():
        local = F.grid_sample(features, xy.mT[:, :, None], align_corners=True)[..., 0]
        depth_feature = z * (512 // 2) / 200.0  # loadSize, z_size
        answers.append(seen * classified(torch.cat([local, depth_feature], 1)))
    return torch.stack(answers)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function that saves a state, or other content, as net_G."""
    folder = tmp_path_factory.mktemp("net_g")

    def write(content, **options):
        torch.save(content, folder / "net_G", **options)
        return folder / "net_G"

    return write


@pytest.fixture(scope="module")
def small_state():
    return net_g(*SMALL)


@pytest.fixture(scope="module")
def small(written, small_state) -> TrainedModel:
    return import_pifu(written(small_state), window=2.048, size=32)


def some_input(window: float, images=2, points=50, seed=0):
    """Images, points and calib; some points are outside the image, but inside in depth."""
    rng = torch.Generator().manual_seed(seed)
    yaws = [30.0, -75.0][:images]
    calib = torch.stack([torch.from_numpy(calibration(yaw, window)) for yaw in yaws])
    ndc = torch.rand(images, points, 3, generator=rng) * 2 - 1
    ndc[:, ::5, :2] *= 1.4
    world = (calib[:, :, :3].inverse() @ ndc.mT).mT
    pixels = torch.randint(0, 256, (images, 64, 64, 4), generator=rng, dtype=torch.uint8)
    return pixels, world, calib


def equal_models(one: TrainedModel, other: TrainedModel) -> bool:
    if replace(one, network=other.network) != other:
        return False
    a, b = one.network.state_dict(), other.network.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_test_file_has_the_entries_of_the_published_file():
    state = net_g(*OFFICIAL)
    assert len(state) == 441
    twins = [value for name, value in state.items() if ".downsample.0." in name]
    # PIFu's own count, in which a norm with two names counts once.
    assert sum(v.numel() for v in state.values()) - sum(v.numel() for v in twins) == 15_604_738


@pytest.mark.parametrize(
    ("shape", "window"), [(OFFICIAL, 2.048), ((2, 1, (7,)), 2.56), ((2, 3, (9, 8, 7)), 2.0)]
)
def test_an_imported_network_matches_pifu(shape, window, written):
    stacks, depth, hidden = shape
    state = net_g(*shape)
    model = import_pifu(written(state), window=window, size=64)
    assert model.config.hourglass == Hourglass(stacks=stacks, depth=depth, dim=256)
    assert (model.config.mlp, model.config.last_activation) == (hidden, "sigmoid")
    assert (model.window, model.size, model.level) == (window, 64, 0.5)
    assert model.config.neighborhood == 1
    assert model.data.light == "environment"
    images, points, calib = some_input(window)
    whole = torch.cat([calib, torch.tensor([0.0, 0, 0, 1]).expand(2, 1, 4)], dim=1)
    down = torch.diag(torch.tensor([1.0, -1, 1, 1]))
    with torch.no_grad():
        found = model.network(images, torch.tensor([[0], [1]]), points, calib)
        expected = pifu_occupancy(
            state, stacks, depth, network_input(images), points.mT, down @ whole
        )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (expected == 0).any()  # outside the image
    assert (expected[expected != 0].view(stacks, -1).std(dim=1) > 0.02).all()  # outputs must vary


def test_legacy_and_half_precision_files_are_read(written, small_state, small):
    legacy = written(small_state, _use_new_zipfile_serialization=False)
    assert equal_models(import_pifu(legacy, window=2.048, size=32), small)
    halves = {name: value.half() for name, value in small_state.items()}
    network = import_pifu(written(halves), window=2.048, size=32).network
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


def without(state, name):
    return {own: value for own, value in state.items() if own != name}


WEIGHT = "image_filter.conv4.bn1.bias"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda s: without(s, WEIGHT), f"1 of its entries are .* the first is '{WEIGHT}'"),
        (
            lambda s: s | {"image_filter.bn1.running_mean": s[WEIGHT]},
            "first is .*running_mean'",
        ),
        (lambda s: s | {WEIGHT: torch.zeros(7)}, f"have another shape; the first is '{WEIGHT}'"),
        (
            lambda s: s | {"surface_classifier.conv0.bias": torch.zeros(0)},
            "the first is 'surface_classifier.conv0.weight'",
        ),
        (lambda s: {f"module.{name}": s[name] for name in s}, "the first 'module.image_filter."),
        (lambda s: without(s, "image_filter.m0.b1_1.conv1.weight"), "stacks of depth 0"),
        (lambda s: without(s, "surface_classifier.conv1.bias"), "1 classifier layers"),
        (lambda s: {}, "its 0 entries, the first None"),
        (lambda s: s | {WEIGHT: s[WEIGHT].int()}, "a bare state dict of floating-point tensors"),
        (lambda s: s | {WEIGHT: 3}, "a bare state dict of floating-point tensors"),
        (lambda s: [s], "a bare state dict of floating-point tensors"),
        # PIFuHD's file.
        (
            lambda s: {"opt": argparse.Namespace(a=1), "model_state_dict": s},
            "not a model file, or damaged",
        ),
    ],
)
def test_other_state_dicts_are_rejected_in_one_line(edit, words, written, small_state):
    path = written(edit(small_state))
    with pytest.raises(DataError, match=rf"^{path}: .*{words}") as caught:
        import_pifu(path, window=2.048, size=32)
    assert "\n" not in str(caught.value)


def test_a_file_with_code_is_rejected_and_runs_nothing(written, tmp_path):
    path = written({"image_filter.l0.weight": Payload(tmp_path / "executed")})
    with pytest.raises(DataError, match="not a model file, or damaged"):
        import_pifu(path, window=2.048, size=32)
    assert not list(tmp_path.iterdir())


def test_image_sizes_must_match_the_hourglass(written):
    path = written(net_g(1, 3, (5,)))
    with pytest.raises(ConfigError, match=r"render\.size is 48, which .* needs a multiple of 32"):
        import_pifu(path, window=2.048, size=48)


@pytest.fixture(params=["group", "batch"])
def single(request, tiny_model) -> TrainedModel:
    """A tiny single-frame model with large random weights."""
    config = tiny_model.model_copy(update={"norm": request.param, "neighborhood": 1})
    torch.manual_seed(0)
    network = PIFu(config, 2.0).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return TrainedModel(network, config, 2.0, 64, 0.6, data=DataRecord())


@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_widened_model_matches_the_single_frame_for_equal_frames(k, single):
    wide = widen(single, k)
    assert wide.config.neighborhood == k
    assert (wide.window, wide.size, wide.level) == (2.0, 64, 0.6)
    images, points, calib = some_input(2.0)
    frames = torch.tensor([[0], [1]])
    with torch.no_grad():
        one = single.network(images, frames, points, calib)
        found = wide.network(images, frames.expand(2, k), points, calib)
    torch.testing.assert_close(found, one, atol=1e-5, rtol=0)
    assert one[one != 0].std() > 0.02


@pytest.mark.parametrize("k", [3, 5])
def test_every_frame_has_the_same_influence(k, single):
    """Replacing one image of the window changes the output, by the same amount at any position."""
    wide = widen(single, k)
    images, points, calib = some_input(2.0)
    with torch.no_grad():
        answers = [
            wide.network(images, torch.eye(k, dtype=torch.int64)[[place]], points[:1], calib[:1])
            for place in range(k)
        ]
        equal = wide.network(images, torch.zeros(1, k, dtype=torch.int64), points[:1], calib[:1])
    assert (answers[0] - equal).abs().max() > 1e-3
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], atol=1e-5, rtol=0)


def test_the_import_command_writes_a_model_but_replaces_none(written, small_state, tmp_path):
    path, out = written(small_state), tmp_path / "pifu"
    options = ["-o", out, "--neighborhood", 3, "--window", 2.56, "--size", 32]
    assert "3 frames of 32 px over 2.56 m" in done("import", path, *options).stdout
    expected = widen(import_pifu(path, window=2.56, size=32), 3)
    assert equal_models(load_model(out, CPU), expected)
    assert "already exists" in refused("import", path, *options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--neighborhood", 2], "model.neighborhood: is 2: must be odd"),
        (["--window", 0], "camera.window: is 0.0"),
        (["--window", 6], "camera.window: is 6.0"),
        (["--size", 40], "render.size: is 40: input should be a multiple of 16"),
        ([], "no such model file"),
    ],
)
def test_invalid_import_options_are_rejected(options, words, tmp_path):
    assert words in refused("import", tmp_path / "net_G", "-o", tmp_path / "out", *options)
    assert not list(tmp_path.iterdir())
