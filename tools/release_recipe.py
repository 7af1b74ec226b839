"""Settings of `release_models.py`: data, networks, training and evaluation, full and small."""

from collections.abc import Sequence
from dataclasses import dataclass

from tpifu.config import (
    Data,
    DataRecord,
    Evaluate,
    Hourglass,
    Model,
    Render,
    Sample,
    Synthetic,
    Train,
)

WINDOW = 2.56
"""Width of an image, metres."""
NEIGHBORHOOD = {"temporal": 3, "baseline": 1}
"""The two models, in the order of training."""
EVALUATION = 0.11
"""Share of the time reserved for evaluating the baseline and drawing the contact sheet."""
DATA = 0.16
"""Expected share of the time for making data, used to choose the network."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    data: Data
    render: Render
    sample: Sample
    networks: Sequence[Model]
    """Candidate networks, widest first."""
    train: Train
    evaluate: Evaluate
    images: int
    """Images per filter pass in training, a multiple of three (the frames of a window)."""
    windows: int
    """Each model must see this many windows; otherwise a narrower network is chosen."""
    validation_windows: int
    measuring: float
    """Duration of each speed measurement, seconds."""

    @property
    def record(self) -> DataRecord:
        return DataRecord(
            light=self.render.light,
            occlusion=self.render.occlusion,
            source=self.data.source,
            motions=self.data.synthetic.motions,
            frame_step=self.data.frame_step,
            origin="pelvis",
        )


def network(dim: int, depth: int = 4) -> Model:
    """A network of one stack. The small z normalisation gives depth as much weight as the narrow
    features, as in the laptop profile."""
    return Model(
        z_normalization=0.3,
        hourglass=Hourglass(stacks=1, depth=depth, dim=dim),
        mlp=(256, 128, 64),
    )


RELEASE = Recipe(
    data=Data(
        synthetic=Synthetic(train_subjects=140, test_subjects=20, motions="both", clips=7),
        train_meshes=7000,
        validation_meshes=100,
        test_meshes=240,
        unseen_meshes=120,
    ),
    render=Render(size=256, views=4, light="environment", occlusion=16, backend="embree"),
    sample=Sample(near_surface=6000, uniform=400),
    networks=[network(128), network(96), network(64)],
    train=Train(
        learning_rate=0.01,
        optimizer="muon",
        batch_size=192,
        points=3000,
        flip=0.5,
        schedule="cosine",
        warmup=100,
    ),
    evaluate=Evaluate(frames=8, sequence=0),
    images=192,
    windows=250_000,
    validation_windows=256,
    measuring=2.0,
)
REHEARSAL = Recipe(
    data=Data(
        synthetic=Synthetic(train_subjects=3, test_subjects=2, motions="both", clips=3),
        train_meshes=150,
        validation_meshes=10,
        test_meshes=14,
        unseen_meshes=6,
    ),
    render=Render(size=64, views=2, light="environment", occlusion=4, backend="embree"),
    sample=Sample(near_surface=1600, uniform=100, grid=32),
    networks=[network(64, depth=2), network(16, depth=2)],
    train=RELEASE.train.model_copy(update={"batch_size": 12, "points": 300, "warmup": 10}),
    evaluate=Evaluate(points=1000, frames=3, sequence=0, resolution=64, surface_points=2000),
    images=12,
    windows=20_000,
    validation_windows=16,
    measuring=0.5,
)
