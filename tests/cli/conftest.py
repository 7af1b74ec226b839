import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.clip import EVALUATE, FRAMES, RECONSTRUCT, RENDER, TINY, body
from helpers.command import done, settings


@pytest.fixture(scope="session", autouse=True)
def _one_process():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TPIFU_JOBS", "1")
        yield


@pytest.fixture(scope="session")
def bodies(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bodies")
    paths = [folder / f"pose{n}.{'obj' if n % 2 else 'ply'}" for n in range(FRAMES)]
    for n, path in enumerate(paths):
        body(0.1 * n).export(path)
    return paths


@pytest.fixture(scope="session")
def trip(bodies, tmp_path_factory):
    """render, train, eval and reconstruct, each on the output of the previous command."""
    root = tmp_path_factory.mktemp("trip")
    shards, model, report = root / "fall", root / "models" / "tiny", root / "report"
    (root / "tiny.yaml").write_text(TINY)
    done("render", *bodies, "-o", shards, "--split", "train", "--png", *RENDER)
    trained = done("train", shards, "-o", model, "--params", root / "tiny.yaml", "--device", "cpu")
    options = [*EVALUATE, *settings("seed=3", f"evaluate.frames={FRAMES}")]
    evaluated = done("eval", model, shards, "-o", report, "--json", *options)
    images = sorted((shards / "png" / "v0").iterdir())
    done("reconstruct", model, *images, "-o", root / "all", *RECONSTRUCT)
    done("reconstruct", model / "model.pt", *images, "-o", root / "one.obj", *RECONSTRUCT)
    return SimpleNamespace(
        root=root,
        shards=shards,
        model=model,
        report=report,
        images=images,
        trained=trained.stdout,
        metrics=json.loads(evaluated.stdout),
    )


@pytest.fixture
def untouched(tmp_path):
    """A path that the failing command must not create, nor anything next to it."""
    yield tmp_path / "out"
    assert list(tmp_path.iterdir()) == []
