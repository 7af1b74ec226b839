import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tpifu.config import Hourglass, Model
from tpifu.geometry.camera import calibration, project
from tpifu.model.hourglass import HourglassLevels, NormReLU, StackedHourglass
from tpifu.model.kernels import norm
from tpifu.model.kernels.lookup import lookup, plain_lookup
from tpifu.model.kernels.norm import plain_norm_relu_conv
from tpifu.model.kernels.upsample import plain_upsample, upsample
from tpifu.model.pifu import PIFu, PointClassifier, network_input

WINDOW = 2.56
TABLE_1 = Model()
FUSIONS = ["concat", "early", "attention"]


def network(config: Model, neighborhood: int, seed=0, fusion="concat") -> PIFu:
    torch.manual_seed(seed)
    return PIFu(config.with_window(neighborhood, fusion=fusion), WINDOW).eval()


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def some_input(images=5, neighborhood=3, points=7, seed=0):
    rng = torch.Generator().manual_seed(seed)
    frames = torch.stack([torch.arange(neighborhood), 2 + torch.arange(neighborhood) % 3])
    calib = torch.from_numpy(np.stack([calibration(0.0, WINDOW), calibration(40.0, WINDOW)]))
    return (
        torch.randint(0, 256, (images, 32, 32, 2), generator=rng, dtype=torch.uint8),
        frames,
        torch.rand(2, points, 3, generator=rng) - 0.5,
        calib,
    )


# Counts that follow from Table 1 (PIFu's code has 16,640 more parameters, without a gradient).
@pytest.mark.parametrize(("neighborhood", "count"), [(1, 15_588_613), (3, 16_572_677)])
def test_table_1_has_its_number_of_parameters(neighborhood, count):
    assert parameters(PIFu(TABLE_1.with_window(neighborhood), WINDOW)) == count


# Table 1, "PIFu MLP dimensions"; the last two: 5 * 256 + 1 and 7 * 256 + 1.
@pytest.mark.parametrize(("neighborhood", "first"), [(1, 257), (3, 769), (5, 1281), (7, 1793)])
def test_mlp_widths_are_those_of_table_1(neighborhood, first):
    layers = PIFu(TABLE_1.with_window(neighborhood), WINDOW).classifier.layers
    widths = [1024, 512, 256, 129, 1]
    assert [layer.out_features for layer in layers] == widths
    # The input skips to every layer.
    assert [layer.in_features for layer in layers] == [first, *(w + first for w in widths[:-1])]


def test_table_1_takes_a_step():
    net = network(TABLE_1, 3).train()
    images, frames, points, calib = some_input(points=5)
    occupancy = net(images, frames, points, calib)
    assert occupancy.shape == (4, 2, 5)  # one value per stack
    occupancy.square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_feature_maps_are_a_quarter_of_the_image():
    config = Hourglass(stacks=2, depth=2, dim=16)
    maps = StackedHourglass(config, "group")(torch.zeros(1, 3, 64, 48))
    assert [m.shape for m in maps] == [(1, 16, 16, 12)] * 2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (5, 8), (16, 16)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_upsample_matches_plain_upsample(height, width, layout):
    torch.manual_seed(0)
    x = torch.randn(2, 3, height, width).to(memory_format=layout)
    torch.testing.assert_close(upsample(x), plain_upsample(x), atol=2e-6, rtol=1e-5)


def test_without_skip_an_hourglass_has_no_branches():
    with_skip = HourglassLevels(2, 16, "group", skip=True)
    without = HourglassLevels(2, 16, "group", skip=False)
    assert parameters(without) < parameters(with_skip)
    assert without(torch.zeros(1, 16, 8, 8)).shape == (1, 16, 8, 8)


def test_network_input_is_0_in_the_background_and_in_minus_1_to_1_on_the_body():
    pixels = torch.tensor([[[[0, 255], [255, 255], [200, 0], [128, 255]]]], dtype=torch.uint8)
    (image,) = network_input(pixels)
    assert image.shape == (3, 1, 4)
    torch.testing.assert_close(image[0, 0], torch.tensor([-1.0, 1.0, 0.0, 2 * 128 / 255 - 1]))
    torch.testing.assert_close(image[0], image[2])
    colour = torch.tensor([[[[255, 0, 128, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(
        network_input(colour)[0, :, 0, 0], torch.tensor([1.0, -1.0, 2 * 128 / 255 - 1])
    )


def test_neighborhood_1_is_the_baseline(tiny_model):
    """With one frame, the classifier sees one feature vector and the depth."""
    single = network(tiny_model, 1)
    images, _, points, calib = some_input()
    frames = torch.tensor([[3], [1]])
    found = single(images, frames, points, calib)
    for window, image in enumerate([3, 1]):
        feature = single.filter(images[image : image + 1, None])[-1]
        ndc = points[window] @ calib[window, :, :3].T
        at = (ndc[:, :2] * torch.tensor([1.0, -1.0]))[None, None]
        looked_up = F.grid_sample(feature, at, align_corners=False)[0, :, 0].T
        depth = ndc[:, 2:] * (WINDOW / 2) / tiny_model.z_normalization
        expected = single.classifier(torch.cat([looked_up, depth], dim=1))
        torch.testing.assert_close(found[-1, window], expected)


def test_both_models_start_from_the_same_filter(tiny_model):
    single, temporal = network(tiny_model, 1, seed=4), network(tiny_model, 3, seed=4)
    one, three = single.image_filter.state_dict(), temporal.image_filter.state_dict()
    assert one.keys() == three.keys()
    assert all(torch.equal(one[name], three[name]) for name in one)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_order_of_frames_matters(tiny_model, fusion):
    net = network(tiny_model, 3, fusion=fusion)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(10)  # the initial values are tiny
        if fusion == "attention":
            net.fuse.place.normal_()
    images, frames, points, calib = some_input()
    forwards = net(images, frames, points, calib)
    assert not torch.allclose(forwards, net(images, frames.flip(1), points, calib))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_overlapping_windows_match_single_windows(tiny_model, fusion):
    net = network(tiny_model, 3, fusion=fusion)
    images, frames, points, calib = some_input()
    together = net(images, frames, points, calib)
    for window in range(2):
        alone = net(
            images[frames[window]],
            torch.arange(3)[None],
            points[window : window + 1],
            calib[window : window + 1],
        )
        torch.testing.assert_close(together[:, window], alone[:, 0], atol=1e-6, rtol=1e-4)


def test_attention_to_equal_frames_adds_the_value_of_one(tiny_model):
    attention = network(tiny_model, 3, fusion="attention").fuse
    dim = attention.dim
    one = torch.rand(1, 7, dim)
    torch.testing.assert_close(attention(one.repeat(1, 1, 3)), one + attention.value(one))


def test_attention_prefers_the_frame_that_answers_the_centre(tiny_model):
    """With identity maps and large features, the mean is the most similar frame."""
    attention = network(tiny_model, 3, fusion="attention").fuse
    for layer in (attention.query, attention.key, attention.value):
        torch.nn.init.eye_(layer.weight)
    oldest, centre, newest = torch.eye(attention.dim)[:3] * 50
    newest = centre + newest
    features = torch.cat([oldest, centre, 2 * newest])[None, None]
    torch.testing.assert_close(attention(features)[0, 0], centre + 2 * newest)


@pytest.mark.parametrize(("fusion", "passes"), [("concat", 5), ("attention", 5), ("early", 2)])
def test_early_fusion_takes_one_pass_per_window(tiny_model, monkeypatch, fusion, passes):
    net = network(tiny_model, 3, fusion=fusion)
    seen = []
    of_network = net.image_filter.forward
    monkeypatch.setattr(net.image_filter, "forward", lambda x: seen.append(len(x)) or of_network(x))
    net(*some_input())
    assert seen == [passes]


def test_a_feature_map_is_looked_up_where_the_point_projects(tiny_model):
    """Bilinear lookup is exact for maps that are linear in column and row."""
    net = network(tiny_model, 1)
    seen = []
    net.classifier.forward = lambda x: seen.append(x) or x[..., 0]
    columns = torch.arange(8.0).expand(8, 8)
    features = torch.stack([columns, columns.T] + [torch.zeros(8, 8)] * 6)[None]
    points = torch.tensor([[[0.32, 0.16, 0.3], [-0.64, -0.8, -0.6]]])
    calib = torch.from_numpy(calibration(0.0, WINDOW))[None]
    net.query(features, torch.tensor([[0]]), points, calib)
    x, y = points[0, :, 0] / 1.28, points[0, :, 1] / 1.28
    torch.testing.assert_close(seen[0][0, :, 0], (x + 1) / 2 * 8 - 0.5)  # u, centres at halves
    torch.testing.assert_close(seen[0][0, :, 1], (1 - y) / 2 * 8 - 0.5)  # v, downwards
    torch.testing.assert_close(seen[0][0, :, -1], points[0, :, 2] / 0.3)  # metres / z_normalization


def test_points_project_in_float32_under_bfloat16(tiny_model, monkeypatch):
    seen = []

    def record(features, frames, xy, align_corners):
        seen.append(xy)
        return lookup(features, frames, xy, align_corners)

    monkeypatch.setattr("tpifu.model.pifu.lookup", record)
    network = PIFu(tiny_model.with_window(1), 2.56)
    points = torch.rand(1, 50, 3) * 2 - 1
    calib = torch.from_numpy(calibration(37.0, 2.56))[None]
    images = torch.zeros(1, 32, 32, 2, dtype=torch.uint8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        network(images, torch.zeros(1, 1, dtype=torch.long), points, calib)
    for xy in seen:
        assert torch.equal(xy, project(calib, points)[..., :2])


def test_occupancy_is_0_outside_the_box(tiny_model):
    net = network(tiny_model, 3)
    images, frames, points, calib = some_input()
    points[:, 0] = torch.tensor([0.0, 1.3, 0.0])
    points[:, 1] = torch.tensor([0.0, 0.0, -2.0])
    occupancy = net(images, frames, points, calib)
    assert (occupancy[:, :, :2] == 0).all()
    assert (occupancy[:, :, 2:] != 0).all()


@pytest.mark.parametrize(("activation", "low"), [("tanh", -1.0), ("sigmoid", 0.0)])
def test_the_last_activation_bounds_the_occupancy(activation, low):
    torch.manual_seed(0)
    classifier = PointClassifier(4, (8,), activation)
    with torch.no_grad():
        classifier.layers[-1].weight.mul_(100)
        values = classifier(torch.randn(500, 4) * 10)
    assert low <= values.min() < low + 0.1
    assert 0.9 < values.max() <= 1


def test_batch_norm_is_a_choice(tiny_model):
    batch = Model.model_validate({**tiny_model.model_dump(), "norm": "batch"})
    kinds = {type(module) for module in PIFu(batch, WINDOW).modules()}
    assert torch.nn.BatchNorm2d in kinds
    assert torch.nn.GroupNorm not in kinds


def slopes(function, inputs, parameters=()):
    """The output, and the gradients of a random linear function of it."""
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    found = function(*leaves)
    weighting = torch.randn(found.shape, generator=torch.Generator().manual_seed(5))
    grads = torch.autograd.grad(found, [*leaves, *parameters], weighting.to(found.dtype))
    return [found, *grads]


@pytest.mark.parametrize(("channels", "size"), [(64, 8), (16, 12), (256, 6)])
@pytest.mark.parametrize("convolved", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_fused_norm_relu_conv_matches_the_plain_layers(channels, size, convolved, dtype, tolerance):
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, 12, 3, padding=1, bias=False) if convolved else None
    layer = NormReLU("group", channels, conv)
    nn.init.normal_(layer.norm.weight, 1, 0.3)
    nn.init.normal_(layer.norm.bias, 0, 0.3)
    images = torch.randn(3, channels, size, size) * 2 + 1
    images = images.to(dtype).float().contiguous(memory_format=torch.channels_last)

    def plain(x):
        return plain_norm_relu_conv(x, layer.norm, conv)

    expected = slopes(plain, [images], layer.parameters())
    found = slopes(layer, [images.to(dtype)], layer.parameters())
    for ours, theirs in zip(found, expected, strict=True):
        # In bfloat16, a few values near 0 change the sign before the ReLU.
        assert torch.linalg.norm(ours.float() - theirs) < tolerance * torch.linalg.norm(theirs)


def test_kernel_gradients_match_in_contiguous_order(monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(1, 64, 64, 64).to(memory_format=torch.channels_last)
    grad = torch.randn(1, 8, 64, 64).to(memory_format=torch.channels_last)
    kernel = torch.randn(8, 64, 3, 3)
    found = []
    for contiguous in (False, True):
        monkeypatch.setattr(norm, "_SLOW_CHANNELS_LAST", contiguous)
        found.append(norm._convolution_backward(grad, x, kernel))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("align_corners", [False, True])
def test_lookup_matches_grid_sample(align_corners):
    torch.manual_seed(0)
    features = torch.randn(4, 5, 6, 8)
    frames = torch.tensor([[0, 1, 1], [3, 2, 0]])
    xy = torch.rand(2, 50, 2) * 2.4 - 1.2  # some outside the image

    def slow(features):
        grid = (xy * torch.tensor([1.0, -1.0]))[:, None]
        steps = [
            F.grid_sample(features[frames[:, step]], grid, align_corners=align_corners)
            for step in range(3)
        ]
        return torch.cat(steps, dim=1)[:, :, 0].mT

    expected = slopes(slow, [features])
    for one in (lookup, plain_lookup):
        found = slopes(lambda x, one=one: one(x, frames, xy, align_corners), [features])
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hidden", [(16, 8), ()])
def test_the_classifier_concatenates_its_input_at_every_layer(hidden):
    torch.manual_seed(0)
    classifier = PointClassifier(9, hidden, "tanh")
    x = torch.randn(2, 15, 9)
    y, *weights = [value.detach().numpy() for value in (x, *classifier.parameters())]
    for number, (weight, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        if number:
            y = np.concatenate([np.where(y > 0, y, 0.01 * y), x.numpy()], axis=-1)
        y = y @ weight.T + bias
    found = classifier(x).detach().numpy()
    np.testing.assert_allclose(found, np.tanh(y[..., 0]), atol=1e-6, rtol=1e-5)
