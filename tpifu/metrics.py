"""Occupancy measured at points and on a grid, and intervals over clips. Pure functions."""

import numpy as np
from jaxtyping import Bool, Float, Shaped

THRESHOLD = 0.5
"""Occupancy above it is inside."""


def point_metrics(
    occupancy: Float[np.ndarray, "n"], labels: Bool[np.ndarray, "n"]
) -> dict[str, float]:
    """IoU, MSE, precision, recall and accuracy at points; `occupancy` raw, `labels` True inside.

    The paper's Table 2 is this on half inside, half outside points; its row "Accuracy" is very
    probably recall: only then do its IoU, precision and "Accuracy" fit one confusion matrix.
    Empty denominators count as 1, as in PIFu.
    """
    predicted = occupancy > THRESHOLD
    hits = int((predicted & labels).sum())
    return {
        "iou": hits / max(int((predicted | labels).sum()), 1),
        "mse": float(((occupancy.astype(np.float64) - labels) ** 2).sum() / max(len(labels), 1)),
        "precision": hits / max(int(predicted.sum()), 1),
        "recall": hits / max(int(labels.sum()), 1),
        "accuracy": int((predicted == labels).sum()) / max(len(labels), 1),
    }


def confusion(occupancy: Float[np.ndarray, "n"], labels: Bool[np.ndarray, "n"]) -> dict[str, float]:
    """The confusion matrix at points as shares of them all: what is inside and found, inside and
    missed, outside and called inside, outside and found."""
    predicted = occupancy > THRESHOLD
    return {
        "inside_found": float((labels & predicted).mean()),
        "inside_missed": float((labels & ~predicted).mean()),
        "outside_missed": float((~labels & predicted).mean()),
        "outside_found": float((~labels & ~predicted).mean()),
    }


def volumetric_iou(predicted: Bool[np.ndarray, "*s"], truth: Bool[np.ndarray, "*s"]) -> float:
    """Intersection over union of two occupancy grids; 1 if both are empty."""
    union = int((predicted | truth).sum())
    return int((predicted & truth).sum()) / union if union else 1.0


def mean_metrics(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each key over `rows`, at least one; all rows have the same keys."""
    assert rows, "no rows to average"
    assert all(row.keys() == rows[0].keys() for row in rows), "rows differ in their keys"
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def bootstrap_interval(
    values: Float[np.ndarray, "n"],
    groups: Shaped[np.ndarray, "n"],
    rng: np.random.Generator,
    samples: int = 10_000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the mean of `values` under resampling of whole groups.

    `groups` names the clip of each value: frames of one clip are not independent, so a clip is
    drawn or left out as a whole. A single group gives an interval of no width, which says nothing
    about other groups.
    """
    names, index = np.unique(groups, return_inverse=True)
    assert len(names), "no values to resample"
    sums = np.bincount(index, values)
    sizes = np.bincount(index)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=samples)
    # A ratio of sums: large clips weigh more, as they do in the mean itself.
    low, high = np.quantile((draws @ sums) / (draws @ sizes), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
