"""The `meshes` stage: a tree of clips in SURREAL's layout -> shards of posed, centred meshes."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tpifu.body.body import Body, load_body
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import clip_name, read_clip, read_source
from tpifu.clips.rounding import rounded
from tpifu.clips.splits import Choice, choose_clips
from tpifu.config import Data
from tpifu.files import digest
from tpifu.geometry.mesh import Mesh
from tpifu.resumable import build
from tpifu.shards.meshes import MeshFrame, Topologies, mesh_row
from tpifu.shards.schema import Group

REST_HEIGHT = 1.8
"""Height of each subject's rest pose after scaling, metres. A clip has one scale."""
SKIPPED_NAME = "skipped.csv"
"""Table of the unusable clips, stored next to the shards."""


def export_meshes(tree: Path, out: Path, data: Data, seed: int, *, jobs: int) -> Choice:
    """Write every `data.frame_step`-th frame of the chosen clips as a mesh, centred on the pelvis.

    Returns the choice. The shards' metadata contain the source of the tree, its licence terms, and
    a digest of the chosen clips and the bodies.
    """
    choice = choose_clips(tree, data, seed)
    bodies = {gender: (tree / "smpl" / f"{gender}.npz").absolute() for gender in GENDERS}
    topologies = Topologies()
    numbers = {}
    for gender in GENDERS:
        body = load_body(bodies[gender])
        numbers[gender] = topologies.number(body.faces, body.joints_of_vertices)
    clips = [(split, path.absolute(), kept) for split, path, kept in choice.clips]
    metadata = {
        "provenance": read_source(tree),
        "units": "metres, y up, facing +z, pelvis at the origin",
        "origin": "pelvis",
        "rest_height": REST_HEIGHT,
        "frame_step": data.frame_step,
        "seed": seed,
        "skipped_clips": dict(sorted(Counter(clip.reason for clip in choice.skipped).items())),
        "digest": digest(
            json.dumps([(split, clip_name(path), kept) for split, path, kept in clips]).encode(),
            *(path for _, path, _ in clips),
            *bodies.values(),
        ),
    }

    def write_tables(folder: Path) -> None:
        topologies.write(folder, metadata)
        with (folder / SKIPPED_NAME).open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["clip", "reason", "detail"])
            for clip in sorted(choice.skipped, key=lambda clip: clip.path):
                rows.writerow([clip.path.relative_to(tree).as_posix(), clip.reason, clip.detail])

    task = partial(_pose_clip, bodies=bodies, topologies=numbers, step=data.frame_step)
    build(out, "meshes", task, clips, metadata, jobs=jobs, write_extras=write_tables)
    return choice


def _pose_clip(
    chosen: tuple[str, Path, int], *, bodies: dict[str, Path], topologies: dict[str, int], step: int
) -> list[Group]:
    split, path, kept = chosen
    clip = read_clip(path)
    body = load_body(bodies[clip.gender])
    source_frames = np.arange(len(clip.pose))[::step][:kept]
    meshes = centred_meshes(body, clip.pose[source_frames], clip.betas)
    frames = [
        MeshFrame(
            split=split,
            sequence=clip.sequence,
            clip=clip_name(path),
            frame=frame,
            source_frame=int(source_frame),
            gender=clip.gender,
            mesh=mesh,
            joints=body.joints_of_vertices,
        )
        for frame, (source_frame, mesh) in enumerate(zip(source_frames, meshes, strict=True))
    ]
    return [[mesh_row(frame, topologies[clip.gender]) for frame in frames]]


def centred_meshes(
    body: Body, pose: Float[np.ndarray, "t 72"], betas: Float[np.ndarray, "10"]
) -> Iterator[Mesh]:
    """Posed meshes with the pelvis at the origin, scaled so that the rest pose has REST_HEIGHT, and
    rounded.

    The scale does not depend on the pose, so people keep their size when they crouch.
    """
    rest, _ = body.rest(betas)
    scale = REST_HEIGHT / np.ptp(rest[:, 1])
    vertices, joints = body.pose(pose, betas)
    for posed, pelvis in zip(vertices, joints[:, 0], strict=True):
        yield Mesh(rounded((posed - pelvis) * scale).astype(np.float32), body.faces)
