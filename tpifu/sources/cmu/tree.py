"""Convert CMU motion capture (ASF skeletons, AMC motion; mocap.cs.cmu.edu) to SURREAL's layout.

A CMU bone has a direction in the rest pose, where all angles are 0, and an orientation
`M = M_parent C R C^-1`: C is its `axis`, R its angles in the AMC file, both in the order "XYZ",
that is Rz Ry Rx. The rest pose is a T-pose with legs apart, in SMPL's frame: y up, facing +z,
left = +x.

SMPL's joint j, whose limb points along s_j in the body's rest pose, gets the orientation

    G_j = M_b A_j,    A_j s_j = d_b,    A_j h_j = c_b,    pose_j = G_parent^-1 G_j

where b is the CMU bone of the same limb, d_b its direction, and c_b and h_j are the axes of the
limb's hinge (knee, elbow, wrist, ankle) in the two rest poses. Every limb then points where the
actor's limb points and bends in its own plane, whatever the two rest poses are. For trunk and
collars A = 1, since both rest poses are upright. The neck's orientation is halfway between CMU's
two neck bones, and the forearm's is halfway between radius and wrist.
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
from tpifu.parallel import parallel_map
from tpifu.sources.cmu.acclaim import Motion, read_motion, read_skeleton
from tpifu.sources.cmu.retarget import retarget
from tpifu.sources.cmu.takes import TakeFiles

FRAME_RATE = 30
"""SURREAL's frames per second."""
CLIP_FRAMES = (10, 100)
"""Minimum and maximum length of a clip. SURREAL's have at most 100 frames."""


def write_cmu(
    out: Path, takes: Sequence[TakeFiles], *, frame_rate: int, seed: int, jobs: int
) -> list[str]:
    """Write takes with `frame_rate` frames per second as clips to the folder `out`.

    `seed` determines each subject's body and each clip's heading. Returns a line for each unusable
    take.
    """
    write_embedded(out / "smpl")
    task = partial(_write_take, step=frame_rate // FRAME_RATE, tree=out, seed=seed)
    return [line for line in parallel_map(task, takes, jobs=jobs, label="motion") if line]


def _write_take(take: TakeFiles, *, step: int, tree: Path, seed: int) -> str | None:
    """Write the clips of a take. Returns the reason if the take is unusable."""
    subject, trial = take.codes
    rng = np.random.default_rng([seed, subject])
    gender = GENDERS[rng.integers(2)]
    betas = rng.normal(size=10).clip(-2.5, 2.5).astype(np.float32)
    body = embedded_body(gender)
    try:
        skeleton = read_skeleton(take.skeleton)
        motion = read_motion(take.motion, skeleton)
        motion = Motion(motion.position[::step], motion.angles[::step])
        poses = retarget(skeleton, motion, body.rest(betas)[1])
    except DataError as error:
        return str(error)
    if len(poses) < CLIP_FRAMES[0]:
        return (
            f"{take.motion}: {len(poses)} frames at {FRAME_RATE} per second, a clip needs at least "
            f"{CLIP_FRAMES[0]}"
        )
    for number, start in enumerate(range(0, len(poses), CLIP_FRAMES[1]), 1):
        frames = slice(start, start + CLIP_FRAMES[1])
        pose = poses[frames].copy()
        if len(pose) < CLIP_FRAMES[0]:
            break
        rng = np.random.default_rng([seed, subject, trial, number])
        zrot = rng.uniform(0.0, 2 * np.pi)
        turn = Rotation.from_euler("y", zrot)
        pose[:, :3] = (turn * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
        joints = body.pose(pose, betas)[1]
        joints += (turn.apply(motion.position[frames]) - joints[:, 0])[:, None]
        clip = Clip(take.sequence, number, gender, betas, pose, joints)
        path = clip_path(tree, take.split, "run0", clip.sequence, number)
        write_clip(path, clip, zrot=zrot, camera_distance=rng.normal(8.0, 1.0))
    return None
