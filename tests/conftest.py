"""Shared fixtures: meshes, tiny data, time limits and locks."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.clip import capsule
from helpers.data import CLIPS, SPLIT_OF
from helpers.geometry import as_mesh

from tpifu.config import Hourglass, Model, Render, Sample
from tpifu.geometry.mesh import Mesh
from tpifu.prepare.points import write_points
from tpifu.prepare.views import write_views
from tpifu.shards.meshes import MeshFrame, write_meshes

TIMEOUT = 300
"""Time limit in seconds, far more than any test needs even on a busy machine."""


@pytest.fixture
def ends():
    """Fail a test that does not end within TIMEOUT."""

    def stop(signum, frame):
        pytest.fail(f"still running after {TIMEOUT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TIMEOUT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


_LOCKER = """
import sys
from tpifu.files import lock_file
with open(sys.argv[1], "a") as file:
    lock_file(file)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def locked_elsewhere():
    """`with locked_elsewhere(path):` another process has locked the file; yields that process."""

    @contextmanager
    def lock(path: Path):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, "-c", _LOCKER, path], **pipes) as process:
            assert process.stdout.readline() == "locked\n"
            yield process
            process.stdin.close()

    return lock


# SMPL joints, axis-angle in radians.
HIPS, KNEES, SPINE, SHOULDERS = (1, 2), (4, 5), 3, (16, 17)


@pytest.fixture(scope="session")
def squatting() -> Mesh:
    """A body in a deep squat, which intersects itself: the thighs are inside the belly."""
    pose = np.zeros((24, 3))
    pose[HIPS, 0] = -2.2
    pose[KNEES, 0] = 2.4
    pose[SPINE, 0] = 0.6
    pose[SHOULDERS, 2] = -1.2, 1.2
    return posed(pose)


@pytest.fixture(scope="session")
def walking() -> Mesh:
    """A body in mid-stride, one arm in front of it."""
    pose = np.zeros((24, 3))
    pose[HIPS, 0] = -0.5, 0.4
    pose[SHOULDERS, 2] = -1.2, 1.2
    pose[18] = 0, -1.5, 0
    return posed(pose)


def posed(pose: np.ndarray) -> Mesh:
    from tpifu.body.body import embedded_body  # imports torch, which few test files need

    body = embedded_body("male")
    vertices, joints = body.pose(pose.reshape(1, 72).astype(np.float32), np.zeros(10, np.float32))
    return Mesh(vertices[0] - joints[0, 0], body.faces)


@pytest.fixture(scope="session")
def ball():
    """A function `ball(radius, centre)` that returns a sphere, exact within 0.3 % of the radius."""

    def make(radius: float, centre=(0.0, 0.0, 0.0)) -> Mesh:
        sphere = trimesh.creation.icosphere(subdivisions=4, radius=radius)
        return as_mesh(sphere.apply_translation(centre))

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A data folder of leaning capsules with 2 views of 32 px and 400 points per mesh."""
    folder = tmp_path_factory.mktemp("tiny")

    def clip(number: int, name: str, length: int) -> list[MeshFrame]:
        return [
            MeshFrame(
                split=SPLIT_OF[name[0]],
                sequence=name,
                clip=f"run0/{name}_c0001",
                frame=frame,
                source_frame=5 * frame,
                gender="female",
                mesh=leaning(0.3 * number + 0.15 * frame),
            )
            for frame in range(length)
        ]

    clips = [clip(number, *item) for number, item in enumerate(CLIPS.items())]
    write_meshes(
        folder / "meshes",
        clips,
        {"provenance": {"source": "test", "licence": "none", "citation": "A Book, 1999"}},
    )
    images = Render(size=32, views=2)
    camera = {"window": 2.56, "seed": 0, "backend": "embree"}
    write_views(folder / "meshes", folder / "views", images, **camera, jobs=1)
    pool = Sample(near_surface=300, uniform=100, grid=12)
    write_points(folder / "meshes", folder / "points", pool, half=1.28, seed=0, jobs=1)
    return folder


@pytest.fixture(scope="session")
def synthetic_tree(tmp_path_factory) -> Path:
    """A tree of synthetic clips of 3 train and 2 test subjects."""
    from tpifu.config import Data, Synthetic
    from tpifu.sources.tree import write_tree

    folder = tmp_path_factory.mktemp("synthetic") / "tree"
    data = Data(synthetic=Synthetic(train_subjects=3, test_subjects=2))
    write_tree(folder, data, 0, cache=folder, environment={}, jobs=1)
    return folder


def leaning(angle: float) -> Mesh:
    turn = trimesh.transformations.rotation_matrix(angle, [0.6, 0, 0.8])
    return as_mesh(capsule().apply_transform(turn))


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    """A tiny network with all parts of PIFu."""
    hourglass = Hourglass(stacks=2, depth=1, dim=8)
    return Model(hourglass=hourglass, mlp=(16, 8), z_normalization=0.3, neighborhood=3)
