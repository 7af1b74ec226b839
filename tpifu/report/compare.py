"""Two evaluated models side by side: Table 2, Figures 4 and 5, tables, plots, and the page that
shows them all.

What it writes: `comparison/` (pictures), `tables/` (Table 2 as text, every number as CSV), `truth/`
(the true meshes of the frames that are shown), `index.html` (all of it in one file, with a player
of a clip in 3D).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tpifu.config import Evaluate
from tpifu.evaluate.rows import PER_MESH_NAME
from tpifu.geometry.mesh_files import save_mesh
from tpifu.measures.names import BY_PART, HEADLINE, MEASURES, SHARES, SURFACE, TIME
from tpifu.report.frames import Frames, Side, draw_frames, player
from tpifu.report.page import Section, write_page
from tpifu.report.sections import (
    draw_parts,
    draw_training,
    motion_table,
    paired_table,
    table1,
    table2_section,
)
from tpifu.report.tables import (
    by_mesh,
    by_motion,
    confusion_rows,
    csv_text,
    differences,
    long_rows,
    notes,
    of_split,
    paired,
    part_rows,
    table2,
)
from tpifu.shards.meshes import MeshReader

TABLE_NAME = "table2.md"
PAGE_NAME = "index.html"


def compare(
    sides: Sequence[Side],
    meshes: Path,
    views: Path,
    points: Path,
    out: Path,
    config: Evaluate,
    *,
    seed: int,
    profile: str,
) -> dict[str, Any]:
    """Write comparison/, tables/, truth/ and index.html to `out`; returns the differences.

    A difference is second minus first side, per mesh, with a 95 % bootstrap interval that resamples
    whole clips.
    """
    pictures, numbers = out / "comparison", out / "tables"
    for folder in (pictures, numbers):
        folder.mkdir(parents=True, exist_ok=True)
    names = [side.name for side in sides]
    rows = by_mesh(*(pq.read_table(s.report / PER_MESH_NAME).to_pylist() for s in sides))
    found = {
        split: paired(*of_split(rows, split), MEASURES, seed)
        for split in dict.fromkeys(row["split"] for row in rows[0])
    }
    motions = by_motion(*rows, (*HEADLINE, *SHARES), seed)
    reader = MeshReader(meshes)
    provenance = reader.shards.metadata["provenance"]
    (numbers / TABLE_NAME).write_text(table2(names, found, profile, seed, provenance))
    for name, table in (
        ("measures", long_rows("split", found)),
        ("motions", long_rows("motion", motions)),
        ("confusion", confusion_rows(names, motions)),
        ("parts", part_rows(names, next(iter(found.values())))),
    ):
        (numbers / f"{name}.csv").write_text(csv_text(table))

    frames = Frames(sides, reader, views, points)
    shown = draw_frames(frames, config, pictures)
    for item in shown.items:
        save_mesh(frames[item].truth, out / "truth" / f"{item.stem}.glb")
    curves = draw_training(sides, pictures)
    main_split, main = next(iter(found.items()))
    bars = draw_parts(names, main, pictures)
    moving = bool(shown.sequence)

    lead = (
        f"PIFu on single frames ({names[0]}) and on neighbouring frames ({names[1]}): the same "
        f"data, order, steps and settings. Profile {profile}, seed {seed}, "
        f"{max(one.meshes for one in main.values())} {main_split} meshes."
    )
    sections = [
        Section("Table 2", [table2_section(names, main), *notes(profile, provenance)]),
        *([Section("A clip in motion", [player(frames, shown.sequence)])] if moving else []),
        Section("Figure 4: single frames", shown.figure4),
        *([Section("Figure 5: a clip over time", shown.figure5)] if moving else []),
        Section(
            "Shape",
            [
                f"Surfaces are compared at {config.surface_points} points on each, without "
                f"alignment, on reconstructions of {config.resolution} cells a side, drawn with "
                f"seed {seed}.",
                paired_table(names, main, ("volumetric_iou", *SURFACE)),
                *shown.errors,
            ],
        ),
        Section(
            "Motion",
            [
                "What changes from frame to frame beyond what the true body does; all are 0 for "
                "the truth. A frame is every fifth of the source, where that is SURREAL.",
                paired_table(names, main, TIME),
            ],
        ),
        *([Section("Body parts", [*bars, paired_table(names, main, BY_PART)])] if bars else []),
        Section("By motion", [motion_table(names, motions)]),
        *(
            Section(f"Split {split}", [paired_table(names, other, HEADLINE)])
            for split, other in found.items()
            if split != main_split
        ),
        Section("Training", [*curves, table1(sides)]),
    ]
    write_page(
        out / PAGE_NAME,
        "Temporal PIFu: pixel-aligned occupancy of bodies in motion",
        lead,
        sections,
    )
    return differences(found)
