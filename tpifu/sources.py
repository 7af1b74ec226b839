"""Where motion comes from: each source writes the same SURREAL-shaped tree.

    synthetic   procedural motion on the embedded body; no account, no network
    cmu         a short list of CMU motion capture takes on the embedded body; no account
    surreal     SURREAL's clips on SMPL's bodies, both behind licences

Downloads are kept in a cache folder of their own: a second run asks only for what is missing.
`source.json` in the tree says what it was made from and under which terms.
"""

import csv
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tpifu import cmu, smpl, surreal, synthetic
from tpifu.config import Data, Surreal
from tpifu.errors import ConfigError, DataError, LicenceError
from tpifu.fetch import Credentials, Remote, fetch
from tpifu.shards import whole_folder

SURREAL_URL = "https://lsh.paris.inria.fr"
LISTS_URL = "https://raw.githubusercontent.com/gulvarol/surreal/master/download/files"
SMPL_URL = "https://download.is.tue.mpg.de"
CMU_URL = "http://mocap.cs.cmu.edu"
SMPL_ZIP = "SMPL_python_v.1.1.0.zip"

SURREAL_ACCESS = (
    "set SURREAL_USERNAME and SURREAL_PASSWORD to the login that comes by e-mail after the licence "
    "form at https://www.di.ens.fr/willow/research/surreal/data/ (docs/data.md)"
)
SMPL_ACCESS = (
    "set SMPL_USERNAME and SMPL_PASSWORD to a login of https://smpl.is.tue.mpg.de, or SMPL_MODELS "
    "to the folder or zip that holds the models (docs/data.md)"
)
CMU_ACCESS = "it should need no login; try again later, or use data.source synthetic"

# Clips of 100 frames start every so many frames (SURREAL's data generation; its README has the two
# last the wrong way round).
_STRIDES = {"run0": 50, "run1": 30, "run2": 70}
_CLIP_FRAMES = 100
_CLIP = re.compile(
    r"cmu/(?P<split>train|test)/(?P<run>run[012])/(?P<sequence>[\w-]+)/"
    r"(?P=sequence)_c(?P<number>[0-9]{4})_info\.mat"
)
_TERMS = {
    "synthetic": {
        "licence": "MIT (motion), Apache-2.0 and CC0 (body); see NOTICE",
        "citation": "",
    },
    "cmu": {
        "licence": "CMU: free for all uses, not to be resold as data; body: see NOTICE",
        "citation": cmu.ACKNOWLEDGEMENT,
    },
    "surreal": {
        "licence": "SURREAL and SMPL: non-commercial research, no redistribution in any form",
        "citation": (
            "Varol et al., Learning from Synthetic Humans, CVPR 2017; "
            "Loper et al., SMPL: A Skinned Multi-Person Linear Model, SIGGRAPH Asia 2015"
        ),
    },
}


def write_tree(
    out: Path, data: Data, seed: int, *, cache: Path, environment: Mapping[str, str], jobs: int
) -> list[str]:
    """Write the tree of `data.source` to `out`, whole or not at all; returns a line for each file
    that could not be had.

    `cache` keeps downloads. `environment` holds logins (SURREAL_USERNAME, SURREAL_PASSWORD,
    SMPL_USERNAME, SMPL_PASSWORD), SMPL_MODELS, and maybe mirrors: SURREAL_URL, SURREAL_LISTS_URL,
    SMPL_URL, CMU_URL. Raises LicenceError, DataError or ConfigError.
    """
    with whole_folder(out) as tree:
        faults: list[str] = []
        made: dict[str, Any] = {}
        if data.source == "synthetic":
            synthetic.write_tree(tree, data.synthetic, seed, jobs=jobs)
        elif data.source == "cmu":
            faults = _fetch_cmu(cache / "cmu", environment)
            faults += cmu.write_tree(tree, cache / "cmu", seed=seed, jobs=jobs)
        else:
            made["bodies"] = _write_smpl(tree / "smpl", cache / "smpl", environment)
            faults = _write_surreal(tree, data, seed, cache / "surreal", environment)
        made["clips"] = len(list(tree.glob("cmu/*/run*/*/*_info.mat")))
        source = {"source": data.source, **_TERMS[data.source], **made}
        (tree / surreal.SOURCE_NAME).write_text(json.dumps(source, indent=2, sort_keys=True) + "\n")
    return faults


def _fetch_cmu(cache: Path, environment: Mapping[str, str]) -> list[str]:
    files = cmu.urls(environment.get("CMU_URL", CMU_URL))
    reasons = fetch(
        [Remote(url=url, path=cache / name) for name, url in files.items()],
        credentials=None,
        check=_check_text,
        access=CMU_ACCESS,
        connections=2,  # they ask not to crawl
        label="CMU takes",
    )
    return list(reasons.values())


def _check_text(path: Path) -> None:
    head = path.read_bytes()[:200].lstrip()
    if not head.startswith((b"#", b":")):
        raise DataError(f"{path}: neither an ASF nor an AMC file")


# SMPL


def _write_smpl(folder: Path, cache: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """SMPL's two bodies as .npz; from the person's own folder if they name one."""
    if own := environment.get("SMPL_MODELS"):
        return smpl.export_bodies(Path(own), folder)
    archive = cache / SMPL_ZIP
    if not archive.exists():
        login = _login(environment, "SMPL", SMPL_ACCESS)
        base = environment.get("SMPL_URL", SMPL_URL)
        form = {"username": login.username, "password": login.password}
        reasons = fetch(
            [
                Remote(
                    url=f"{base}/download.php?domain=smpl&sfile={SMPL_ZIP}", path=archive, form=form
                )
            ],
            credentials=None,
            check=_check_smpl,
            access=SMPL_ACCESS,
            label="SMPL models",
        )
        if reasons:
            raise DataError(f"{reasons[archive]}; set SMPL_MODELS to a copy of your own")
    return smpl.export_bodies(archive, folder)


def _check_smpl(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise DataError(f"{path}: not a zip")


def _login(environment: Mapping[str, str], who: str, access: str) -> Credentials:
    names = [f"{who}_USERNAME", f"{who}_PASSWORD"]
    if missing := [name for name in names if not environment.get(name)]:
        raise LicenceError(f"{' and '.join(missing)} not set: {access}")
    return Credentials(*(environment[name] for name in names))


# SURREAL


@dataclass(frozen=True, order=True)
class ListedClip:
    """A clip that SURREAL has."""

    split: str
    run: str
    sequence: str
    number: int

    @property
    def path(self) -> Path:
        """In the tree, and on the server below SURREAL/data."""
        return surreal.clip_path(Path(), self.split, self.run, self.sequence, self.number)


def read_list(path: Path) -> list[ListedClip]:
    """Clips of a list: SURREAL's own (a path or URL of an *_info.mat a line), or a CSV file with
    columns split, sequence, frames, where frames is the length of the motion at SURREAL's rate.

    Raises DataError, naming the line, for anything else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable list of clips ({error})") from error
    if lines and {"split", "sequence", "frames"} <= set(lines[0].replace(" ", "").split(",")):
        return sorted(_computed(path, lines))
    clips = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#") or "cmu/val/" in line or "h36m" in line:
            continue  # the validation clips are test clips too; Human3.6M's were never released
        match = _CLIP.search(line)
        if match is None:
            raise DataError(
                f"{path}: line {number}: {line.strip()[:80]!r} names no cmu/SPLIT/RUN/SEQUENCE/"
                "SEQUENCE_c0001_info.mat"
            )
        clips.add(ListedClip(match["split"], match["run"], match["sequence"], int(match["number"])))
    return sorted(clips)


def _computed(path: Path, lines: list[str]) -> list[ListedClip]:
    clips = []
    for number, row in enumerate(csv.DictReader(lines, skipinitialspace=True), 2):
        try:
            split, sequence, frames = row["split"], row["sequence"], int(row["frames"])
            if split not in ("train", "test") or not re.fullmatch(r"[\w-]+", sequence):
                raise ValueError("a split is train or test, a sequence like 01_01")
            clips += [
                ListedClip(split, run, sequence, clip)
                for run in _STRIDES
                for clip in range(1, clip_count(frames, run) + 1)
            ]
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    return clips


def clip_count(frames: int, run: str) -> int:
    """Clips that SURREAL has of a sequence of `frames` frames; the last one may be shorter."""
    stride = _STRIDES[run]
    return max(1, -(-(frames - (_CLIP_FRAMES - stride)) // stride))


def wanted_clips(listed: Sequence[ListedClip], config: Surreal) -> list[ListedClip]:
    """Those of the chosen runs, without excluded subjects, and without frames that two clips share
    unless `overlapping`."""
    chosen = []
    for clip in listed:
        apart = -(-_CLIP_FRAMES // _STRIDES[clip.run])
        if (
            clip.run in config.runs
            and not surreal.matches(clip.sequence, config.exclude)
            and (config.overlapping or (clip.number - 1) % apart == 0)
        ):
            chosen.append(clip)
    return chosen


def _write_surreal(
    tree: Path, data: Data, seed: int, cache: Path, environment: Mapping[str, str]
) -> list[str]:
    """Enough clips for every split, in a seeded order, and no more."""
    listed = _listed(data.surreal, cache / "lists", environment)
    clips: dict[str, list[ListedClip]] = {"train": [], "test": [], "unseen_motion": []}
    for clip in wanted_clips(listed, data.surreal):
        if not surreal.matches(clip.sequence, data.unseen):
            clips[clip.split].append(clip)
        elif clip.split == "test":
            clips["unseen_motion"].append(clip)
    queue = surreal.validation_queue(clips["train"], [c.sequence for c in clips["train"]], seed)
    together, later = queue[: surreal.VALIDATION_SUBJECTS], queue[surreal.VALIDATION_SUBJECTS :]
    order = surreal.by_turns(together) + [clip for own in later for clip in own]
    task = partial(_fetch_split, tree=tree, data=data, cache=cache, environment=environment)
    asked, faults = task("validation", order)
    held_out = {surreal.subject_of(clip.sequence) for clip in asked}
    clips["train"] = [c for c in clips["train"] if surreal.subject_of(c.sequence) not in held_out]
    for split, own in clips.items():
        faults += task(split, surreal.shuffled(own, split, seed))[1]
    return faults


def _fetch_split(
    split: str,
    order: Sequence[ListedClip],
    *,
    tree: Path,
    data: Data,
    cache: Path,
    environment: Mapping[str, str],
) -> tuple[Sequence[ListedClip], list[str]]:
    """Clips into the tree, in their order, until the split has its meshes; returns those asked for
    and a line for each that could not be had."""
    wanted = surreal.wanted_meshes(data)[split]
    faults: list[str] = []
    remaining, asked = wanted, 0
    while remaining > 0 and asked < len(order):
        # As many as it takes if all are whole; then for what short and broken ones left open.
        count = -(-remaining * data.frame_step // _CLIP_FRAMES)
        batch = order[asked : asked + count]
        asked += len(batch)
        reasons = _fetch_clips(batch, cache, environment)
        faults += reasons.values()
        for clip in batch:
            if cache / clip.path in reasons:
                continue
            (tree / clip.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache / clip.path, tree / clip.path)
            try:
                frames = len(surreal.read_clip(tree / clip.path).pose)
            except DataError:
                continue  # the export counts it as skipped, with its reason
            remaining -= -(-frames // data.frame_step)
    if remaining > 0 and split != "unseen_motion":
        raise DataError(
            f"SURREAL's list has {wanted - remaining} of {wanted} {split} meshes: "
            f"lower data.{split}_meshes, add to data.surreal.runs, or set data.surreal.overlapping"
        )
    return order[:asked], faults


def _fetch_clips(
    clips: Sequence[ListedClip], cache: Path, environment: Mapping[str, str]
) -> dict[Path, str]:
    base = environment.get("SURREAL_URL", SURREAL_URL)
    remotes = [
        Remote(url=f"{base}/SURREAL/data/{clip.path.as_posix()}", path=cache / clip.path)
        for clip in clips
    ]
    if all(remote.path.exists() for remote in remotes):
        return {}
    return fetch(
        remotes,
        credentials=_login(environment, "SURREAL", SURREAL_ACCESS),
        check=surreal.check_readable,
        access=SURREAL_ACCESS,
        label="SURREAL clips",
    )


def _listed(config: Surreal, cache: Path, environment: Mapping[str, str]) -> list[ListedClip]:
    """The person's own list, or the two that the authors publish beside their code."""
    if config.clips:
        listed = read_list(Path(config.clips))
        if not listed:
            raise ConfigError(f"data.surreal.clips: {config.clips} names no clips")
        return listed
    base = environment.get("SURREAL_LISTS_URL", LISTS_URL)
    paths = [cache / f"files_cmu_{split}_info.mat.txt" for split in ("train", "test")]
    reasons = fetch(
        [Remote(url=f"{base}/{path.name}", path=path) for path in paths],
        credentials=None,
        check=_check_list,
        access="name a list of your own with data.surreal.clips",
        label="SURREAL lists",
    )
    for reason in reasons.values():
        raise DataError(f"{reason}; name a list of your own with data.surreal.clips")
    return [clip for path in paths for clip in read_list(path)]


def _check_list(path: Path) -> None:
    if not read_list(path):
        raise DataError(f"{path}: names no clips")
