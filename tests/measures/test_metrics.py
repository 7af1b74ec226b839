import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpifu.measures.points import mean_metrics, point_metrics, volumetric_iou
from tpifu.report.tables import bootstrap_interval


def slow_metrics(occupancy, labels):
    """The definitions, point by point."""
    pairs = [(o > 0.5, bool(y)) for o, y in zip(occupancy, labels, strict=True)]
    both = sum(p and y for p, y in pairs)
    return {
        "iou": both / (sum(p or y for p, y in pairs) or 1),
        "mse": sum((float(o) - y) ** 2 for o, y in zip(occupancy, labels, strict=True))
        / len(pairs),
        "precision": both / (sum(p for p, _ in pairs) or 1),
        "recall": both / (sum(y for _, y in pairs) or 1),
        "accuracy": sum(p == y for p, y in pairs) / len(pairs),
    }


@given(st.lists(st.tuples(st.floats(-1, 1, width=32), st.booleans()), min_size=1, max_size=30))
def test_point_metrics_equal_their_definitions(pairs):
    occupancy = np.array([o for o, _ in pairs], dtype=np.float32)
    labels = np.array([y for _, y in pairs])
    assert point_metrics(occupancy, labels) == pytest.approx(slow_metrics(occupancy, labels))


def test_volumetric_iou():
    left, right = np.zeros((2, 4, 4, 4), dtype=bool)
    left[:2], right[1:4] = True, True
    assert volumetric_iou(left, right) == 1 / 4
    assert volumetric_iou(left, left) == 1.0
    assert volumetric_iou(left, np.zeros_like(left)) == 0.0
    assert volumetric_iou(np.zeros_like(left), np.zeros_like(left)) == 1.0


def test_mean_metrics_averages_rows_with_equal_keys():
    assert mean_metrics([{"a": 1.0, "b": 0.0}, {"a": 2.0, "b": 4.0}]) == {"a": 1.5, "b": 2.0}


def slow_bootstrap(values, groups, rng):
    """Draw groups with replacement and average all of their values, 10,000 times."""
    members = [values[groups == name] for name in sorted(set(groups.tolist()))]
    means = [
        np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]).mean()
        for _ in range(10_000)
    ]
    return np.quantile(means, [0.025, 0.975])


def test_bootstrap_matches_a_loop_for_unequal_groups():
    rng = np.random.default_rng(1)
    groups = np.repeat([f"clip{i}" for i in range(8)], rng.integers(1, 12, size=8))
    rng.shuffle(groups)
    values = rng.normal(size=len(groups)) + (groups == "clip3")
    fast = bootstrap_interval(values, groups, np.random.default_rng(2))
    slow = slow_bootstrap(values, groups, np.random.default_rng(3))
    # The two use different random numbers: allow a few hundredths of the width.
    assert fast == pytest.approx(slow, abs=0.05 * (slow[1] - slow[0]))
    assert fast[0] < values.mean() < fast[1]


def test_bootstrap_resamples_clips_not_frames():
    # Repeating the frames of a clip must not narrow the interval.
    values = np.random.default_rng(0).normal(size=12)
    once = bootstrap_interval(values, np.arange(12), np.random.default_rng(5))
    tenfold = bootstrap_interval(
        np.repeat(values, 10), np.repeat(np.arange(12), 10), np.random.default_rng(5)
    )
    assert tenfold == pytest.approx(once)


def test_the_interval_of_a_single_clip_has_no_width():
    found = bootstrap_interval(np.arange(6.0), np.zeros(6, dtype=int), np.random.default_rng(0))
    assert found == (2.5, 2.5)
