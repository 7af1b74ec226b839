"""Measures of occupancy at points and on grids. Pure functions."""

import numpy as np
from jaxtyping import Bool, Float

THRESHOLD = 0.5
"""A point is predicted inside if its occupancy is greater."""


def point_metrics(
    occupancy: Float[np.ndarray, "n"], labels: Bool[np.ndarray, "n"]
) -> dict[str, float]:
    """IoU, MSE, precision, recall and accuracy. `occupancy` is raw; `labels` are True inside.

    The paper's Table 2 has these measures for points of which half are inside. Its row "Accuracy"
    is very probably recall: only then do its IoU and precision fit one confusion matrix. A ratio
    with denominator 0 is 0, as in PIFu.
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
    """The confusion matrix as shares of all points: `inside_missed` are the false negatives,
    `outside_missed` the false positives."""
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
    """The mean of each key over `rows`, which are not empty and have equal keys."""
    assert rows, "no rows to average"
    assert all(row.keys() == rows[0].keys() for row in rows), "rows have different keys"
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
