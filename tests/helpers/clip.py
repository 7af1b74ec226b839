"""A clip of small mesh files, and options that render it and train on it in seconds."""

import numpy as np
import trimesh

from helpers.command import settings

FRAMES, VIEWS, SIZE = 5, 2, 32

RENDER = settings(f"render.size={SIZE}", f"render.views={VIEWS}", "render.backend=embree")
RENDER += settings("sample.near_surface=150", "sample.uniform=50", "sample.grid=8")

EVALUATE = ["--device", "cpu", *settings("evaluate.points=100", "evaluate.resolution=16")]
RECONSTRUCT = ["--device", "cpu", *settings("evaluate.resolution=16")]

TINY = """
profile: tiny
model:
  mlp: [16, 8]
  z_normalization: 0.3
train: {batch_size: 4}
profiles:
  tiny:
    model: {hourglass: {stacks: 1, depth: 1, dim: 8}}
    train: {steps: 40, points: 64, learning_rate: 0.01}
"""


def capsule() -> trimesh.Trimesh:
    """An upright capsule 1.4 m high."""
    upright = trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0])
    lying = trimesh.creation.capsule(height=0.9, radius=0.25, count=[12, 12])
    return lying.apply_transform(upright)


def body(lean: float) -> trimesh.Trimesh:
    """A capsule 1.4 m high that leans by `lean` radians; a head marks up and front."""
    head = trimesh.creation.icosphere(subdivisions=1, radius=0.2)
    head.apply_translation([0.05, 0.75, 0.15])
    both = trimesh.util.concatenate([capsule(), head])
    both.apply_transform(trimesh.transformations.rotation_matrix(lean, [0, 0, 1]))
    return both
