"""Plan studies: `studies/NAME.yaml` -> the data and the runs that they need.

A study lists seeds and variants. A variant is the set of parameters that differ from the profile
`study`. A run is a variant trained with one seed. Data and runs are identified by their effective
parameters, so studies share them. Values at the top level of params.yaml are ignored. The seed of a
run is that of its training; data and evaluation always have seed 0.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tpifu.config import Params
from tpifu.errors import ConfigError
from tpifu.files import write_text
from tpifu.params_file import TOP_LEVEL_ONLY, load, override
from tpifu.shards.folder import DataFolder

STUDIES = Path("studies")
RUNS = STUDIES / "runs"
CACHE = Path(".cache")
"""Checkpoints and downloads, shared with the pipeline. DVC_ROOT is the folder of the studies."""
RUNS_FILE = STUDIES / "runs.yaml"
PROFILE = "study"
DATA_SECTIONS = {"data", "camera", "render", "sample"}
RUN_SECTIONS = {"model", "train", "evaluate"}
REPORT_CODE = (
    *("pipeline/studies/report.py", "pipeline/studies/table.py", "tpifu/body/skeleton.py"),
    *("tpifu/measures/intervals.py", "tpifu/measures/names.py", "tpifu/shards/schema.py"),
)
"""Code on which a study's report depends."""
_HEADER = "# Written by `tpifu study`.\n"
OUTS = ("table.csv", "figure.png", "README.md")
"""The files of a study's report."""


class Study(BaseModel):
    """The contents of `studies/NAME.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str
    expected: str
    """The expected result and its reason, written before the runs."""
    found: str = ""
    """The result in one sentence, written after the runs."""
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """Name -> the parameters that differ from the profile, by dotted key."""
    compare: Annotated[tuple[tuple[str, str], ...], Field(strict=False)] = ()
    """Pairs of variants; a difference is second minus first."""


@dataclass(frozen=True)
class StudyRun:
    """One variant trained with one seed."""

    params: Params

    @cached_property
    def data(self) -> dict[str, Any]:
        """Effective parameters of the run's data."""
        return {"seed": 0, **self.params.model_dump(mode="json", include=DATA_SECTIONS)}

    @cached_property
    def training(self) -> dict[str, Any]:
        """Effective parameters of training and evaluation."""
        chosen = self.params.model_dump(mode="json", include=RUN_SECTIONS)
        return {"data": identity(self.data), "seed": self.params.seed, **chosen}

    @property
    def folder(self) -> Path:
        """Folder of the run's results."""
        return RUNS / identity(self.training)


def identity(values: dict[str, Any]) -> str:
    """A name for parameters; equal parameters have equal names."""
    text = json.dumps(values, sort_keys=True)
    return f"r{hashlib.sha256(text.encode()).hexdigest()[:10]}"  # r: YAML reads no key as a number


def read_study(file: Path) -> Study:
    """The study in a file. Raises ConfigError."""
    try:
        study = Study.model_validate(YAML(typ="safe", pure=True).load(file.read_text()))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{file}: {key}: {first['msg']}") from error
    for name in (name for pair in study.compare for name in pair):
        if name not in study.variants:
            raise ConfigError(f"{file}: compare: no variant is named {name!r}")
    return study


def runs_of(name: str, study: Study) -> dict[str, list[StudyRun]]:
    """The runs of each variant, in the order of the seeds. Raises ConfigError."""
    base = load(Path("params.yaml"), PROFILE, top_level=False)
    runs = {}
    for variant, changes in study.variants.items():
        for key in TOP_LEVEL_ONLY & changes.keys():
            raise ConfigError(f"{name}.yaml: {variant}: a variant cannot set {key}")
        params = override(base, changes, f"{name}.yaml: {variant}")
        if params.model.neighborhood == 1:  # stride and fusion have no effect
            params = params.model_copy(update={"model": params.model.with_window(1)})
        runs[variant] = [StudyRun(params.model_copy(update={"seed": s})) for s in study.seeds]
    return runs


def all_runs(name: str, study: Study) -> dict[str, StudyRun]:
    """The runs of all variants by the names of their folders."""
    runs = (run for own in runs_of(name, study).values() for run in own)
    return {run.folder.name: run for run in runs}


def studies() -> Iterator[tuple[str, Study]]:
    """Name and contents of each study of the checkout, sorted by name."""
    for file in sorted(STUDIES.glob("*.yaml")):
        if file.name not in (RUNS_FILE.name, "dvc.yaml"):
            yield file.stem, read_study(file)


def write_plan() -> None:
    """Write `studies/runs.yaml`, for `studies/dvc.yaml`, and each `studies/NAME/dvc.yaml`."""
    data: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for name, study in studies():
        runs = all_runs(name, study)
        data |= {identity(run.data): run.data for run in runs.values()}
        training |= {key: run.training for key, run in runs.items()}
        write_text(STUDIES / name / "dvc.yaml", report_stages(name, sorted(runs)))
    plan = {"data": dict(sorted(data.items())), "runs": dict(sorted(training.items()))}
    write_text(RUNS_FILE, _HEADER + json.dumps(plan, indent=1) + "\n")


def report_stages(name: str, runs: Sequence[str]) -> str:
    """Contents of `studies/NAME/dvc.yaml`. `runs`: folders of the study's runs."""
    stage = {
        "cmd": f"cd ../.. && python -m pipeline.studies.report {name}",
        "deps": [
            *(f"../../{path}" for path in REPORT_CODE),
            f"../{name}.yaml",
            *(f"../runs/{run}" for run in runs),
        ],
        "outs": [{out: {"cache": False}} for out in OUTS],
    }
    return _HEADER + json.dumps({"stages": {"report": stage}}, indent=1) + "\n"


def planned(kind: Literal["data", "runs"], key: str) -> dict[str, Any]:
    """The parameters of planned data or a planned run. Raises ConfigError for an unknown key."""
    plan: dict[str, dict[str, Any]] = json.loads(RUNS_FILE.read_text().removeprefix(_HEADER))[kind]
    if key not in plan:
        raise ConfigError(f"{RUNS_FILE}: no {kind} {key}; `tpifu study` updates this file")
    return plan[key]


def data_folder(key: str) -> DataFolder:
    return DataFolder(STUDIES / "data" / key)
