"""Coverage of the intervals of measures/intervals.py in simulated studies; prints a Markdown table.

python benchmarks/intervals.py [STUDIES]

Each study has 12 clips of 4 to 12 meshes. A difference is the sum of normally distributed effects
of the seed, the clip (standard deviation 1) and the seed-clip pair (0.5). The true mean difference
is 0. Columns: standard deviation between seeds; number of seeds; share of intervals that contain
the truth, without and with the correction for few seeds; share of intervals that exclude 0 if the
true difference equals the detectable difference; median ratio of the estimated to the true
detectable difference. With one seed, the last two columns are blank, because the detectable
difference ignores the variation between seeds. Each interval has 1,000 draws. 2,000 studies per row
take two minutes.
"""

import sys

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from tpifu.measures import intervals
from tpifu.measures.intervals import POWER, TAILS, bootstrap_means, degrees_of_freedom, interval

BETWEEN_SEEDS, BETWEEN_PAIRS, CLIPS = (0.3, 0.7, 2.0), 0.5, 12


def study(
    between_seeds: float, seeds: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "seeds clips"], Int[np.ndarray, " clips"]]:
    """The difference for each seed and clip; the number of meshes of each clip."""
    by_seed = rng.normal(0, between_seeds, (seeds, 1))
    pairs = rng.normal(0, BETWEEN_PAIRS, (seeds, CLIPS))
    return by_seed + rng.normal(0, 1, CLIPS) + pairs, rng.integers(4, 13, CLIPS)


def true_detectable(between_seeds: float, seeds: int, sizes: Int[np.ndarray, " clips"]) -> float:
    """The detectable difference computed from the true variances."""
    squares = float(((sizes / sizes.sum()) ** 2).sum())
    by_seed = (between_seeds**2 + BETWEEN_PAIRS**2 * squares) / seeds
    by_clip = (1 + BETWEEN_PAIRS**2 / seeds) * squares
    freedom = degrees_of_freedom(by_seed**0.5, seeds, by_clip**0.5, CLIPS)
    quantiles = stats.t.ppf([TAILS[1], POWER], freedom)
    return float(quantiles.sum() * (by_seed + by_clip) ** 0.5)


def percent(found: list[bool]) -> str:
    return f"{100 * np.mean(found):.0f} %"


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    intervals.DRAWS = 1000
    print("| Between seeds | Seeds | Uncorrected | Corrected | Found | Estimate / true |")
    print("|---|---|---|---|---|---|")
    for between_seeds in BETWEEN_SEEDS:
        for seeds in (1, 2, 3, 5):
            plain, covered, detected, ratio = [], [], [], []
            for number in range(studies):
                rng = np.random.default_rng([number, seeds])
                cells, sizes = study(between_seeds, seeds, rng)
                low, high = np.quantile(bootstrap_means(cells * sizes, sizes, rng), TAILS)
                plain.append(low <= 0 <= high)
                values = np.repeat(cells, sizes, axis=1)
                found = interval(values, np.repeat(np.arange(CLIPS), sizes), rng)
                covered.append(found.low <= 0 <= found.high)
                effect = true_detectable(between_seeds, seeds, sizes)
                detected.append(found.low + effect > 0)
                ratio.append(found.detectable / effect)
            row = [f"{between_seeds}", f"{seeds}", percent(plain), percent(covered)]
            row += [percent(detected), f"{np.median(ratio):.2f}"] if seeds > 1 else ["", ""]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
