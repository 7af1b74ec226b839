import io
import json
import logging
import os
import re
import shutil
import subprocess
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from helpers.acclaim import amc_text, asf_text, walking
from helpers.checks import contents, one_line
from helpers.data import SIZES, SMALL, sizes
from helpers.http_server import PAGE, PASSWORD, USER, reply, serving
from helpers.smpl_files import npz

import tpifu.body.body
from tpifu.body.body import embedded_body, load_body
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import read_clip, read_source
from tpifu.clips.splits import choose_clips, subject_of, validation_queue
from tpifu.config import Data, Surreal
from tpifu.errors import DataError, LicenceError
from tpifu.prepare.meshes import SKIPPED_NAME, export_meshes
from tpifu.shards.meshes import MeshReader
from tpifu.sources.cmu.takes import ACKNOWLEDGEMENT, urls
from tpifu.sources.surreal.download import LISTS_URL, SMPL_ZIP, SURREAL_URL
from tpifu.sources.surreal.lists import ListedClip, read_list, wanted_clips
from tpifu.sources.tree import write_tree

ASSETS = Path(tpifu.body.body.__file__).parent / "assets"
SMPL_PATH = f"/download.php?domain=smpl&sfile={SMPL_ZIP}"
LOGINS = {
    "SURREAL_USERNAME": USER,
    "SURREAL_PASSWORD": PASSWORD,
    "SMPL_USERNAME": USER,
    "SMPL_PASSWORD": PASSWORD,
}
SURREAL = SMALL.model_copy(update={"source": "surreal"})

pytestmark = pytest.mark.usefixtures("short_delays")


@pytest.fixture(scope="module")
def smpl_zip() -> bytes:
    """An archive like SMPL's that contains the embedded bodies."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for gender in GENDERS:
            with np.load(ASSETS / f"body_{gender}.npz") as stored:
                arrays = dict(stored)
            arrays["posedirs"] = np.zeros((len(arrays["v_template"]), 3, 207), np.float32)
            name = f"SMPL_python_v.1.1.0/smpl/SMPL_{gender}.npz"
            archive.writestr(name, npz(arrays, np.savez_compressed))
    return buffer.getvalue()


class Site:
    """SURREAL's server, which asks for a login, and a public one for SMPL and the lists."""

    def __init__(self, gated, public) -> None:
        self.gated, self.public = gated, public
        self.environment = {
            **LOGINS,
            "SURREAL_URL": gated.url(""),
            "SURREAL_LISTS_URL": public.url("/lists"),
            "SMPL_URL": public.url(""),
        }

    def requests(self) -> list[str]:
        return [seen.path for server in (self.gated, self.public) for seen in server.seen]


@pytest.fixture
def site(synthetic_tree, smpl_zip):
    with serving() as gated, serving() as public:
        gated.schemes = ("Digest",)
        paths = sorted(name for name in contents(synthetic_tree) if name.endswith("_info.mat"))
        for path in paths:
            gated.files[f"/SURREAL/data/{path}"] = (synthetic_tree / path).read_bytes()
        for split in ("train", "test"):
            lines = [f"{SURREAL_URL}/SURREAL/data/{path}" for path in paths if f"/{split}/" in path]
            name = f"/lists/files_cmu_{split}_info.mat.txt"
            public.files[name] = "\n".join(lines).encode() + b"\n"
        public.files[SMPL_PATH] = smpl_zip
        yield Site(gated, public)


def write(out: Path, data: Data, environment, seed=0) -> list[str]:
    cache = out.parent / "cache"
    return write_tree(out, data, seed, cache=cache, environment=environment, jobs=1)


def failure(kind, out: Path, data: Data, environment) -> str:
    """The expected one-line error. Asserts that `out` does not exist."""
    with one_line(kind) as caught:
        write(out, data, environment)
    assert not out.exists()
    line = str(caught.value)
    assert PASSWORD not in line
    return line


def test_two_logins_suffice_for_the_tree(site, synthetic_tree, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "surreal"
    assert write(out, SURREAL, site.environment) == []
    found = [path.relative_to(out) for path in out.rglob("*_info.mat")]
    for path in found:
        assert (out / path).read_bytes() == (synthetic_tree / path).read_bytes()
    # No more clips than the splits need.
    assert len(found) < 0.5 * len(list(synthetic_tree.rglob("*_info.mat")))
    choice = export_meshes(out, tmp_path / "meshes", SURREAL, 0, jobs=1)
    assert sizes(choice) == SIZES
    # No training clip belongs to a validation subject.
    validated = {subject_of(p.parent.name) for s, p, _ in choice.clips if s == "validation"}
    spare = {out / path for path in found} - {path for _, path, _ in choice.clips}
    assert not {subject_of(path.parent.name) for path in spare} & validated
    # The bodies come from the archive.
    for gender in GENDERS:
        body = load_body(out / "smpl" / f"{gender}.npz")
        np.testing.assert_array_equal(body.faces, embedded_body(gender).faces)
    (form,) = [seen.body for seen in site.public.seen if seen.body]
    assert b"username=" in form
    source = read_source(out)
    assert source["source"] == "surreal"
    assert source["clips"] == len(found)
    assert source["bodies"]["male"]["version"] == "unknown"
    assert MeshReader(tmp_path / "meshes").shards.metadata["provenance"] == source
    # No file or log holds a login.
    for secret in (USER, PASSWORD):
        assert secret not in caplog.text
        assert not any(secret.encode() in content for content in contents(tmp_path).values())


def test_a_second_run_sends_no_request(site, tmp_path):
    write(tmp_path / "one", SURREAL, site.environment)
    site.gated.seen.clear()
    site.public.seen.clear()
    # Without a login too, since every file is cached.
    without = {name: v for name, v in site.environment.items() if name not in LOGINS}
    write(tmp_path / "two", SURREAL, without)
    assert site.requests() == []
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_run_downloads_only_what_is_missing(site, tmp_path):
    first = sorted(site.gated.files)
    for path in first[::2]:
        site.gated.plans[path] = [reply(503)] * 3
    assert "run again" in failure(DataError, tmp_path / "out", SURREAL, site.environment)
    before = set((tmp_path / "cache").rglob("*_info.mat"))
    site.gated.plans.clear()
    site.gated.seen.clear()
    write(tmp_path / "out", SURREAL, site.environment)
    asked = {Path(path).name for path in site.requests()}
    assert not asked & {path.name for path in before}


def test_missing_and_wrong_logins_say_what_to_set(site, tmp_path):
    for missing in LOGINS:
        environment = {k: v for k, v in site.environment.items() if k != missing}
        line = failure(LicenceError, tmp_path / "out", SURREAL, environment)
        assert line.startswith(f"{missing} not set: set ")
        assert "https://" in line
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # cached files need no login
    wrong = {**site.environment, "SURREAL_PASSWORD": "guess"}
    line = failure(LicenceError, tmp_path / "out", SURREAL, wrong)
    assert "401" in line
    assert "SURREAL_USERNAME" in line
    # SMPL's server sends a web page after a wrong login.
    shutil.rmtree(tmp_path / "cache")
    site.public.files[SMPL_PATH] = PAGE
    assert "SMPL_USERNAME" in failure(LicenceError, tmp_path / "out", SURREAL, site.environment)
    site.public.files[SMPL_PATH] = b"PK, but not a zip"
    assert "SMPL_MODELS" in failure(DataError, tmp_path / "out", SURREAL, site.environment)


def test_a_folder_of_models_replaces_smpls_login(site, smpl_zip, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / SMPL_ZIP).write_bytes(smpl_zip)
    environment = {k: v for k, v in site.environment.items() if not k.startswith("SMPL_")}
    write(tmp_path / "out", SURREAL, {**environment, "SMPL_MODELS": str(tmp_path / "mine")})
    assert (tmp_path / "out" / "smpl" / "female.npz").exists()
    assert SMPL_PATH not in site.requests()
    environment["SMPL_MODELS"] = str(tmp_path / "elsewhere")
    assert "elsewhere" in failure(DataError, tmp_path / "other", SURREAL, environment)


def test_missing_damaged_and_monster_clips_are_replaced(site, tmp_path):
    out = tmp_path / "out"
    write(out, SURREAL, site.environment)
    lost, broken, monster = sorted(path.relative_to(out) for path in out.rglob("*_info.mat"))[:3]
    fields = {k: v for k, v in scipy.io.loadmat(out / monster).items() if not k.startswith("__")}
    fields["shape"] = fields["shape"] * 0 + 6.0
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, fields)
    site.gated.files[f"/SURREAL/data/{monster}"] = buffer.getvalue()
    site.gated.files[f"/SURREAL/data/{broken}"] = b"not a MAT file"
    del site.gated.files[f"/SURREAL/data/{lost}"]
    shutil.rmtree(tmp_path / "cache")
    problems = write(tmp_path / "again", SURREAL, site.environment)
    assert len(problems) == 2
    assert any(lost.name in problem and "404" in problem for problem in problems)
    assert any(broken.name in problem and "readable" in problem for problem in problems)
    generous = SURREAL.model_copy(update={"max_skipped": 0.5})
    choice = export_meshes(tmp_path / "again", tmp_path / "meshes", generous, 0, jobs=1)
    assert sizes(choice)["train"] == 40
    table = (tmp_path / "meshes" / SKIPPED_NAME).read_text().splitlines()
    assert table == [
        "clip,reason,detail",
        f"{monster.as_posix()},monster shape,a shape coefficient beyond 5",
    ]
    metadata = MeshReader(tmp_path / "meshes").shards.metadata
    assert metadata["skipped_clips"] == {"monster shape": 1}


def test_training_is_complete_if_a_validation_subject_is_missing(site, synthetic_tree, tmp_path):
    walks = sorted((synthetic_tree / "cmu" / "train" / "run0").glob("*_walk"))
    names = [walk.name for walk in walks]
    ((first,), *_) = validation_queue(walks, names, 0)
    for path in list(site.gated.files):
        if f"/run0/{subject_of(first.name)}_" in path:
            del site.gated.files[path]
    assert write(tmp_path / "out", SURREAL, site.environment)
    choice = choose_clips(tmp_path / "out", SURREAL, 0)
    assert sizes(choice) == SIZES


def test_a_list_has_a_path_or_url_in_each_line(tmp_path):
    clips = [ListedClip("test", "run1", "ung_104_46", 12), ListedClip("train", "run0", "01_01", 1)]
    lines = ["# mine", "", "https://x/cmu/val/run0/01_01/01_01_c0001_info.mat"]
    lines += [clips[1].path.as_posix(), f"{LISTS_URL}/x/{clips[0].path.as_posix()}"]
    (tmp_path / "lines.txt").write_text("\r\n".join(lines))
    assert read_list(tmp_path / "lines.txt") == clips


def test_clips_without_overlap_share_no_frame():
    for run, stride in (("run0", 50), ("run1", 30), ("run2", 70)):
        listed = [ListedClip("train", run, "01_01", number) for number in range(1, 20)]
        chosen = wanted_clips(listed, Surreal(runs=(run,)))
        starts = [(clip.number - 1) * stride for clip in chosen]
        assert min(b - a for a, b in pairwise(starts)) >= 100
        assert wanted_clips(listed, Surreal(runs=(run,), overlapping=True)) == listed != chosen


def test_monster_shapes_are_excluded_by_default():
    names = ["18_01", "19_15", "143_21", "118_01", "143_2", "01_01"]
    listed = [ListedClip("train", "run0", name, 1) for name in names]
    assert [c.sequence for c in wanted_clips(listed, Surreal())] == ["118_01", "143_2", "01_01"]
    assert wanted_clips(listed, Surreal(exclude=())) == listed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://example.org/cat.jpg\n", "line 1: 'https://example.org/cat.jpg' is not a path"),
        ("cmu/train/run0/01_01/02_02_c0001_info.mat\n", "line 1"),
        ("# nothing\n", "lists no clips"),
    ],
)
def test_an_invalid_list_is_rejected_with_its_line(tmp_path, text, message):
    (tmp_path / "list").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        read_list(tmp_path / "list")


def test_a_users_list_replaces_the_authors(site, tmp_path):
    lists = [content.decode() for path, content in site.public.files.items() if "/lists/" in path]
    (tmp_path / "mine.txt").write_text("".join(lists))
    own = SURREAL.model_copy(update={"surreal": Surreal(clips=f"{tmp_path}/mine.txt")})
    write(tmp_path / "out", own, site.environment)
    assert not [path for path in site.requests() if "/lists/" in path]


@pytest.fixture(scope="module")
def takes() -> dict[str, bytes]:
    angles = walking(400)
    motion, skeleton = amc_text(angles).encode(), asf_text().encode()
    return {f"/subjects/{file}": skeleton if file.endswith(".asf") else motion for file in urls()}


def test_cmu_needs_no_login_and_is_cited(takes, tmp_path):
    data = Data(source="cmu", train_meshes=60, test_meshes=20, unseen_meshes=10)
    with serving() as server:
        server.files = takes
        environment = {"CMU_URL": server.url("")}
        assert write(tmp_path / "out", data, environment) == []
        assert server.most_active <= 2
        assert not [seen for seen in server.seen if "Authorization" in seen.headers]
        server.seen.clear()
        write(tmp_path / "again", data, environment)
        assert server.seen == []
    choice = export_meshes(tmp_path / "out", tmp_path / "meshes", data, 0, jobs=1)
    unseen = {path.parent.name for split, path, _ in choice.clips if split == "unseen_motion"}
    assert unseen <= {"10_01", "144_05", "144_11"}
    metadata = MeshReader(tmp_path / "meshes").shards.metadata
    assert metadata["provenance"]["citation"] == ACKNOWLEDGEMENT
    clip = read_clip(next((tmp_path / "out").rglob("07_01_c0001_info.mat")))
    assert len(clip.pose) == 100


def test_absent_and_invalid_takes_are_skipped(takes, tmp_path):
    data = Data(source="cmu", train_meshes=60, test_meshes=20, unseen_meshes=0)
    with serving() as server:
        server.files = {k: v for k, v in takes.items() if not k.endswith("07_01.amc")}
        server.files["/subjects/08/08_01.amc"] = b"gone elsewhere"
        problems = write(tmp_path / "out", data, {"CMU_URL": server.url("")})
        assert len(problems) == 2
        assert not list((tmp_path / "out").rglob("07_01_*"))
        assert list((tmp_path / "out").rglob("07_12_*"))


@pytest.mark.parametrize(
    "path",
    [
        "data/surreal/cmu/train/run0/01_01/01_01_c0001_info.mat",
        "01_01_c0001_info.mat",
        "docs/basicModel_f_lbs_10_207_0_v1.0.0.pkl",
        "SMPL_MALE.npz",
        "SMPL_python_v.1.1.0.zip",
        "files_cmu_train_info.mat.txt",
        "motion/mocap/07/07_01.amc",
        ".cache/downloads/smpl/SMPL_python_v.1.1.0.zip",
        "models/baseline/model.pt",
        "reports/comparison/figure5.png",
        "mlflow.db",
    ],
)
def test_git_ignores_licensed_files_and_their_derivatives(path):
    root = Path(__file__).parents[2]
    found = subprocess.run(["git", "check-ignore", "-q", path], cwd=root, env=os.environ)
    assert found.returncode == 0


def test_a_tree_names_its_source_and_terms(synthetic_tree):
    source = json.loads((synthetic_tree / "source.json").read_text())
    assert (source["source"], source["clips"]) == ("synthetic", 45)
    assert "NOTICE" in source["licence"]
