"""`tpifu params`, the options --params and --set, and `tpifu --help`."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.command import done, refused, settings

from tpifu.config import Params, flatten
from tpifu.params_file import load

REPOSITORY = Path(__file__).parents[2]


def shown(*options) -> dict[str, dict]:
    return json.loads(done("params", "--json", *options).stdout)


def test_params_shows_the_values_of_the_repository():
    values = {key: row["value"] for key, row in shown().items()}
    assert values == flatten(load(REPOSITORY / "params.yaml").model_dump(mode="json"))


def test_params_shows_the_meaning_and_limits_of_every_key():
    rows = shown()
    assert set(rows) == set(flatten(Params().model_dump()))
    for key, row in rows.items():
        assert re.fullmatch(r"\S.*[.)]", row["meaning"]), key
    allowed = {key: row["allowed"] for key, row in rows.items()}
    assert allowed["train.steps"] == "integer, at least 1"
    assert allowed["camera.window"] == "number, above 0, at most 5.12"
    assert allowed["render.size"] == "integer, at least 16, a multiple of 16"
    assert allowed["data.source"] == "synthetic | cmu | surreal"
    assert allowed["data.surreal.clips"] == "string or null"
    assert allowed["model.mlp"] == "list of integer, at least 1"
    assert allowed["model.hourglass.skip"] == "boolean"


def test_the_table_has_a_row_for_every_key():
    lines = done("params", *settings("profile=paper")).stdout.splitlines()
    keys = [line.split()[0] for line in lines if line and not line[0].isspace()]
    assert keys[1:] == list(flatten(Params().model_dump()))
    assert any(line.split()[:2] == ["train.steps", "44600"] for line in lines)


def test_a_profile_a_file_and_single_values(tmp_path):
    paper = shown(*settings("profile=paper"))
    assert paper["model.hourglass.dim"]["value"] == 256
    assert shown(*settings("profile=laptop"))["model.hourglass.dim"]["value"] == 64
    (tmp_path / "own.yaml").write_text("train: {steps: 7}\n")
    assert shown("--params", tmp_path / "own.yaml")["train.steps"]["value"] == 7
    values = shown(
        *settings(
            "profile=laptop", "train.steps=100", "train.learning_rate=1e-4", "model.mlp=[8, 4]"
        ),
        *settings("data.surreal.clips=null", "model.hourglass.skip=false", "train.steps=9"),
    )
    assert values["train.steps"]["value"] == 9  # the last one counts; the profile hides nothing
    assert values["train.learning_rate"]["value"] == 1e-4
    assert values["model.mlp"]["value"] == [8, 4]
    assert values["model.hourglass.skip"]["value"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (settings("train.step=9"), "train.step: unknown parameter; the nearest are train.steps, "),
        (settings("train=9"), "train: unknown parameter; the nearest are "),
        (settings("train.steps"), "--set train.steps: write KEY=VALUE, such as train.steps=100"),
        (settings("train.steps=[1"), "--set train.steps=[1: the value is not valid YAML"),
        (settings("seed=2001-99-99"), "--set seed=2001-99-99: the value is not valid YAML"),
        (settings("train.steps=many"), "command line: train.steps: is 'many': input should be"),
        (settings("profile=huge"), "profile is 'huge'; profiles holds paper, laptop"),
        (["--params", "/nowhere/params.yaml"], "cannot be read"),
    ],
)
def test_a_wrong_parameter_is_one_line(options, words):
    assert words in refused("params", *options)


def test_help_imports_no_heavy_module():
    code = (
        "import sys\nfrom tpifu.cli.app import main\nsys.argv = ['tpifu', '--help']\n"
        "try: main()\nexcept SystemExit as end: print(end.code, file=sys.stderr)\n"
        "heavy = {'torch', 'mlflow', 'numpy', 'trimesh', 'pydantic', 'pyarrow', 'ruamel.yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stderr.splitlines() == ["0", "[]"]
    assert all(name in process.stdout for name in ("render", "train", "eval", "reconstruct"))


def test_version():
    assert done("--version").stdout == f"tpifu {version('tpifu')}\n"
