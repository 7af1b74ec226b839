"""Two evaluations side by side as numbers: differences per mesh with intervals, Table 2, tables by
body part and by motion."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tpifu.body.skeleton import PARTS
from tpifu.errors import DataError
from tpifu.evaluate.rows import metrics, over_views
from tpifu.measures.intervals import interval
from tpifu.measures.names import COMPARED, HEADLINE, PAPER, PART_MEASURES, SHARES, Row
from tpifu.shards.schema import HELD_OUT

Pair = tuple[Row, Row]
"""The rows of one mesh: the first model's and the second model's."""


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

    def cells(self) -> list[str]:
        """Both values, and their difference with its interval, as text."""
        n = 2 if max(abs(self.first), abs(self.second)) >= 20 else 4
        change = f"{self.difference:+.{n}f} [{self.low:+.{n}f}, {self.high:+.{n}f}]"
        return [f"{self.first:.{n}f}", f"{self.second:.{n}f}", change]


def by_mesh(first: Sequence[Row], second: Sequence[Row]) -> list[Pair]:
    """Means over the views of each mesh. Raises DataError if the models were evaluated on different
    meshes."""
    ours = over_views(first), over_views(second)
    keys = [[(row["split"], row["clip"], row["frame"]) for row in rows] for rows in ours]
    if keys[0] != keys[1]:
        raise DataError("the two evaluations are of different meshes; evaluate both models again")
    return list(zip(*ours, strict=True))


def paired(pairs: Sequence[Pair], measures: Sequence[str], seed: int) -> dict[str, Paired]:
    """The measures that both models have on at least one mesh."""
    result = {}
    clips = np.array([row["clip"] for row, _ in pairs])
    for measure in measures:
        both = [[row[measure] for row in rows] for rows in zip(*pairs, strict=True)]
        values = np.array(both, np.float64)
        known = np.isfinite(values).all(axis=0)
        if not known.any():
            continue
        one, other = values[:, known]
        change = other - one
        found = interval(change[None], clips[known], np.random.default_rng(seed))
        result[measure] = Paired(
            measure,
            first=float(one.mean()),
            second=float(other.mean()),
            difference=found.mean,
            low=found.low,
            high=found.high,
            meshes=found.meshes,
        )
    return result


def paired_by(
    group: Callable[[Row], str], pairs: Sequence[Pair], measures: Sequence[str], seed: int
) -> dict[str, dict[str, Paired]]:
    """`paired` for each group of meshes, in order of first appearance."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(group(pair[0]), []).append(pair)
    return {name: paired(own, measures, seed) for name, own in groups.items()}


def motion_of(sequence: str) -> str:
    """The motion in a sequence's name: `walk` in `01_walk`, `broad_crawl` in `01_broad_crawl_07`.
    CMU's names contain only numbers; they are returned unchanged."""
    subject, _, motion = sequence.partition("_")
    if not subject.isdigit() or not motion or motion.isdigit():
        return sequence
    return motion.rstrip("0123456789").removesuffix("_")


def differences(found: dict[str, dict[str, Paired]]) -> dict[str, Any]:
    """Contents of the comparison's metrics file: the difference in each measure of COMPARED and its
    interval, with four digits."""
    keys = ("difference", "low", "high")
    return metrics(
        {
            split: {
                name: {key: round(getattr(measures[name], key), 4) for key in keys}
                for name in COMPARED
                if name in measures
            }
            for split, measures in found.items()
        }
    )


def table2(
    names: Sequence[str],
    found: dict[str, dict[str, Paired]],
    profile: str,
    seed: int,
    provenance: dict[str, Any],
) -> str:
    """Table 2 and the other HEADLINE measures as text: our values and the paper's, the difference
    with its interval, the profile and seed, the source of the data and its terms."""
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
    """One sentence per line: how to read the numbers, and the source of the data."""
    lines = [
        "The first five measures are at points 50/50 inside and outside, per mesh over all views, "
        "then averaged (Table 2's setting); the others are of one view of each mesh, on a uniform "
        "grid, on the reconstructed surface, or from frame to frame, and are not in the paper.",
        "The interval (95 % bootstrap) resamples whole clips. The paper's row 'Accuracy' is shown "
        "as recall, because it very probably is recall (docs/paper.md).",
    ]
    if profile != "paper":
        lines.append(f"The {profile} profile is a small network: its numbers are not the paper's.")
    lines.append(f"Motion: {provenance['source']} ({provenance['licence']}).")
    if citation := provenance["citation"]:
        lines.append(citation if citation.endswith(".") else f"{citation}.")
    return lines


def part_rows(names: Sequence[str], found: dict[str, Paired]) -> list[dict[str, Any]]:
    """A row for each body part and model, with a column for each measure, for plots."""
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


def long_rows(group: str, found: dict[str, dict[str, Paired]]) -> list[dict[str, Any]]:
    """A row for each `group` (a split or a motion) and measure, with all fields of `Paired`."""
    return [
        {
            group: name,
            **{k: round(v, 6) if isinstance(v, float) else v for k, v in vars(one).items()},
        }
        for name, measures in found.items()
        for one in measures.values()
    ]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with equal keys; an empty file if there are none."""
    with path.open("w") as file:
        if rows:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
