"""Occupancy measured at points and on a grid, and intervals over clips. Pure functions."""

import numpy as np
from jaxtyping import Bool, Float

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
