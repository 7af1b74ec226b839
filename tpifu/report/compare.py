"""Two evaluated models side by side: Table 2, Figures 4 and 5, tables, plots and one page.

Writes `comparison/` (pictures), `tables/` (Table 2 as text, every number as CSV), `truth/` (true
meshes of the frames shown) and `index.html` (everything in one file, with a 3D player of a clip).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tpifu.config import Evaluate
from tpifu.evaluate.rows import PER_MESH_NAME
from tpifu.geometry.mesh_files import save_mesh
from tpifu.measures.names import BY_PART, HEADLINE, MEASURES, SHARES, SURFACE, TIME
from tpifu.report.frames import Frames, Side, draw_figure4, draw_figure5, player
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
from tpifu.shards.folder import DataFolder
from tpifu.shards.meshes import MeshReader

TABLE_NAME = "table2.md"
PAGE_NAME = "index.html"


def compare(
    sides: Sequence[Side],
    data: DataFolder,
    out: Path,
    config: Evaluate,
    *,
    seed: int,
    profile: str,
) -> dict[str, Any]:
    """Write comparison/, tables/, truth/ and index.html to `out`; return the differences.

    A difference is second minus first side per mesh, with a 95 % bootstrap interval over clips.
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
    reader = MeshReader(data.meshes)
    provenance = reader.shards.metadata["provenance"]
    (numbers / TABLE_NAME).write_text(table2(names, found, profile, seed, provenance))
    for name, table in (
        ("measures", long_rows("split", found)),
        ("motions", long_rows("motion", motions)),
        ("confusion", confusion_rows(names, motions)),
        ("parts", part_rows(names, next(iter(found.values())))),
    ):
        (numbers / f"{name}.csv").write_text(csv_text(table))

    frames = Frames(sides, reader, data)
    figure4, errors = draw_figure4(frames, pictures)
    figure5 = draw_figure5(frames, pictures)
    for item in frames.shown:
        save_mesh(frames[item].truth, out / "truth" / f"{item.stem}.glb")
    curves = draw_training(sides, pictures)
    main_split, main = next(iter(found.items()))
    bars = draw_parts(names, main, pictures)

    lead = (
        f"PIFu on single frames ({names[0]}) and on neighbouring frames ({names[1]}): the same "
        f"data, order, steps and settings. Profile {profile}, seed {seed}, "
        f"{max(one.meshes for one in main.values())} {main_split} meshes."
    )
    sections = [
        Section("Table 2", [table2_section(names, main), *notes(profile, provenance)]),
        *([Section("A clip in motion", [player(frames)])] if figure5 else []),
        Section("Figure 4: single frames", figure4),
        *([Section("Figure 5: a clip over time", figure5)] if figure5 else []),
        Section(
            "Shape",
            [
                f"Surfaces are compared at {config.surface_points} points on each, without "
                f"alignment, on reconstructions of {config.resolution} cells a side, drawn with "
                f"seed {seed}.",
                paired_table(names, main, ("volumetric_iou", *SURFACE)),
                *errors,
            ],
        ),
        Section(
            "Motion",
            [
                "Change between consecutive frames that the true body does not show; 0 is perfect. "
                "Frames are every fifth of the source.",
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
