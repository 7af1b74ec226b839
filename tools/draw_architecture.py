"""Draw docs/architecture.png from dvc.yaml: the stages, their data, and the folders that each
stage uses.

python tools/draw_architecture.py
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
WIDTH, GAP = 1.24, 0.26
ROW = 0.14
"""Height of a line of text."""


def main() -> None:
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {name: stage.get("do", stage) for name, stage in stages.items()}
    columns = [["download"], ["meshes"], ["render", "sample"], ["train"], ["evaluate"], ["report"]]
    placed = {name for column in columns for name in column}
    assert placed == set(stages), "the stages in dvc.yaml have changed: update the columns"
    figure, axes = plt.subplots(figsize=(15, 3.8), dpi=110)
    places: dict[str, tuple[float, float, float]] = {}
    for column, names in enumerate(columns):
        for row, name in enumerate(names):
            x = column * (WIDTH + GAP)
            top = 0.0 if len(names) == 1 else 0.9 - 1.5 * row
            places[name] = x, top, draw_stage(axes, name, stages[name], x, top)
    for name, stage in stages.items():
        for source in sources(stage, stages):
            if abs(places[source][0] - places[name][0]) < 1.5 * (WIDTH + GAP):
                draw_arrow(axes, places[source], places[name])
    axes.set_xlim(-0.05, len(columns) * (WIDTH + GAP) - GAP + 0.05)
    axes.set_ylim(-1.62, 1.0)
    axes.axis("off")
    figure.savefig(ROOT / "docs" / "architecture.png", bbox_inches="tight", pad_inches=0.05)


def outs_of(stage: dict[str, Any]) -> list[str]:
    """Paths that a stage writes, with NAME for baseline and temporal."""
    paths = [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]
    return [path.replace("${key}", "NAME").replace("${item}", "NAME") for path in paths]


def sources(stage: dict[str, Any], stages: dict[str, Any]) -> list[str]:
    """The stages whose outs a stage reads."""
    names = ("baseline", "temporal")
    found = []
    for other, producer in stages.items():
        written = {out.replace("NAME", name) for out in outs_of(producer) for name in names}
        read = {dep.replace("${item}", name) for dep in stage["deps"] for name in names}
        if written & read:
            found.append(other)
    return found


def folders_of(stage: dict[str, Any]) -> list[str]:
    """Folders of tpifu/ that a stage uses."""
    code = [Path(dep).parts for dep in stage["deps"] if dep.startswith("tpifu/")]
    return list(dict.fromkeys(parts[1] for parts in code))


def draw_stage(axes: Axes, name: str, stage: dict[str, Any], x: float, top: float) -> float:
    """Draw one box; returns the y coordinate of its bottom."""
    outs, folders = outs_of(stage), folders_of(stage)
    lines = [f"→ {out}" for out in outs]
    used = [", ".join(folders[first : first + 3]) for first in range(0, len(folders), 3)]
    height = ROW * (len(lines) + len(used) + 2.1)
    style = "round,pad=0,rounding_size=0.05"
    axes.add_patch(
        FancyBboxPatch((x, top - height), WIDTH, height, boxstyle=style, fc="#f4f6fa", ec="#44546a")
    )
    axes.text(x + 0.06, top - 0.1, name, weight="bold", size=11, va="center")
    for number, line in enumerate(lines, 1):
        axes.text(x + 0.06, top - 0.1 - number * ROW, line, size=8, va="center", color="#1a5fb4")
    for number, line in enumerate(used, len(lines) + 1):
        axes.text(x + 0.06, top - 0.13 - number * ROW, line, size=7, va="center", color="#555555")
    return top - height


def draw_arrow(
    axes: Axes, source: tuple[float, float, float], target: tuple[float, float, float]
) -> None:
    start = source[0] + WIDTH, (source[1] + source[2]) / 2
    end = target[0], (target[1] + target[2]) / 2
    arrow = {"arrowstyle": "-|>", "color": "#44546a", "lw": 1.3, "shrinkA": 2, "shrinkB": 2}
    axes.annotate("", end, start, arrowprops=arrow)


if __name__ == "__main__":
    main()
