"""Confidence intervals of the mean difference between two variants trained with the same seeds.

A difference is the second variant minus the first, for one seed and one mesh. Both training runs
(seeds) and clips are random samples, and every run is evaluated on the same clips. Meshes of one
clip are not independent. docs/measures.md explains the interval and its measured coverage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import stats

from tpifu.errors import DataError
from tpifu.measures.names import Row

DRAWS = 10_000
"""Number of bootstrap draws per interval."""
TAILS = (0.025, 0.975)
"""Quantiles of a 95 % interval."""
POWER = 0.8
"""A study finds the detectable difference with this probability."""


@dataclass(frozen=True)
class Interval:
    """Mean difference, its 95 % interval, and the size of the study."""

    mean: float
    low: float
    high: float
    seeds: int
    clips: int
    meshes: int
    """Number of meshes on which all runs of both variants have the measure. Only these count."""
    seeds_error: float
    """Standard error of the mean due to the choice of seeds; 0 with one seed."""
    clips_error: float
    """Standard error of the mean due to the choice of clips; 0 with one clip."""
    detectable: float
    """The smallest true difference that 80 % of studies of this size find; nan if unknown."""


def paired_differences(
    first: Mapping[int, Sequence[Row]], second: Mapping[int, Sequence[Row]], measure: str
) -> tuple[Float[np.ndarray, "seeds meshes"], Shaped[np.ndarray, " meshes"]]:
    """Second minus first for each seed and mesh, nan if either is missing; the clip of each mesh.

    `first` and `second` hold the runs of one variant each: for each seed, one row per mesh of a
    split (`over_views`). Raises DataError if their seeds or meshes differ.
    """
    if first.keys() != second.keys():
        seeds = (", ".join(str(seed) for seed in sorted(runs)) for runs in (first, second))
        raise DataError(
            "the variants have different seeds: {}; {}; use the same seeds for both".format(*seeds)
        )
    runs = [*first.values(), *second.values()]
    keys = [[(row["split"], row["clip"], row["frame"]) for row in rows] for rows in runs]
    assert len(set(keys[0])) == len(keys[0]), "several rows per mesh: average over views first"
    if any(own != keys[0] for own in keys):
        raise DataError("the runs were evaluated on different meshes; evaluate them again")
    before, after = (
        np.array([[row[measure] for row in runs[seed]] for seed in first], np.float64)
        for runs in (first, second)
    )
    return after - before, np.array([clip for _, clip, _ in keys[0]])


def interval(
    values: Float[np.ndarray, "seeds meshes"],
    clips: Shaped[np.ndarray, " meshes"],
    rng: np.random.Generator,
) -> Interval:
    """95 % interval of the mean of `values`. `clips` names the clip of each mesh.

    A mesh with a nan in any seed is excluded. If no mesh remains, the interval is nan. With one
    seed, the interval does not cover the variation between training runs (see `caveats`).
    """
    seeds = len(values)
    known = np.isfinite(values).all(axis=0)
    if not known.any():
        nan = float("nan")
        return Interval(nan, nan, nan, seeds, 0, 0, nan, nan, nan)
    values = values[:, known]
    names, index, sizes = np.unique(clips[known], return_inverse=True, return_counts=True)
    sums = np.array([np.bincount(index, row) for row in values])
    mean = float(values.mean())
    seeds_error = standard_error(values.mean(axis=1), np.full(seeds, 1 / seeds))
    clips_error = standard_error(sums.mean(axis=0) / sizes, sizes / sizes.sum())
    error = float(np.hypot(seeds_error, clips_error))
    freedom = degrees_of_freedom(seeds_error, seeds, clips_error, len(names))

    means = bootstrap_means(sums, sizes, rng)
    low, high = np.quantile(means, TAILS)
    spread = means.std()
    if seeds > 1 and spread > 0:
        # The bootstrap of few seeds is too narrow. The t distribution with the same standard error
        # determines the width, the bootstrap the shape.
        scale = stats.t.ppf(TAILS[1], freedom) * error / (stats.norm.ppf(TAILS[1]) * spread)
        low, high = mean + scale * (np.array([low, high]) - mean)
    # Bloom 1995, "Minimum detectable effects".
    detectable = (stats.t.ppf(TAILS[1], freedom) + stats.t.ppf(POWER, freedom)) * error
    return Interval(
        mean=mean,
        low=float(low),
        high=float(high),
        seeds=seeds,
        clips=len(names),
        meshes=values.shape[1],
        seeds_error=seeds_error,
        clips_error=clips_error,
        detectable=float(detectable),
    )


def bootstrap_means(
    sums: Float[np.ndarray, "seeds clips"],
    sizes: Int[np.ndarray, " clips"],
    rng: np.random.Generator,
) -> Float[np.ndarray, " draws"]:
    """Means over resampled seeds and clips, both drawn independently and with replacement.

    `sums`: sum over the meshes of each clip; `sizes`: number of meshes of each clip. A clip is
    drawn or left out as a whole, in all seeds.
    """
    seeds, clips = sums.shape
    draws = rng.multinomial(clips, np.full(clips, 1 / clips), size=DRAWS)
    # The ratio of sums gives large clips more weight, as in the mean itself.
    means = np.array([draws @ row for row in sums]) / (draws @ sizes)
    if seeds == 1:
        return means[0]
    draws = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    return (draws.T * means).sum(axis=0) / seeds


def standard_error(values: Float[np.ndarray, " n"], shares: Float[np.ndarray, " n"]) -> float:
    """Standard error of the weighted mean of independent values; 0 for a single value."""
    squares = (shares * (values - values @ shares)) ** 2
    return float(np.sqrt(squares.sum() * len(values) / max(len(values) - 1, 1)))


def degrees_of_freedom(seeds_error: float, seeds: int, clips_error: float, clips: int) -> float:
    """Satterthwaite's degrees of freedom of the sum of two variances; nan for a single value."""
    variances = np.array([seeds_error, clips_error]) ** 2
    freedom = np.maximum([seeds - 1, clips - 1], 1)
    if seeds == clips == 1:
        return np.nan
    if variances.sum() == 0:
        return float(freedom.sum())
    return float(variances.sum() ** 2 / (variances**2 / freedom).sum())


def caveats(intervals: Sequence[Interval]) -> list[str]:
    """Notes to print below a table of these intervals: the variation that they do not cover, and
    how many exclude 0 by chance."""
    lines = []
    if any(one.seeds == 1 for one in intervals):
        lines.append(
            "An interval from one seed does not cover the variation between training runs."
        )
    if any(one.clips == 1 for one in intervals):
        lines.append("An interval from one clip does not cover the variation between clips.")
    if (count := len(intervals)) > 1:
        lines.append(
            f"The table has {count} intervals. If no variant made a difference, about "
            f"{0.05 * count:.2g} of them would still exclude 0. If you choose a "
            "difference from the table, confirm it with new seeds."
        )
    return lines
