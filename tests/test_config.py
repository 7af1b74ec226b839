import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import trimesh

from tpifu import params_file
from tpifu.config import DataRecord, Environment, Params
from tpifu.errors import ConfigError
from tpifu.params_file import environment

REPOSITORY = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def loaded(tmp_path):
    """Load a params file with this text."""

    def load(text: str) -> Params:
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return params_file.load(path)

    return load


def refused(load, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    message = str(caught.value)
    assert "\n" not in message
    assert "params.yaml" in message
    return message


def test_defaults_are_the_table_1_of_the_paper():
    # Paper, Table 1, in its order.
    table = Params()
    assert table.model.z_normalization == 2.0
    assert table.model.norm == "group"
    assert table.model.hourglass.stacks == 4
    assert table.model.hourglass.depth == 2
    assert table.model.hourglass.skip is True
    assert table.model.hourglass.dim == 256
    assert table.model.mlp == (1024, 512, 256, 129)
    assert table.model.last_activation == "tanh"
    assert table.model.neighborhood == 3
    assert table.train.learning_rate == 1e-4
    assert table.train.optimizer == "adam"
    assert table.train.batch_size == 2
    assert table.train.points == 1000
    assert (table.data.train_meshes, table.data.test_meshes) == (892, 100)


def test_a_value_comes_from_the_top_level_then_the_profile_then_paper(loaded):
    text = (
        "profile: small\nmodel: {mlp: null, hourglass: {depth: 3}}\ntrain: {steps: 9}\n"
        "profiles:\n  paper: {train: {steps: 8, batch_size: 4, points: 64}}\n"
        "  small: {train: {steps: 7, batch_size: 3, warmup: null}, model: {mlp: [8]}}\n"
        "  other: {train: {points: 2}}\n"
    )
    params = loaded(text)
    assert (params.train.steps, params.train.batch_size, params.train.points) == (9, 3, 64)
    assert (params.train.warmup, params.train.learning_rate) == (0, 1e-4)  # Table 1
    assert (params.model.mlp, params.model.hourglass.depth) == ((8,), 3)
    assert loaded(text.replace("profile: small", "profile: paper")).train.batch_size == 4


@pytest.mark.parametrize("profile", ["a", "paper"])
def test_a_value_of_the_top_level_counts_under_every_profile(loaded, profile):
    text = f"profile: {profile}\ntrain: {{flip: 0}}\nprofiles: {{a: {{train: {{flip: 0.5}}}}}}\n"
    assert loaded(text).train.flip == 0


def test_a_file_without_profiles_changes_table_1(loaded):
    assert loaded("seed: 3\n") == Params(seed=3)


def test_an_exponent_without_a_point_is_a_number(loaded):
    assert loaded("train: {learning_rate: 1e-4}\n").train.learning_rate == 1e-4  # YAML 1.2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "model: {neighbourhood: 3}\n",
            "model.neighbourhood: unknown parameter; the nearest are model.neighborhood, ",
        ),
        ("modell: {}\n", "modell: unknown parameter; the nearest are "),
        ("model: {neighborhood: 4}\n", "model.neighborhood: is 4: must be odd"),
        ("model: {neighborhood: '3'}\n", "model.neighborhood: is '3': "),
        ("model: {mlp: [64, 0]}\n", "model.mlp.1: is 0: "),
        ("model: {norm: layer}\n", "model.norm: is 'layer': input should be 'group' or 'batch'"),
        ("model: {hourglass: {dim: 100}}\n", "model.hourglass.dim: is 100: "),
        ("train: {learning_rate: 0}\n", "train.learning_rate: is 0: "),
        ("train: 5\n", "train: is 5: "),
        ("train: {points: 40000}\n", "train.points is 40000, but sample.near_surface + "),
        ("camera: {window: 9}\n", "camera.window: is 9: "),
        (
            "render: {size: 16}\n",
            "render.size is 16, but model.hourglass.depth 2 needs a multiple of 16",
        ),
        ("model: {hourglass: {depth: 8}}\n", "needs a multiple of 1024, at least 2048"),
        ("seed: -1\n", "seed: is -1: "),
        (
            "profile: huge\nprofiles: {small: {}}\n",
            "profile is 'huge'; profiles holds paper, ",
        ),
        ("profile: a\nprofiles: {a: {train: 3}}\n", "profiles.a: train: is 3: "),
        ("profile: a\nprofiles: {a: 3}\n", "profiles must be `key: value` lines"),
        ("profiles: {paper: }\n", "profiles must be `key: value` lines"),
        ("profiles: 3\n", "profiles must be `key: value` lines"),
        ("profile: a\nprofiles: {a: {x: 3}}\n", "profiles.a: x: unknown parameter"),
        (
            "profiles: {paper: {train: {step: 3}}}\n",
            "profiles.paper: train.step: unknown parameter",
        ),
        *(
            (f"profiles: {{paper: {text}}}\n", f"profiles.paper.{key}: set {key} at the top level")
            for key, text in (
                ("profile", "{profile: paper}"),
                ("seed", "{seed: 1}"),
            )
        ),
        ("seed:\n", "seed: is empty, but no profile sets it"),
        ("profile:\n", "profile is None; profiles holds paper"),
        # DVC does not see a key with a dot: nothing would be run again.
        ("train.steps: 9\n", "train.steps: write each part of the key on its own line"),
        ("trian:\n", "trian: unknown parameter; the nearest are "),
        ("5: 3\n", "5: "),
        ("profiles: {paper: {5: 3}}\n", "profiles.paper: 5: "),
        (
            "profile: a\nprofiles: {a: {train: {steps: -3}}}\n",
            "profiles.a: train.steps: is -3: ",
        ),
        ("just text\n", "must be `key: value` lines"),
        ("a: [1\n", "not valid YAML"),
        ("[" * 600, "not valid YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(loaded, text, words):
    assert words in refused(loaded, text)


def test_machine_settings_are_environment_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("TPIFU_")]:
        monkeypatch.delenv(name)
    assert environment() == Environment()
    monkeypatch.setenv("TPIFU_JOBS", "3")
    monkeypatch.setenv("TPIFU_COMPILE", "1")
    monkeypatch.setenv("TPIFU_TRACKING", "off")
    found = environment()
    assert (found.jobs, found.compile, found.tracking) == (3, True, False)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("JOBS", "many", "is 'many': input should be a valid integer"),
        ("PARTS", "0", "is '0': input should be greater than or equal to 1"),
        ("PRECISION", "float8", "is 'float8': input should be 'float32', 'bfloat16' or 'fastest'"),
        ("TRACKING", "sistem", "is 'sistem': input should be a valid boolean"),
    ],
)
def test_a_wrong_machine_setting_is_one_line(monkeypatch, name, value, words):
    monkeypatch.setenv(f"TPIFU_{name}", value)
    with pytest.raises(ConfigError, match=f"^environment: TPIFU_{name}: {words}.*$"):
        environment()


def test_the_wheel_holds_the_params_file(tmp_path):
    root, source = REPOSITORY.parent, tmp_path / "source"
    shutil.copytree(root / "tpifu", source / "tpifu", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "LICENSES", source / "LICENSES")
    for name in ("LICENSE", "NOTICE", "README.md", "params.yaml", "pyproject.toml", "setup.py"):
        shutil.copy(root / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 6e6
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("tpifu/params.yaml") == REPOSITORY.read_bytes()
        archive.extractall(tmp_path / "installed")
    # The command runs outside the checkout. The wheel also contains the embedded body, the page and
    # the released models.
    trimesh.creation.icosphere(subdivisions=2, radius=0.5).export(tmp_path / "ball.ply")
    command = [sys.executable, "-c", "from tpifu.cli.app import main; main()"]
    for arguments in (
        ["params"],
        ["render", "ball.ply", "-o", "out", "--set", "render.size=128", "--png"],
        ["reconstruct", "released/temporal", "out/png/v0", "-o", "body.obj"],
    ):
        installed = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
            capture_output=True,
            text=True,
        )
        assert installed.returncode == 0, installed.stderr
    assert list((tmp_path / "out" / "views").glob("*.parquet"))
    data = ("body/assets/body_male.npz", "report/web/page.html", "sources/synthetic/nine.yaml")
    for name in (*data, "py.typed"):
        assert (tmp_path / "installed" / "tpifu" / name).exists(), name


def test_a_record_warns_about_each_known_difference_and_no_other():
    trained = DataRecord(source="cmu", motions="nine", frame_step=5, origin="pelvis", occlusion=16)
    assert trained.warning(trained) is None
    assert trained.warning(DataRecord(occlusion=64)) is None  # the rest is unknown
    for name, value in [
        ("light", "fixed"),
        ("source", "files"),
        ("motions", "broad"),
        ("frame_step", 1),
        ("origin", "mass"),
    ]:
        other = trained.model_copy(update={name: value})
        expected = f"{name} {value} (trained on {getattr(trained, name)}): the model may"
        assert trained.warning(other).startswith(expected)
    assert trained.warning(DataRecord()).startswith("occlusion no (trained on yes): the model may")
    assert DataRecord().warning(DataRecord(light="fixed", occlusion=1)).count("trained on") == 2
