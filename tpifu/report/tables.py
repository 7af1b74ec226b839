"""Two evaluations side by side as numbers: differences per mesh with intervals, Table 2, tables by
body part and by motion."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from tpifu.body.skeleton import PARTS
from tpifu.errors import DataError
from tpifu.evaluate.rows import over_views
from tpifu.measures.names import COMPARED, HEADLINE, PAPER, PART_MEASURES, SHARES, Row
from tpifu.shards.schema import HELD_OUT


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


@dataclass(frozen=True)
class Paired:
    """One measure of two models on the same meshes."""

    measure: str
    first: float
    second: float
    """Means over the meshes on which both models have the measure."""
    difference: float
    """Second minus first, with its 95 % bootstrap interval over whole clips."""
    low: float
    high: float
    meshes: int

    @property
    def digits(self) -> int:
        return 2 if max(abs(self.first), abs(self.second)) >= 20 else 4

    def cells(self) -> list[str]:
        """Formats both values, and their difference with its interval."""
        n = self.digits
        change = f"{self.difference:+.{n}f} [{self.low:+.{n}f}, {self.high:+.{n}f}]"
        return [f"{self.first:.{n}f}", f"{self.second:.{n}f}", change]


def by_mesh(first: Sequence[Row], second: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Means over the views of each mesh, the same meshes for both. Raises DataError if they are
    not."""
    ours = over_views(first), over_views(second)
    keys = [[(row["split"], row["clip"], row["frame"]) for row in rows] for rows in ours]
    if keys[0] != keys[1]:
        raise DataError("the two evaluations are of different meshes; evaluate both models anew")
    return ours


def paired(
    first: Sequence[Row], second: Sequence[Row], measures: Iterable[str], seed: int
) -> dict[str, Paired]:
    """The measures that both models have on at least one mesh; rows as from `by_mesh`."""
    result = {}
    clips = np.array([row["clip"] for row in first])
    for measure in measures:
        values = np.array([[row[measure] for row in rows] for rows in (first, second)], np.float64)
        known = np.isfinite(values).all(axis=0)
        if not known.any():
            continue
        one, other = values[:, known]
        change = other - one
        low, high = bootstrap_interval(change, clips[known], np.random.default_rng(seed))
        result[measure] = Paired(
            measure,
            first=float(one.mean()),
            second=float(other.mean()),
            difference=float(change.mean()),
            low=low,
            high=high,
            meshes=int(known.sum()),
        )
    return result


def differences(found: dict[str, dict[str, Paired]]) -> dict[str, Any]:
    """The metrics file of the comparison: per chosen measure the difference and its interval, the
    test set's at the top, other splits under their names; four digits."""
    result: dict[str, Any] = {}
    for split, measures in found.items():
        own = {
            name: {
                key: round(getattr(measures[name], key), 4) for key in ("difference", "low", "high")
            }
            for name in COMPARED
            if name in measures
        }
        if split == HELD_OUT[0]:
            result |= own
        else:
            result[split] = own
    return result


def table2(
    names: Sequence[str],
    found: dict[str, dict[str, Paired]],
    profile: str,
    seed: int,
    provenance: dict[str, Any],
) -> str:
    """Table 2 as text, and the measures that the paper does not have below it: ours and the
    paper's, the difference per mesh with its interval, what was run, and on whose data under which
    terms."""
    lines = [
        f"Table 2, profile {profile}, seed {seed}",
        "",
        f"| {'metric':<36} | {names[0]:>8} | {names[1]:>8} | {'difference [95 %]':<26} | paper |",
        f"|{'-' * 38}|{'-' * 9}:|{'-' * 9}:|{'-' * 28}|---|",
    ]
    for split, measures in found.items():
        where = "" if split == HELD_OUT[0] else f"{split}: "
        for measure in HEADLINE:
            if measure not in measures:
                continue
            row = measures[measure].cells()
            printed = PAPER.get(measure) if not where else None
            paper = "{:.4f}, {:.4f}".format(*printed) if printed else ""
            label = where + measure
            lines.append(f"| {label:<36} | {row[0]:>8} | {row[1]:>8} | {row[2]:<26} | {paper} |")
        count = str(max(one.meshes for one in measures.values()))
        paper = "" if where else "100, 100"
        lines.append(f"| {where + 'meshes':<36} | {count:>8} | {count:>8} | {'':<26} | {paper} |")
    lines += ["", *notes(profile, provenance)]
    return "\n".join(lines) + "\n"


def notes(profile: str, provenance: dict[str, Any]) -> list[str]:
    """How to read the numbers, and whose data they come from; a line each."""
    lines = [
        "The first five measures are at points 50/50 inside and outside, per mesh over all views, "
        "then averaged (Table 2's setting); the others are of one view of each mesh, on a uniform "
        "grid, on the reconstructed surface, or from frame to frame, and are not in the paper.",
        "The interval (95 % bootstrap) resamples whole clips. The paper's row 'Accuracy' stands "
        "beside recall, which it very probably is (docs/paper.md).",
    ]
    if profile != "paper":
        lines.append(f"The {profile} profile is a small network: its numbers are not the paper's.")
    lines.append(f"Motion: {provenance['source']} ({provenance['licence']}).")
    if citation := provenance["citation"]:
        lines.append(citation if citation.endswith(".") else f"{citation}.")
    return lines


def motion_of(sequence: str) -> str:
    """What a sequence shows: `walk` of `01_walk`, `broad_crawl` of `01_broad_crawl_07`. CMU's names
    are numbers alone and say nothing: they stay whole."""
    subject, _, motion = sequence.partition("_")
    if not subject.isdigit() or not motion or motion.isdigit():
        return sequence
    return motion.rstrip("0123456789").removesuffix("_")


def by_motion(
    first: Sequence[Row], second: Sequence[Row], measures: Iterable[str], seed: int
) -> dict[str, dict[str, Paired]]:
    """`paired` of each motion, in alphabetical order."""
    measures = list(measures)
    motions = np.array([motion_of(row["sequence"]) for row in first])
    result = {}
    for motion in np.unique(motions).tolist():
        own, other = (
            [row for row, name in zip(rows, motions, strict=True) if name == motion]
            for rows in (first, second)
        )
        result[motion] = paired(own, other, measures, seed)
    return result


def part_rows(names: Sequence[str], found: dict[str, Paired]) -> list[dict[str, Any]]:
    """A row a body part and model, for plots: every part's measures in columns."""
    return [
        {
            "part": f"{part} ({name})",
            **{
                kind: round(getattr(found[f"{kind}_{part}"], side), 4)
                for kind in PART_MEASURES
                if f"{kind}_{part}" in found
            },
        }
        for part in PARTS
        for name, side in zip(names, ("first", "second"), strict=True)
        if any(f"{kind}_{part}" in found for kind in PART_MEASURES)
    ]


def confusion_rows(
    names: Sequence[str], motions: dict[str, dict[str, Paired]]
) -> list[dict[str, Any]]:
    """Confusion matrix for each motion and model, as shares of the balanced points."""
    return [
        {"motion": motion, "model": name, "outcome": share, "share": round(getattr(one, side), 4)}
        for motion, found in motions.items()
        for name, side in zip(names, ("first", "second"), strict=True)
        for share, one in found.items()
        if share in SHARES
    ]


def of_split(rows: tuple[list[Row], list[Row]], split: str) -> tuple[list[Row], list[Row]]:
    first, second = ([row for row in own if row["split"] == split] for own in rows)
    return first, second


def long_rows(group: str, found: dict[str, dict[str, Paired]]) -> list[dict[str, Any]]:
    """A row a group (a split or a motion) and measure, with everything that is known of it."""
    return [
        {group: name, **{key: _digits(value) for key, value in vars(one).items()}}
        for name, measures in found.items()
        for one in measures.values()
    ]


def _digits(value: str | int | float) -> str | int | float:
    return round(value, 6) if isinstance(value, float) else value


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
