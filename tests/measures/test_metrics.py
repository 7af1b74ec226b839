import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpifu.measures.points import mean_metrics, point_metrics, volumetric_iou


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
