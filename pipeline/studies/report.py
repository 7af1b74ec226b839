"""Stage `report` of studies/NAME/dvc.yaml: tables of the runs -> table.csv, figure.png, README.md.

python -m pipeline.studies.report NAME
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt

from pipeline.studies.plan import OUTS, STUDIES, Study, read_study, runs_of
from pipeline.studies.table import MEASURED, read_rows
from tpifu.errors import exit_on_error
from tpifu.measures.intervals import Interval, caveats, interval, paired_differences
from tpifu.measures.names import Row, words
from tpifu.shards.schema import HELD_OUT

matplotlib.use("Agg")  # draws without a display

SHOWN = ("iou", "volumetric_iou", "chamfer_cm", "flicker")
"""Measures on the page; table.csv has all measures."""
DRAWN = "iou"
"""Measure in the figure."""
COLUMNS = (
    *("split", "measure", "first", "second", "mean", "low", "high", "seeds", "clips", "meshes"),
    *("seeds_error", "clips_error", "detectable"),
)

Runs = dict[int, list[Row]]
"""Seed -> one row for each mesh."""


@dataclass(frozen=True)
class Results:
    """The results of one split, by measure and by variant or pair of variants."""

    means: dict[tuple[str, str], Float[np.ndarray, " seeds"]]
    """Mean over meshes, for each seed; nan if no mesh has the measure."""
    differences: dict[tuple[str, tuple[str, str]], Interval]


def read_runs(name: str, study: Study) -> dict[str, Runs]:
    """The tables of each variant's runs."""
    return {
        variant: {run.params.seed: read_rows(run.folder) for run in runs}
        for variant, runs in runs_of(name, study).items()
    }


def results(study: Study, runs: dict[str, Runs], split: str) -> Results:
    """Means and differences on one split."""
    own = {
        variant: {s: [row for row in rows if row["split"] == split] for s, rows in by_seed.items()}
        for variant, by_seed in runs.items()
    }
    means, differences = {}, {}
    for measure in MEASURED:
        for variant, by_seed in own.items():
            means[measure, variant] = np.array(
                [_mean_of(rows, measure) for rows in by_seed.values()]
            )
        for first, second in study.compare:
            found, clips = paired_differences(own[first], own[second], measure)
            one = interval(found, clips, np.random.default_rng(0))
            differences[measure, (first, second)] = one
    return Results(means, differences)


def _mean_of(rows: Sequence[Row], measure: str) -> float:
    """Mean over the meshes that have the measure; nan if there are none."""
    values = np.array([row[measure] for row in rows])
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def write_table(found: dict[str, Results], path: Path) -> None:
    """Write the mean of each variant (`first`), with its standard error over seeds, and the
    differences (`second` minus `first`)."""
    with path.open("w") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()

        def write(**values: str | float) -> None:
            text = {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in values.items()}
            writer.writerow(text)

        for split, own in found.items():
            for (measure, variant), means in own.means.items():
                size = {"seeds": len(means), "mean": float(means.mean())}
                write(
                    split=split, measure=measure, first=variant, **size, seeds_error=_error(means)
                )
            for (measure, (first, second)), one in own.differences.items():
                write(split=split, measure=measure, first=first, second=second, **vars(one))


def _error(means: Float[np.ndarray, " seeds"]) -> float:
    """Standard error of the mean over seeds; nan for one seed."""
    return float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else float("nan")


def page(name: str, study: Study, found: Results) -> str:
    """The study's README.md: question, expectation, result and tables."""
    lines = [
        f"# {study.question}",
        "",
        "`tpifu study` writes this page.",
        "",
        f"- **Expected**: {study.expected}",
        f"- **Found**: {study.found or 'not yet known.'}",
        f"- **Run it again**: `tpifu study {name}`",
        "",
        f"Means over the meshes of the {HELD_OUT[0]} split, with their standard error over the "
        f"{len(study.seeds)} seeds:",
        "",
    ]
    rows = [
        [variant, *(_mean(found.means[measure, variant]) for measure in SHOWN)]
        for variant in study.variants
    ]
    lines += _markdown(["variant", *map(words, SHOWN)], rows)
    if study.compare:
        shown = {
            pair: [found.differences[measure, pair] for measure in SHOWN] for pair in study.compare
        }
        every = [one for own in shown.values() for one in own]
        lines += [
            "",
            f"Differences with 95 % intervals over {every[0].seeds} seeds and {every[0].clips} "
            f"clips ({every[0].meshes} meshes). After +-: the smallest difference that a "
            "study of this size detects ([measures](../../docs/measures.md)).",
            "",
            *_markdown(
                ["difference", *map(words, SHOWN)],
                [
                    [f"{second} minus {first}", *map(_difference, own)]
                    for (first, second), own in shown.items()
                ],
            ),
            "",
            *caveats(every),
        ]
    return "\n".join([*lines, "", f"![{words(DRAWN)}](figure.png)"]) + "\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows)]


def _mean(means: Float[np.ndarray, " seeds"]) -> str:
    if np.isnan(means).any():
        return "-"
    return f"{means.mean():.4f} ({_error(means):.4f})"


def _difference(one: Interval) -> str:
    if not one.meshes:
        return "-"
    return f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}] +-{one.detectable:.4f}"


def draw(study: Study, found: Results, path: Path) -> None:
    """Draw the means of DRAWN, for each variant and seed, and the differences with intervals."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 1.2 + 0.4 * len(study.variants)), dpi=120, width_ratios=[1, 1]
    )
    for place, variant in enumerate(study.variants):
        means = found.means[DRAWN, variant]
        left.plot(means, np.full(len(means), place), "o", alpha=0.6)
    left.set_yticks(range(len(study.variants)), list(study.variants))
    left.set_title(f"{words(DRAWN)}, one point for each seed")
    for place, pair in enumerate(study.compare):
        one = found.differences[DRAWN, pair]
        right.plot([one.low, one.high], [place, place], color="black")
        right.plot(one.mean, place, "o", color="black")
    right.axvline(0, color="grey", linewidth=0.8)
    labels = [f"{second}\nminus {first}" for first, second in study.compare]
    right.set_yticks(range(len(labels)), labels)
    right.set_title("Difference with its 95 % interval")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    # Matplotlib's version in the metadata would change the bytes.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def main(name: str) -> None:
    study = read_study(STUDIES / f"{name}.yaml")
    runs = read_runs(name, study)
    first_run = runs[next(iter(study.variants))][study.seeds[0]]
    splits = dict.fromkeys(row["split"] for row in first_run)
    found = {split: results(study, runs, split) for split in splits}
    table, figure, readme = (STUDIES / name / out for out in OUTS)
    write_table(found, table)
    draw(study, found[HELD_OUT[0]], figure)
    readme.write_text(page(name, study, found[HELD_OUT[0]]))


if __name__ == "__main__":
    with exit_on_error():
        main(sys.argv[1])
