import itertools
import math

import pytest
import torch
from helpers.training import windows

from tpifu.model.pifu import PIFu
from tpifu.shards.coding import unpack_bits, unpack_codes
from tpifu.train.clock import Clock
from tpifu.train.step import add_gradients, fastest_precision, loss_of_stacks, surface_level


def test_the_loss_is_the_mean_squared_error_over_all_stacks():
    torch.manual_seed(0)
    occupancy, labels = torch.rand(3, 2, 5), torch.rand(2, 5)
    total = 0.0
    for stack, window, point in itertools.product(range(3), range(2), range(5)):
        total += float(occupancy[stack, window, point] - labels[window, point]) ** 2
    assert float(loss_of_stacks(occupancy, labels)) == pytest.approx(total / 30)


def test_cross_entropy_is_the_mean_negative_logarithm_of_the_labels_probability():
    torch.manual_seed(0)
    occupancy, labels = torch.rand(3, 2, 5) * 0.8 + 0.1, (torch.rand(2, 5) > 0.5).float()
    right = torch.where(labels > 0, occupancy, 1 - occupancy)
    expected = -right.log().mean()
    torch.testing.assert_close(loss_of_stacks(occupancy, labels, "cross_entropy"), expected)
    never = torch.zeros(1, 1, 1)
    assert float(loss_of_stacks(never, never[0] + 1, "cross_entropy")) == pytest.approx(9.21, 1e-3)


def test_at_the_surface_level_inside_and_outside_are_equally_likely():
    """Points on a line; inside and outside are normal around 0 and 1, and 20 % are inside."""
    points = torch.linspace(-3, 4, 7001, dtype=torch.float64)
    inside, outside = (-((points - centre) ** 2) / 2 for centre in (0.0, 1.0))
    balanced = torch.sigmoid(inside - outside)  # the probability that balanced draws teach
    pool = torch.sigmoid(inside - outside + math.log(0.2 / 0.8))
    assert torch.equal(balanced > surface_level(0.2), pool > 0.5)
    assert not torch.equal(balanced > 0.5, pool > 0.5)


def test_the_inside_share_counts_all_stored_points(tiny):
    found = windows(tiny)
    rows = [row for _, clip_rows in found.clips for row in clip_rows.tolist()]
    stored = found.points.read(rows, ["points", "inside"])
    sizes = [len(unpack_codes(row["points"])) for row in stored]
    inside = [
        unpack_bits(row["inside"], size).sum() for row, size in zip(stored, sizes, strict=True)
    ]
    assert 0.05 < found.inside_share < 0.45
    assert found.inside_share == pytest.approx(sum(inside) / sum(sizes))


@pytest.mark.parametrize(("factor", "chosen"), [(0.5, "bfloat16"), (0.95, "float32")])
def test_the_faster_precision_is_chosen_if_it_is_clearly_faster(
    tiny, tiny_model, monkeypatch, factor, chosen
):
    clock = [0.0]

    def timed(network, parts, precision):
        clock[0] += factor if precision == "bfloat16" else 1.0
        return add_gradients(network, parts, precision)

    monkeypatch.setattr("tpifu.train.step.add_gradients", timed)
    monkeypatch.setattr("tpifu.train.step.time.perf_counter", lambda: clock[0])
    network = PIFu(tiny_model.with_window(1), 2.56)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch = windows(tiny, neighborhood=1).clip_batch(0, 0, 20, 0)
    assert fastest_precision(network, [batch]) == chosen
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())


@pytest.mark.parametrize("parts", [1, 3])
def test_speeds_count_all_ranks_and_the_wait_for_data(tiny, monkeypatch, parts):
    # Each reading of the clock is one second later: a step waits for 1 s and computes for 1 s.
    monkeypatch.setattr("tpifu.train.clock.time.perf_counter", itertools.count().__next__)
    batch = windows(tiny, neighborhood=1).clip_batch(0, 0, 20, 0)
    clock = Clock(world_size=2)
    for _ in range(2):
        clock.data_arrived()
        assert clock.step_done([batch] * parts) == {
            "frames_per_s": 2 * parts * len(batch.images) / 2,
            "points_per_s": 2 * parts * 5 * 20 / 2,
            "waiting_share": 0.5,
        }
