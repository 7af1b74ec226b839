"""Parameters and machine settings: type, limits and meaning. Lengths are metres, angles degrees.

The defaults are the paper's Table 1, as in `profiles.paper` of params.yaml, which marks the paper's
rows. `tpifu.params_file` reads it.
"""

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tpifu.errors import DataError


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    result: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            result |= flatten(value, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result


Count = Annotated[int, Field(ge=1)]
Amount = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
LightKind = Literal["camera", "environment", "environment_clip", "fixed", "uniform"]
Precision = Literal["float32", "bfloat16", "fastest"]
Loss = Literal["squared", "cross_entropy"]


class Parameters(BaseModel):
    """A frozen group of parameters; unknown keys and wrong types are rejected."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class Synthetic(Parameters):
    """Procedural motion by procedural subjects."""

    train_subjects: Count = 20
    """Subjects of the training half."""
    test_subjects: Count = 10
    """Subjects of the test half."""
    motions: Literal["nine", "broad", "both"] = "nine"
    """nine: every subject performs nine motions once. broad: every subject performs `clips` clips
    that span the range of human poses. both: all of these."""
    clips: Count = 12
    """Clips of broad motion for each subject."""


class Cmu(Parameters):
    """Motion capture in Acclaim files. They are downloaded unless `folder` is set."""

    folder: str | None = None
    """Folder of your own .asf and .amc files; in motion/ for the pipeline. null: CMU's takes."""
    frame_rate: Annotated[int, Field(ge=30, multiple_of=30)] = 120
    """Frames per second of the files in `folder`. Clips have 30."""


class Surreal(Parameters):
    """The clips of SURREAL. Only as many as the splits need are downloaded or copied."""

    folder: str | None = None
    """Folder of your own clips in SURREAL's layout; in motion/ for the pipeline. null: download."""
    clips: str | None = None
    """File with one path of *_info.mat per line; in motion/ for the pipeline. null: all clips."""
    runs: Annotated[
        tuple[Literal["run0", "run1", "run2"], ...], Field(strict=False, min_length=1)
    ] = ("run0",)
    """Runs of SURREAL. Each run repeats the motions with other bodies and directions."""
    overlapping: bool = False
    """Whether to use clips that share frames with their neighbours."""
    exclude: Annotated[tuple[str, ...], Field(strict=False)] = ("18_*", "19_*", "143_21")
    """Shell patterns of sequences to exclude: the "monster shapes" of SURREAL's README."""


class Data(Parameters):
    """Source and amount of motion."""

    source: Literal["synthetic", "cmu", "surreal"] = "synthetic"
    """Source of the motion. surreal needs two licences (docs/data.md), the others no account."""
    synthetic: Synthetic = Synthetic()
    cmu: Cmu = Cmu()
    surreal: Surreal = Surreal()
    frame_step: Count = 5
    """Keep every n-th frame of a clip (Sec. 3.1)."""
    train_meshes: Amount = 892
    """Training meshes. If these and validation_meshes are 0, there is only held-out data."""
    validation_meshes: Amount = 50
    """Meshes used to choose among checkpoints. Their subjects are excluded from training."""
    test_meshes: Count = 100
    """Test meshes."""
    unseen: Annotated[tuple[str, ...], Field(strict=False)] = (
        "*_kick",
        "*_lunge",
        "*_broad_throw_*",
        "*_broad_climb_*",
        "*_broad_yoga_*",
        "10_01",
        "144_05",
        "144_11",
    )
    """Shell patterns of sequences that are excluded from training and validation and evaluated as
    split unseen_motion: kicks, lunges, throwing, climbing and yoga."""
    unseen_meshes: Amount = 50
    """Maximum number of meshes in split unseen_motion."""
    max_skipped: Share = 0.05
    """Maximum share of clips that may be unusable."""


class Camera(Parameters):
    """The orthographic camera."""

    window: Annotated[float, Field(gt=0, le=5.12)] = 2.56
    """Width of the image and of the sampling box, metres. PIFu uses 2.048, which crops raised
    arms. Stored points reach 5.12 across."""


class Lighting(Parameters):
    """Light of images: a part of `render`, and of the record of a model's training data."""

    light: LightKind = "camera"
    """camera: a headlight. environment: a random environment for every image. environment_clip: one
    for every clip and view, constant over time. fixed: the same environment in all images, from the
    upper left. uniform: equal from all sides, so that images are silhouettes."""
    occlusion: Amount = 0
    """Rays from each vertex for ambient occlusion; 0 disables."""


class Render(Lighting):
    """Images. The paper says only that PIFu's camera is used (512 px)."""

    size: Annotated[int, Field(ge=16, multiple_of=16)] = 512
    """Image width and height, pixels."""
    views: Count = 4
    """Views of each frame, evenly spaced over 360 degrees of yaw."""
    backend: Literal["auto", "pyrender", "embree"] = "auto"
    """Renderer. pyrender needs OpenGL. auto: pyrender if OpenGL has a GPU, else embree."""


class Sample(Parameters):
    """The pool of labelled points of each mesh. The paper only says that it mimics PIFu's."""

    near_surface: Count = 16000
    """Points near the surface of each mesh."""
    uniform: Count = 1000
    """Points spread uniformly over the box. PIFu draws 16 near-surface points for each uniform
    one."""
    sigma: Positive = 0.05
    """Standard deviation of the distance of near-surface points from the surface, metres."""
    grid: Count = 64
    """Cells per side of the labelled grid of each test mesh, for the volumetric IoU."""


class DataRecord(Lighting):
    """Properties of training data; a network can also read data that differ in them. None:
    unknown."""

    source: str | None = None
    """Source of the motion and the bodies."""
    motions: str | None = None
    """Motions of the source."""
    frame_step: int | None = None
    """Step from one mesh to the next, in frames of the source."""
    origin: str | None = None
    """The point of each body that lies at 0."""

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> "DataRecord":
        """The record of a folder of views, from their metadata, or DataError for wrong types."""
        meshes = metadata["meshes"]
        try:
            known = {**metadata, **meshes, **meshes["provenance"]}
            return cls.model_validate({name: known.get(name) for name in cls.model_fields})
        except (TypeError, ValueError) as error:
            raise DataError("the views' metadata are damaged; write them again") from error

    def warning(self, other: "DataRecord") -> str | None:
        """A warning if the data of `other` differ from the training data, which have this record.

        None if they agree. Unknown properties and the number of rays are not compared.
        """
        ours, theirs = (
            {**record.model_dump(), "occlusion": "yes" if record.occlusion else "no"}
            for record in (self, other)
        )
        differences = [
            f"{name} {theirs[name]} (trained on {ours[name]})"
            for name in ours
            if None not in (ours[name], theirs[name]) and ours[name] != theirs[name]
        ]
        if not differences:
            return None
        return f"{', '.join(differences)}: the model may do worse on these data"


class Hourglass(Parameters):
    """The image encoder."""

    stacks: Count = 4
    """Number of stacked hourglasses."""
    depth: Count = 2
    """Recursion depth of each hourglass (Table 1: Num stacked layers)."""
    skip: bool = True
    """Whether each level has a branch around its down- and up-sampling."""
    dim: Annotated[int, Field(ge=8, multiple_of=8)] = 256
    """Channels of the feature maps."""

    def size_error(self, size: int) -> str | None:
        """Why images of `size` pixels do not fit; None if they do.

        The stem divides the size by 4 and every level by 2; a norm needs cells to average over.
        """
        step = 4 * 2**self.depth
        if size % step == 0 and size >= 2 * step:
            return None
        return f"model.hourglass.depth {self.depth} needs a multiple of {step}, at least {2 * step}"


class Model(Parameters):
    """The network."""

    z_normalization: Positive = 2.0
    """The depth feature is metres / z_normalization."""
    norm: Literal["group", "batch"] = "group"
    """Normalization of the image encoder."""
    hourglass: Hourglass = Hourglass()
    mlp: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = (1024, 512, 256, 129)
    """Hidden widths of the MLP. Its input width is neighborhood * dim + 1, its output width 1."""
    last_activation: Literal["tanh", "sigmoid"] = "tanh"
    """Activation of the output."""
    align_corners: bool = False
    """Feature lookup. true: ndc -1 and 1 are the centres of the outermost cells of a map, as in
    PIFu. false: they are the outer edges, as in images."""
    neighborhood: Count = 3
    """Number of frames in a window of the temporal model, odd. The centre frame is
    reconstructed."""
    stride: Count = 1
    """Distance between neighbouring frames of a window, in kept frames."""
    fusion: Literal["concat", "early", "attention"] = "concat"
    """Fusion of the frames of a window. concat: the classifier sees the features of all frames side
    by side. early: the images are channels of one filter pass. attention: the classifier sees one
    weighted mean over the frames."""

    def with_window(self, neighborhood: int, stride: int = 1, fusion: str = "concat") -> "Model":
        """The same network with a different neighborhood, stride or fusion."""
        window = {"neighborhood": neighborhood, "stride": stride, "fusion": fusion}
        return Model.model_validate({**self.model_dump(), **window})

    @field_validator("neighborhood")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd: the window is centred on one frame")
        return value


class Train(Parameters):
    """Training."""

    loss: Loss = "squared"
    """Loss of the occupancies. squared: squared error, the paper's. cross_entropy: binary cross
    entropy; it needs model.last_activation sigmoid."""
    learning_rate: Positive = 1e-4
    """Learning rate after the warm-up."""
    optimizer: Literal["adam", "muon", "rmsprop"] = "adam"
    """muon: Muon for all weights except the first and last layer's, which Adam updates."""
    batch_size: Count = 2
    """Windows per step, all of different meshes unless an epoch ends within the step."""
    flip: Share = 0.0
    """Share of windows whose images and camera are mirrored left-right."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Maximum relative change of the body's size, within the image. 0.1: 0.9 to 1.1 times."""
    shift: Share = 0.0
    """Maximum shift of the body, as a share of the free margin of the image. 1: up to the edge."""
    points: Annotated[int, Field(ge=2, multiple_of=2)] = 1000
    """Points per window, half of them inside."""
    steps: Count = 44600
    """Training steps. 44600 are 100 epochs of 892 meshes at batch size 2."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Schedule of the learning rate after the warm-up. cosine: falls to 0 at the last step."""
    warmup: Amount = 0
    """Steps over which the learning rate rises linearly."""
    checkpoint_every: Count = 500
    """Steps between checkpoints."""
    validate_every: Amount = 500
    """Steps between validations. The model has the best validated weights. 0: the last weights."""


class Evaluate(Parameters):
    """Evaluation. Balanced points are the measure of PIFu's Table 2."""

    points: Annotated[int, Field(ge=2, multiple_of=2)] = 5000
    """Points per mesh, half of them inside."""
    frames: Count = 6
    """Frames of each held-out split to reconstruct for pictures (Figure 4)."""
    sequence: Amount = 12
    """Consecutive test frames to reconstruct for pictures (Figure 5) and the player."""
    resolution: Annotated[int, Field(ge=8)] = 128
    """Cells per side of the grid from which meshes are reconstructed."""
    start: Count = 32
    """Cells per side of the coarse grid. Fewer are faster, but may miss small detached parts."""
    surface_points: Count = 10000
    """Points on each surface for distances."""


class Params(Parameters):
    """All parameters."""

    profile: str = "paper"
    """Profile of params.yaml. Its values replace the profile paper's."""
    seed: Amount = 0
    """Seed of every random draw."""
    data: Data = Data()
    camera: Camera = Camera()
    render: Render = Render()
    sample: Sample = Sample()
    model: Model = Model()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()


class Environment(BaseModel):
    """Machine settings: the environment variables TPIFU_JOBS and so on (docs/scaling.md). Only
    `precision`, `parts` and `compile` change results, by rounding."""

    model_config = ConfigDict(frozen=True, alias_generator=lambda name: f"TPIFU_{name.upper()}")

    jobs: Count = Field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Number of processes for data stages and evaluation."""
    dask: str | None = None
    """HOST:PORT of a Dask scheduler whose workers replace these processes."""
    device: str | None = None
    """cpu, cuda or cuda:N. None: CUDA if available."""
    readers: Amount = 0
    """Processes that prefetch training batches. 0: a thread."""
    parts: Count = 1
    """Number of parts of a training batch, which are processed one after the other."""
    precision: Precision = "float32"
    """Arithmetic of training steps. fastest: whichever is faster on this machine."""
    compile: bool = False
    """Whether torch.compile compiles training steps."""
    tracking: bool = True
    """Whether MLflow tracks the pipeline's stages."""
