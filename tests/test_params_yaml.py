"""The repository's params.yaml: its values, its stages in dvc.yaml, and `dvc exp run -S` on it.

`-S` parses the value with Hydra's grammar and rewrites the whole file with ruamel.yaml. DVC failed
on a comment after a key whose value is a list. Related cases, tested below: a comment after a list
item; a comment or an empty line after a list; an empty value that becomes a list; a list that
becomes empty; text that reads as a number ('10_01'); 1e-05.
"""

import json
import re
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from tpifu.config import Params, flatten
from tpifu.params_file import TOP_LEVEL_ONLY, load, schemas

FILE = Path(__file__).parents[1] / "params.yaml"
DOCUMENT = YAML(typ="safe", pure=True).load(FILE.read_text())
TOP = {key: value for key, value in DOCUMENT.items() if key != "profiles"}
PROFILES = {name: flatten(values) for name, values in DOCUMENT["profiles"].items()}
TABLE = flatten(Params().model_dump(mode="json"))
STAGES = YAML(typ="safe", pure=True).load(FILE.with_name("dvc.yaml").read_text())["stages"]
PARAMETERS = {name: stage.get("do", stage)["params"] for name, stage in STAGES.items()}
USED_BY = {
    "profile": set(STAGES),
    "seed": set(STAGES),
    "data": {"download", "meshes"},
    "camera": {"render", "sample"},
    "render": {"render"},
    "sample": {"sample"},
    "model": {"train"},
    "train": {"train"},
    "evaluate": {"evaluate", "report"},
}


def another(key: str, value: object) -> object:
    """A valid value of a parameter other than `value`."""
    schema = dict(schemas())[key]
    if key == "profile":
        return "paper"
    if key == "data.surreal.runs":
        return ["run2", "run1"]
    if isinstance(value, list):
        return [64, 32] if key == "model.mlp" else ["a_*", "10_01"]
    if isinstance(value, bool):
        return not value
    if "enum" in schema:
        return next(choice for choice in schema["enum"] if choice != value)
    if value is None:
        return "clips.txt"
    if schema["type"] == "number":
        return value / 2 or 0.25
    return 5 if key == "model.neighborhood" else 2 * value or 1


def comments(file: Path) -> list[str]:
    return re.findall("#.*", file.read_text())


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copy(FILE, tmp_path))


def test_the_profile_paper_is_the_defaults():
    values = {key: value for key, value in TABLE.items() if key not in TOP_LEVEL_ONLY}
    assert PROFILES["paper"] == values
    assert load(FILE, "paper") == Params()


def test_the_top_level_has_every_parameter_and_sets_those_that_profiles_do_not():
    values = flatten(TOP)
    assert values.keys() == TABLE.keys()
    assert {key for key, value in values.items() if value is not None} == TOP_LEVEL_ONLY


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "paper"])
def test_a_profile_holds_only_values_that_differ_from_paper(name):
    paper = PROFILES["paper"]
    assert all(value != paper[key] for key, value in PROFILES[name].items())
    # DVC stops at a group that is missing.
    assert DOCUMENT["profiles"][name].keys() == DOCUMENT["profiles"]["paper"].keys()


@pytest.mark.parametrize("key", TABLE)
def test_a_parameter_reruns_the_stages_that_use_it(key):
    def stages(name: str) -> set[str]:
        return {
            stage
            for stage, names in PARAMETERS.items()
            if any(name == own or name.startswith(f"{own}.") for own in names)
        }

    users = USED_BY[key.split(".")[0]]
    temporal = key in ("model.neighborhood", "model.stride", "model.fusion")
    assert stages(key) == (set() if temporal else users)
    if temporal:
        models = STAGES["train"]["foreach"]
        assert [name for name in models if models[name]["reads"] == "model"] == ["temporal"]
    if key not in TOP_LEVEL_ONLY:
        for name in (f"profiles.paper.{key}", f"profiles.${{profile}}.{key}"):
            assert stages(name) == users, name


def test_S_sets_every_parameter(copy):
    before, values = copy.read_bytes(), flatten(load(copy).model_dump(mode="json"))
    for key, value in values.items():
        changed = another(key, value)
        apply_overrides(copy, [f"{key}={json.dumps(changed)}"])
        assert comments(copy) == comments(FILE), key
        if key == "profile":
            assert load(copy) == load(FILE, "paper")
        elif key != "model.hourglass.depth":  # 8 needs larger images
            assert flatten(load(copy).model_dump(mode="json")) == {**values, key: changed}
        if key not in TOP_LEVEL_ONLY:
            apply_overrides(copy, [f"{key}=null"])
            assert copy.read_bytes() == before, key  # an empty value restores the file
        copy.write_bytes(before)


def test_S_sets_all_parameters_under_the_profile_paper(copy):
    changed = {key: another(key, value) for key, value in TABLE.items()}
    apply_overrides(copy, [f"{key}={json.dumps(value)}" for key, value in changed.items()])
    assert flatten(load(copy).model_dump(mode="json")) == changed
    assert comments(copy) == comments(FILE)


def test_S_sets_every_value_of_the_file_one_after_the_other(copy):
    expected = deepcopy(flatten(DOCUMENT))
    for key, value in expected.items():
        name = re.sub(r"^profiles\.\w+\.", "", key)
        expected[key] = another(name, TABLE[name] if value is None else value)
        apply_overrides(copy, [f"{key}={json.dumps(expected[key])}"])
    assert flatten(YAML(typ="safe", pure=True).load(copy.read_text())) == expected
    assert comments(copy) == comments(FILE)


@pytest.mark.parametrize("key", [key for key, value in TABLE.items() if isinstance(value, list)])
@pytest.mark.parametrize("place", ["", "profiles.paper."])
def test_S_empties_a_list(copy, key, place):
    apply_overrides(copy, [f"{place}{key}=[]"])
    assert flatten(YAML(typ="safe", pure=True).load(copy.read_text()))[place + key] == []
    assert comments(copy) == comments(FILE)


def test_S_writes_a_small_number_as_a_number(copy):
    apply_overrides(copy, ["train.learning_rate=1e-5"])
    assert load(copy).train.learning_rate == 1e-5
