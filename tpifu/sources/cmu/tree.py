"""CMU motion capture (ASF skeleton, AMC motion; mocap.cs.cmu.edu) -> a SURREAL-shaped tree.

A CMU bone has a direction in the rest pose, where all angles are 0, and an orientation
`M = M_parent C R C^-1`: C is its `axis`, R its angles in the AMC file, both "XYZ", which is
Rz Ry Rx. The rest pose is a T-pose with straddled legs, y up, facing +z, left = +x: SMPL's frame.

SMPL's joint j, whose bone of the body's own rest pose is s_j, takes the orientation

    G_j = M_b A_j,    A_j s_j = d_b,    A_j h_j = c_b,    pose_j = G_parent^-1 G_j

with b the CMU bone of the same limb, d_b its direction, c_b and h_j the axes about which the limb's
hinge (knee, elbow, wrist, ankle) bends in the two rest poses. So every limb points where the
actor's does, whatever the two rest poses are, and bends in its own plane. In trunk and collar,
where both rest poses are the same upright stance, A = 1. Two orientations are the ones halfway: the
neck's between CMU's two necks, the forearm's between radius and wrist.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tpifu.body.body import embedded_body, write_embedded
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import Clip, clip_path, write_clip
from tpifu.errors import DataError
from tpifu.files import whole_folder
from tpifu.parallel import parallel_map
from tpifu.sources.cmu.acclaim import read_motion, read_skeleton
from tpifu.sources.cmu.retarget import require_hinges, retarget
from tpifu.sources.cmu.takes import TAKES, Take

FRAME_STEP = 4
"""CMU's 120 frames a second become 30, as in SURREAL."""
CLIP_FRAMES = (10, 100)
"""Shortest and longest clip; SURREAL's have at most 100 frames."""


def write_cmu(
    out: Path, takes: Path, *, seed: int, jobs: int, chosen: Sequence[Take] = TAKES
) -> list[str]:
    """Write those of the `chosen` takes that are in the folder `takes` (as `urls` names them) as
    clips of SURREAL's kind; `out` appears whole or not at all.

    A subject's body is drawn by `seed`, a clip's heading too. Returns a line for each take that
    could not be used; raises DataError if that leaves a split empty.
    """
    present = [take for take in chosen if (takes / take.motion_file).exists()]
    with whole_folder(out) as tree:
        write_embedded(tree / "smpl")
        task = partial(_write_take, takes=takes, tree=tree, seed=seed)
        faults = list(parallel_map(task, present, jobs=jobs, label="motion"))
        for split in ("train", "test"):
            if not (tree / "cmu" / split).exists():
                own = (
                    fault
                    for take, fault in zip(present, faults, strict=True)
                    if take.split == split
                )
                first = next(own, None)
                hint = f"the first fault: {first}" if first else "run the download stage first"
                raise DataError(f"{takes}: no usable take for {split}; {hint}")
    return [fault for fault in faults if fault]


def _write_take(take: Take, *, takes: Path, tree: Path, seed: int) -> str | None:
    """Write its clips; returns what is wrong with it, if anything."""
    try:
        skeleton = read_skeleton(takes / take.skeleton_file)
        require_hinges(takes / take.skeleton_file, skeleton)
        motion = read_motion(takes / take.motion_file, skeleton).every(FRAME_STEP)
        if len(motion.position) < CLIP_FRAMES[0]:
            raise DataError(
                f"{takes / take.motion_file}: lasts {len(motion.position)} frames of 1/30 s, "
                f"a clip {CLIP_FRAMES[0]} or more"
            )
    except DataError as error:
        return str(error)
    rng = np.random.default_rng([seed, take.subject])
    gender = GENDERS[rng.integers(2)]
    betas = rng.normal(size=10).clip(-2.5, 2.5).astype(np.float32)
    body = embedded_body(gender)
    poses, positions = retarget(skeleton, motion, body.rest(betas)[1])
    for number, start in enumerate(range(0, len(poses), CLIP_FRAMES[1]), 1):
        frames = slice(start, start + CLIP_FRAMES[1])
        pose = poses[frames].copy()
        if len(pose) < CLIP_FRAMES[0]:
            break
        rng = np.random.default_rng([seed, take.subject, take.trial, number])
        zrot = rng.uniform(0.0, 2 * np.pi)
        turn = Rotation.from_euler("y", zrot)
        pose[:, :3] = (turn * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
        joints = body.pose(pose, betas)[1]
        joints += (turn.apply(positions[frames]) - joints[:, 0])[:, None]
        clip = Clip(take.sequence, number, gender, betas, pose, joints)
        path = clip_path(tree, take.split, "run0", clip.sequence, number)
        write_clip(path, clip, zrot=zrot, camera_distance=rng.normal(8.0, 1.0))
    return None
