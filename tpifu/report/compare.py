"""Two evaluated models side by side: Table 2, Figures 4 and 5, tables, plots and one page.

Writes `comparison/` (pictures), `animation/` (a clip; empty if none is shown), `tables/` (Table 2
as text, every number as CSV), `truth/` (true meshes of the frames shown) and `index.html`
(everything in one file, with a 3D player of a clip).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tpifu.config import Evaluate
from tpifu.evaluate.rows import PER_MESH_NAME
from tpifu.geometry.mesh_files import save_mesh
from tpifu.measures.names import BY_PART, HEADLINE, MEASURES, SHARES, SURFACE, TIME
from tpifu.report.frames import Side, draw_animation, draw_figure4, draw_figure5, read_frames
from tpifu.report.page import Item, Player, write_page
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
    confusion_rows,
    differences,
    long_rows,
    motion_of,
    notes,
    paired_by,
    part_rows,
    table2,
    write_csv,
)
from tpifu.shards.folder import DataFolder
from tpifu.shards.reader import Shards

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
    # DVC shows the files of comparison/ as plots, and it cannot show an animation.
    pictures, animation, numbers = out / "comparison", out / "animation", out / "tables"
    for folder in (pictures, animation, numbers):
        folder.mkdir(parents=True, exist_ok=True)
    names = [side.name for side in sides]
    pairs = by_mesh(*(pq.read_table(s.report / PER_MESH_NAME).to_pylist() for s in sides))
    found = paired_by(lambda row: row["split"], pairs, MEASURES, seed)
    pairs.sort(key=lambda pair: motion_of(pair[0]["sequence"]))
    chosen = (*HEADLINE, *SHARES)
    motions = paired_by(lambda row: motion_of(row["sequence"]), pairs, chosen, seed)
    main_split, main = next(iter(found.items()))
    provenance = Shards(data.meshes, "meshes").metadata["provenance"]
    (numbers / TABLE_NAME).write_text(table2(names, found, profile, seed, provenance))
    write_csv(numbers / "measures.csv", long_rows("split", found))
    write_csv(numbers / "motions.csv", long_rows("motion", motions))
    write_csv(numbers / "confusion.csv", confusion_rows(names, motions))
    write_csv(numbers / "parts.csv", part_rows(names, main))

    frames = read_frames(sides, data)
    for item, frame in frames.items():
        save_mesh(frame.truth, out / "truth" / f"{item.stem}.glb")
    mesh_names = ["ground truth", *names]
    figure4, errors = draw_figure4(frames, mesh_names, pictures)
    sequence = [frame for item, frame in frames.items() if item.figure == 5]
    bars = draw_parts(names, main, pictures)

    lead = (
        f"PIFu on single frames ({names[0]}) and on neighbouring frames ({names[1]}): the same "
        f"data, order, steps and settings. Profile {profile}, seed {seed}, "
        f"{max(one.meshes for one in main.values())} {main_split} meshes."
    )
    surfaces = (
        f"Surfaces are compared at {config.surface_points} points on each, drawn with seed {seed}, "
        f"without alignment. Reconstructions have {config.resolution} cells per side. The normal "
        "error compares normal images from four sides."
    )
    changes = (
        "Change between consecutive frames that the true body does not show; 0 is perfect. Frames "
        "are every fifth of the source."
    )
    sections: dict[str, Sequence[Item]] = {
        "Table 2": [table2_section(names, main), *notes(profile, provenance)]
    }
    if sequence:
        sections["A clip in motion"] = [Player(mesh_names, sequence)]
    sections["Figure 4: single frames"] = figure4
    if sequence:
        draw_animation(sequence, mesh_names, animation)
        sections["Figure 5: a clip over time"] = [draw_figure5(sequence, mesh_names, pictures)]
    shape = paired_table(names, main, ("volumetric_iou", *SURFACE))
    sections["Shape"] = [surfaces, shape, *errors]
    sections["Motion"] = [changes, paired_table(names, main, TIME)]
    if bars:
        sections["Body parts"] = [*bars, paired_table(names, main, BY_PART)]
    sections["By motion"] = [motion_table(names, motions)]
    for split in list(found)[1:]:
        sections[f"Split {split}"] = [paired_table(names, found[split], HEADLINE)]
    sections["Training"] = [*draw_training(sides, pictures), table1(sides)]
    title = "Temporal PIFu: pixel-aligned occupancy of bodies in motion"
    write_page(out / PAGE_NAME, title, lead, sections)
    return differences(found)
