"""Parameters: the paper's Table 1 as defaults, checked once, frozen, with a profile laid over them.

`load` reads a params file (YAML 1.2), checks the base values and the chosen profile's overlay, and
returns the effective `Params`. Lengths are metres, angles degrees, times steps. Rows the paper
leaves out are marked so.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tpifu.errors import ConfigError


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
LightKind = Literal["camera", "environment", "environment_clip", "fixed"]
Precision = Literal["float32", "bfloat16", "fastest"]
"""Arithmetic of training steps; a machine setting, not a parameter (`tpifu.train.Machine`)."""


class Section(BaseModel):
    """Frozen; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Synthetic(Section):
    """Procedural motion by procedural subjects. Not in the paper."""

    train_subjects: Count = 20
    test_subjects: Count = 10
    motions: Literal["nine", "broad", "both"] = "nine"
    """nine: every subject performs nine motions once. broad: every subject performs `clips` clips
    of the broad family, which spans human poses. both: all of these."""
    clips: Count = 12
    """Clips of the broad family for each subject."""


class Surreal(Section):
    """Which clips of SURREAL are downloaded, as many as the splits need. Not in the paper."""

    clips: str | None = None
    """A list of your own: lines with paths of *_info.mat, or CSV with split, sequence, frames; else
    the authors' lists."""
    runs: Annotated[
        tuple[Literal["run0", "run1", "run2"], ...], Field(strict=False, min_length=1)
    ] = ("run0",)
    """The same motions by other people in other directions."""
    overlapping: bool = False
    """Also clips that share frames with their neighbours."""
    exclude: Annotated[tuple[str, ...], Field(strict=False)] = ("18_*", "19_*", "143_21")
    """Shell patterns of sequences left out: the "monster shapes" of SURREAL's README."""


class Data(Section):
    """Which motion, and how much of it."""

    source: Literal["synthetic", "cmu", "surreal"] = "synthetic"
    """Where motion comes from: `synthetic` and `cmu` need no account, `surreal` needs two licences
    (docs/data.md)."""
    synthetic: Synthetic = Synthetic()
    surreal: Surreal = Surreal()
    frame_step: Count = 5
    """Every n-th frame of a clip is kept (Sec. 3.1)."""
    train_meshes: Count = 892
    validation_meshes: Amount = 50
    """Meshes of training subjects that are held out of training, to choose among checkpoints; they
    are not counted in train_meshes. Not in the paper."""
    test_meshes: Count = 100
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
    """Shell patterns of sequences kept out of training and validation and evaluated on their own:
    kicks and lunges among the nine motions and in CMU's takes, throwing, climbing and balancing in
    the broad family. Not in the paper."""
    unseen_meshes: Amount = 50
    """Meshes of unseen motions, at most. Not in the paper."""
    max_skipped: Share = 0.05
    """Largest share of unusable clips that is tolerated. Not in the paper."""


class Camera(Section):
    window: Annotated[float, Field(gt=0, le=5.12)] = 2.56
    """Width of the image and of the sampling box, metres. PIFu: 2.048, which crops raised arms;
    stored points reach 5.12 across."""


class Lighting(Section):
    """How images are lit: a setting of `render`, and a record of the images a model learned from.
    Not in the paper."""

    light: LightKind = "camera"
    """camera: a headlight. environment: a random environment for every image. environment_clip: one
    for every clip and view, constant over time. fixed: the same environment in all images, from the
    upper left (tpifu/light.py)."""
    occlusion: Amount = 0
    """Rays from each vertex for ambient occlusion; 0: no occlusion."""

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> "Lighting":
        """The lighting of a folder of views, from its shards' metadata."""
        return cls(light=metadata["light"], occlusion=metadata["occlusion"])

    def warning(self, images: "Lighting") -> str | None:
        """What to tell the user of a model trained under this light about `images`; None if they
        are lit alike. The number of rays does not matter."""
        if self.light == images.light and bool(self.occlusion) == bool(images.occlusion):
            return None
        return f"images have {images}, but the model was trained on {self}: it may do worse on them"

    def __str__(self) -> str:
        return f"light {self.light} {'with' if self.occlusion else 'without'} occlusion"


class Render(Lighting):
    """Images. Not in the paper, which says only that PIFu's camera is used (512 px)."""

    size: Annotated[int, Field(ge=16, multiple_of=16)] = 512
    """Image width and height, pixels."""
    views: Count = 4
    """Yaw views of each frame, evenly spaced over 360 degrees."""
    backend: Literal["auto", "pyrender", "embree"] = "auto"


class Sample(Section):
    """The pool of labelled points of each mesh. Not in the paper, which says that it mimics PIFu's
    scheme."""

    near_surface: Count = 16000
    uniform: Count = 1000
    """Near-surface to uniform is 16:1 in PIFu."""
    sigma: Positive = 0.05
    """Standard deviation of near-surface points, metres."""
    grid: Count = 64
    """Resolution of the uniform grid labelled for test meshes (volumetric IoU)."""


class Hourglass(Section):
    stacks: Count = 4
    depth: Count = 2
    """`Num stacked layers`: the recursion depth of each hourglass, not a count of layers."""
    skip: bool = True
    """The branch around each level's down- and up-sampling."""
    dim: Annotated[int, Field(ge=8, multiple_of=8)] = 256

    def fault(self, size: int) -> str | None:
        """Why images of `size` pixels do not suit, in words; None if they do.

        The stem quarters an image, every level halves it, and a norm needs cells to average over.
        """
        step = 4 * 2**self.depth
        if size % step == 0 and size >= 2 * step:
            return None
        return f"model.hourglass.depth {self.depth} needs a multiple of {step}, at least {2 * step}"


class Model(Section):
    z_normalization: Positive = 2.0
    """Depth feature = metres / z_normalization."""
    norm: Literal["group", "batch"] = "group"
    hourglass: Hourglass = Hourglass()
    mlp: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = (1024, 512, 256, 129)
    """Hidden widths. The input width is neighborhood * dim + 1, the output width 1."""
    last_activation: Literal["tanh", "sigmoid"] = "tanh"
    align_corners: bool = False
    """Feature lookup: true puts ndc -1 and 1 at the centres of a map's outermost cells (PIFu's),
    false at their outer edges, as in images. Not in the paper."""
    neighborhood: Count = 3
    """Frames the temporal model sees, centred on the frame it reconstructs."""
    stride: Count = 1
    """Kept frames from each of them to the next. Not in the paper."""

    def seeing(self, neighborhood: int, stride: int = 1) -> "Model":
        """The same network for windows of other frames."""
        windows = {"neighborhood": neighborhood, "stride": stride}
        return Model.model_validate({**self.model_dump(), **windows})

    @field_validator("neighborhood")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd: the window is centred on one frame")
        return value


class Train(Section):
    learning_rate: Positive = 1e-4
    optimizer: Literal["adam", "muon", "rmsprop"] = "adam"
    """muon: for all weights between the first layer and the last, Adam for the rest."""
    batch_size: Count = 2
    """Windows a step, of as many meshes; where one epoch ends and the next begins, a mesh may come
    twice."""
    windows_per_clip: Count = 1
    """Neighbouring windows of a clip that a step takes together, which then share their images; 1:
    windows are drawn independently. Not in the paper."""
    flip: Share = 0.0
    """Share of windows whose images and camera are mirrored left-right. Not in the paper."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of the body's size, as far as it stays in the image; 0.1: between 0.9
    and 1.1 times. Not in the paper."""
    shift: Share = 0.0
    """Share of the free margin that the body may be moved by, across and along the image; 1: up to
    the edge. Not in the paper."""
    points: Annotated[int, Field(ge=2, multiple_of=2)] = 1000
    """`Num samples`: points a window, half of them inside."""
    steps: Count = 44600
    """100 epochs of 892 meshes. Not in the paper."""
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Amount = 0
    """Steps over which the learning rate rises linearly. Not in the paper."""
    checkpoint_every: Count = 500
    """Steps between checkpoints. Not in the paper."""
    validate_every: Amount = 500
    """Steps between measurements on the validation split, the last step's aside; the weights that
    did best there become the model. 0: the last weights do. Not in the paper."""


class Evaluate(Section):
    """How the test set is measured and shown. Not in the paper, but for the 50/50 points of PIFu's
    Table 2 measures."""

    points: Annotated[int, Field(ge=2, multiple_of=2)] = 5000
    """Points a mesh, half of them inside."""
    frames: Count = 6
    """Frames of each held-out split that are reconstructed and pictured (Figure 4)."""
    sequence: Amount = 12
    """Consecutive test frames that are pictured (Figure 5) and played."""
    resolution: Annotated[int, Field(ge=8)] = 128
    """Grid of the reconstructed meshes, cells a side."""
    start: Count = 32
    """Intervals a side of the lattice from which reconstruction refines; more are slower, and miss
    fewer parts that are detached and small."""
    surface_points: Count = 10000
    """Points on each surface at which distances are measured."""


class Params(Section):
    profile: str = "paper"
    seed: Amount = 0
    data: Data = Data()
    camera: Camera = Camera()
    render: Render = Render()
    sample: Sample = Sample()
    model: Model = Model()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _fitting_images(self) -> "Params":
        if fault := self.model.hourglass.fault(self.render.size):
            raise ValueError(f"render.size is {self.render.size}, but {fault}")
        return self

    @model_validator(mode="after")
    def _enough_points(self) -> "Params":
        pool = self.sample.near_surface + self.sample.uniform
        for name, wanted in (("train", self.train.points), ("evaluate", self.evaluate.points)):
            if wanted > pool:
                raise ValueError(
                    f"{name}.points is {wanted}, but sample.near_surface + sample.uniform is "
                    f"{pool}: raise the pool or lower the draw"
                )
        return self


def load(path: Path) -> Params:
    """The effective parameters of a params file: its base values under its chosen profile's
    overlay.

    Raises ConfigError in one line for an unreadable file, an unknown or mistyped key, an impossible
    value, or an overlay that would hide a value somebody has set.
    """
    try:
        document = YAML(typ="safe", pure=True).load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file") from error
    except YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold parameters as `key: value` lines")
    profiles = document.pop("profiles", {"paper": {}})
    base = parse(document, path.name)
    if not isinstance(profiles, dict) or base.profile not in profiles:
        known = ", ".join(profiles) if isinstance(profiles, dict) else "none"
        raise ConfigError(f"{path.name}: profile is {base.profile!r}; profiles holds {known}")
    overlay = profiles[base.profile] or {}
    where = f"{path.name}: profiles.{base.profile}"
    _refuse_hidden(base.model_dump(), Params().model_dump(), overlay, where)
    return parse(_merge(base.model_dump(), overlay), where)


def parse(values: dict[str, Any], where: str) -> Params:
    """Check nested values; ConfigError names the first key that is wrong, its value and what is
    allowed."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown parameter; known here: {', '.join(_known(first['loc'][:-1]))}"
        elif first["loc"]:
            message = f"is {first['input']!r}: {message[0].lower()}{message[1:]}"
        raise ConfigError(f"{where}: {key + ': ' if key else ''}{message}") from error


def _known(location: tuple[int | str, ...]) -> list[str]:
    section: Any = Params
    for part in location:
        section = section.model_fields[part].annotation
    return list(section.model_fields)


def _merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if nested else value
    return merged


def _refuse_hidden(
    base: dict[str, Any], table: dict[str, Any], overlay: Any, where: str, key: str = ""
) -> None:
    """The base holds Table 1; a base value that differs was set by somebody and must not vanish
    under an overlay."""
    if not isinstance(overlay, dict):
        raise ConfigError(f"{where}{key}: must be `key: value` lines")
    for name, value in overlay.items():
        path = f"{key}.{name}"
        if path in (".profile", ".model.neighborhood", ".model.stride"):
            raise ConfigError(f"{where}{path}: set {path[1:]} at the top level, not in a profile")
        if name not in base:
            raise ConfigError(f"{where}{path}: unknown parameter; known here: {', '.join(base)}")
        if isinstance(base[name], dict):
            _refuse_hidden(base[name], table[name], value or {}, where, path)
        elif base[name] != table[name] and base[name] != value:
            profile = where.rsplit("profiles.", 1)[1]
            raise ConfigError(
                f"{path[1:]}={base[name]} would be hidden by profile {profile!r}: "
                f"set profiles.{profile}{path} instead, or profile=paper"
            )
