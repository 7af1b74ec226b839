import gc

import pytest
import torch

from tpifu.dataset.windows import window_frames
from tpifu.geometry.camera import calibration
from tpifu.model import field
from tpifu.model.field import window_fields
from tpifu.model.pifu import PIFu


def test_early_fusion_filters_each_window_once(tiny_model, monkeypatch):
    monkeypatch.setattr(field, "PASSES", 2)
    torch.manual_seed(0)
    network = PIFu(tiny_model.with_window(3, fusion="early"), 2.56).eval()
    images = torch.randint(0, 256, (5, 16, 16, 2), dtype=torch.uint8)
    frames = torch.from_numpy(window_frames(5, 3))
    calib = torch.stack([torch.from_numpy(calibration(10.0 * t, 2.56)) for t in range(5)])
    points = torch.rand(5, 20, 3) * 2 - 1
    expected = network(images, frames, points, calib)[-1].detach()
    fields = window_fields(network, images, frames, calib)
    found = torch.stack([query(own) for query, own in zip(fields, points, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("neighborhood", "at_once"), [(1, 2), (3, 1), (3, 2), (3, 50), (5, 3)])
def test_fields_filter_each_frame_once_and_drop_old_maps(
    tiny_model, neighborhood, at_once, stride, monkeypatch
):
    monkeypatch.setattr(field, "PASSES", at_once)
    torch.manual_seed(0)
    network = PIFu(tiny_model.with_window(neighborhood), 2.56).eval()
    images = torch.randint(0, 256, (9, 16, 16, 2), dtype=torch.uint8)
    frames = torch.from_numpy(window_frames(9, neighborhood, stride))
    calib = torch.stack([torch.from_numpy(calibration(10.0 * t, 2.56)) for t in range(9)])
    points = torch.rand(20, 3) * 2 - 1
    filtered, most = [], 0
    of_network = network.filter

    def counted(some):
        filtered.append(len(some))
        return of_network(some)

    monkeypatch.setattr(network, "filter", counted)
    with torch.no_grad():
        every = of_network(images[:, None])[-1]
    fields = window_fields(network, images, frames, calib)
    for window, camera, found in zip(frames, calib, fields, strict=True):
        values = found(points)
        expected = network.query(every, window[None], points[None], camera[None])[0]
        assert not values.requires_grad
        torch.testing.assert_close(values, expected.detach(), rtol=1e-4, atol=1e-6)
        shape = every.shape[1:]
        alive = sum(type(x) is torch.Tensor and x.shape == shape for x in gc.get_objects())
        most = max(most, alive)
    assert sum(filtered) == 9
    assert len(filtered) == -(-9 // at_once)
    assert most <= min(9, stride * (neighborhood - 1) + 1 + at_once)


def test_points_are_queried_in_batches(tiny_model, monkeypatch):
    torch.manual_seed(0)
    network = PIFu(tiny_model.with_window(1), 2.56).eval()
    images = torch.randint(0, 256, (1, 16, 16, 2), dtype=torch.uint8)
    calib = torch.from_numpy(calibration(0.0, 2.56))[None]
    (found,) = window_fields(network, images, torch.zeros(1, 1, dtype=torch.int64), calib)
    points = torch.rand(100, 3) * 2 - 1
    whole = found(points)
    sizes = []
    query = network.query
    monkeypatch.setattr(network, "query", lambda *a: sizes.append(a[2].shape[1]) or query(*a))
    monkeypatch.setattr(field, "CPU_POINTS", 30)
    torch.testing.assert_close(found(points), whole)
    assert sizes == [30, 30, 30, 10]
