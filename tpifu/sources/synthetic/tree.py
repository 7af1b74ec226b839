"""Procedural motion on the embedded bodies, written as a tree in SURREAL's layout."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.body.body import embedded_body, write_embedded
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import Clip, clip_path, write_clip
from tpifu.config import Synthetic
from tpifu.parallel import parallel_map
from tpifu.sources.synthetic.beats import MOTIONS, Style
from tpifu.sources.synthetic.broad import make_broad
from tpifu.sources.synthetic.families import families
from tpifu.sources.synthetic.motion import Motion, make_motion

FRAMES = (30, 100)
"""Minimum and maximum length of a clip, frames; SURREAL's clips have at most 100."""
_BROAD = 1_000
"""Separates the seeds of broad clips from those of the nine motions, which are 0 to 8."""


@dataclass(frozen=True)
class Subject:
    """A person: number (as CMU numbers its subjects), gender, shape and style of motion."""

    number: int
    split: Literal["train", "test"]
    gender: str
    betas: Float[np.ndarray, "10"]
    style: Style


def draw_subjects(counts: Synthetic, seed: int) -> list[Subject]:
    """Train subjects are numbered from 1, then test subjects; genders alternate."""
    subjects = []
    for number in range(1, counts.train_subjects + counts.test_subjects + 1):
        rng = np.random.default_rng([seed, number])
        subjects.append(
            Subject(
                number=number,
                split="train" if number <= counts.train_subjects else "test",
                gender=GENDERS[number % 2],
                betas=rng.normal(size=10).clip(-2.5, 2.5).astype(np.float32),
                style=Style.draw(rng),
            )
        )
    return subjects


def write_synthetic(out: Path, synthetic: Synthetic, seed: int, *, jobs: int) -> None:
    """Write a tree to `out`. Each subject performs the motions of `synthetic.motions`."""
    write_embedded(out / "smpl")
    task = partial(_write_subject, tree=out, synthetic=synthetic, seed=seed)
    for _ in parallel_map(task, draw_subjects(synthetic, seed), jobs=jobs, label="motion"):
        pass


def _write_subject(subject: Subject, *, tree: Path, synthetic: Synthetic, seed: int) -> None:
    if synthetic.motions in ("nine", "both"):
        for kind, name in enumerate(MOTIONS):
            rng = np.random.default_rng([seed, subject.number, kind])
            sequence = f"{subject.number:02d}_{name}"
            _write_clip(subject, sequence, partial(make_motion, name), rng, tree)
    if synthetic.motions in ("broad", "both"):
        names = broad_names(subject.number, synthetic.clips, seed)
        for number, name in enumerate(names, start=1):
            rng = np.random.default_rng([seed, subject.number, _BROAD, number])
            sequence = f"{subject.number:02d}_broad_{name}_{number:02d}"
            _write_clip(subject, sequence, partial(make_broad, name), rng, tree)


def broad_names(subject: int, clips: int, seed: int) -> list[str]:
    """Families of a subject's clips: all families in random order, repeatedly. The first families
    do not depend on the number of clips."""
    rng = np.random.default_rng([seed, subject, _BROAD])
    names = list(families())
    rounds = -(-clips // len(names))
    order = np.concatenate([rng.permutation(len(names)) for _ in range(rounds)])
    return [names[index] for index in order[:clips]]


def _write_clip(
    subject: Subject,
    sequence: str,
    make: Callable[[int, Style, np.random.Generator], Motion],
    rng: np.random.Generator,
    tree: Path,
) -> None:
    """Write a motion of random length and heading as a clip; the floor is at y = 0."""
    motion = make(int(rng.integers(FRAMES[0], FRAMES[1] + 1)), subject.style, rng)
    turn = Rotation.from_euler("y", rng.uniform(0.0, 2 * math.pi))
    pose = motion.pose.copy()
    pose[:, :3] = (turn * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
    vertices, joints = embedded_body(subject.gender).pose(pose, subject.betas)
    travel = np.stack([motion.travel[:, 0], np.zeros(len(pose)), motion.travel[:, 1]], axis=1)
    translation = turn.apply(travel)
    translation[:, 1] = motion.lift - vertices[:, :, 1].min(axis=1)
    joints += translation[:, None]
    clip = Clip(sequence, 1, subject.gender, subject.betas, pose, joints)
    path = clip_path(tree, subject.split, "run0", sequence, clip.number)
    zrot = rng.uniform(0.0, 2 * math.pi)
    write_clip(path, clip, zrot=zrot, camera_distance=rng.normal(8.0, 1.0))
