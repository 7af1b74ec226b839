"""Download SURREAL's clips and SMPL's models, both behind a licence, or copy a user's own."""

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tpifu.body.licensed import export_bodies
from tpifu.body.skeleton import GENDERS
from tpifu.clips.clip import read_clip
from tpifu.clips.matfile import read_fields
from tpifu.clips.splits import (
    VALIDATION_SUBJECTS,
    interleave,
    matches,
    mesh_counts,
    shuffled,
    subject_of,
    validation_queue,
)
from tpifu.config import Data, Surreal
from tpifu.errors import DataError, LicenceError
from tpifu.sources.download.fetch import Remote, fetch
from tpifu.sources.download.session import Credentials
from tpifu.sources.surreal.lists import (
    CLIP_FRAMES,
    ListedClip,
    list_folder,
    read_list,
    wanted_clips,
)

SURREAL_URL = "https://lsh.paris.inria.fr"
LISTS_URL = "https://raw.githubusercontent.com/gulvarol/surreal/master/download/files"
SMPL_URL = "https://download.is.tue.mpg.de"

SMPL_ZIP = "SMPL_python_v.1.1.0.zip"

SURREAL_ACCESS = (
    "set SURREAL_USERNAME and SURREAL_PASSWORD to the login that comes by e-mail after the licence "
    "form at https://www.di.ens.fr/willow/research/surreal/data/ (docs/data.md)"
)
SMPL_ACCESS = (
    "set SMPL_USERNAME and SMPL_PASSWORD to a login of https://smpl.is.tue.mpg.de, or SMPL_MODELS "
    "to the folder or zip that holds the models (docs/data.md)"
)


def write_smpl(folder: Path, cache: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Write SMPL's two bodies as .npz, from SMPL_MODELS if set, else from the download.

    Returns each body's file and version.
    """
    if own := environment.get("SMPL_MODELS"):
        return export_bodies(Path(own), folder)
    archive = cache / SMPL_ZIP
    if not archive.exists():
        login = _login(environment, "SMPL", SMPL_ACCESS)
        base = environment.get("SMPL_URL", SMPL_URL)
        remote = Remote(
            url=f"{base}/download.php?domain=smpl&sfile={SMPL_ZIP}",
            path=archive,
            form={"username": login.username, "password": login.password},
            resume=True,
        )
        reasons = fetch(
            [remote], credentials=None, check=_check_zip, access=SMPL_ACCESS, label="SMPL models"
        )
        if reasons:
            raise DataError(f"{reasons[archive]}; set SMPL_MODELS to your own copy")
    return export_bodies(archive, folder)


def copy_bodies(source: Path, folder: Path) -> None:
    """Copy the two body files of `source` to the new folder `folder`."""
    folder.mkdir(parents=True)
    for gender in GENDERS:
        body = source / f"{gender}.npz"
        if not body.is_file():
            raise DataError(f"{body}: no such body file")
        shutil.copyfile(body, folder / body.name)


def _check_zip(path: Path) -> None:
    """Raises DataError unless `path` is a zip whose members match their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises many types for a damaged archive
        raise DataError(f"{path}: not a readable zip ({error})") from error
    if damaged is not None:
        raise DataError(f"{path}: the member {damaged!r} is damaged")


def _login(environment: Mapping[str, str], prefix: str, access: str) -> Credentials:
    names = [f"{prefix}_USERNAME", f"{prefix}_PASSWORD"]
    if missing := [name for name in names if not environment.get(name)]:
        raise LicenceError(f"{' and '.join(missing)} not set: {access}")
    return Credentials(*(environment[name] for name in names))


def write_surreal(
    tree: Path, data: Data, seed: int, cache: Path, environment: Mapping[str, str]
) -> list[str]:
    """Copy the clips that the splits need, in a seeded order, to `tree`: from
    `data.surreal.folder`, or from `cache` after their download.

    Returns a line for each clip that is not available.
    """
    if data.surreal.folder:
        cache = Path(data.surreal.folder)
    listed = _list_clips(data.surreal, cache / "lists", environment)
    wanted = wanted_clips(listed, data.surreal)
    if not wanted:
        raise DataError(
            f"data.surreal.runs ({', '.join(data.surreal.runs)}), overlapping and exclude leave "
            f"none of {len(listed)} clips"
        )
    clips: dict[str, list[ListedClip]] = {"train": [], "test": [], "unseen_motion": []}
    for clip in wanted:
        if not matches(clip.sequence, data.unseen):
            clips[clip.split].append(clip)
        elif clip.split == "test":
            clips["unseen_motion"].append(clip)
    queue = validation_queue(clips["train"], [c.sequence for c in clips["train"]], seed)
    first, later = queue[:VALIDATION_SUBJECTS], queue[VALIDATION_SUBJECTS:]
    order = interleave(first) + [clip for subject in later for clip in subject]
    fetch_split = partial(_fetch_split, tree=tree, data=data, cache=cache, environment=environment)
    requested, problems = fetch_split("validation", order)
    held_out = {subject_of(clip.sequence) for clip in requested}
    clips["train"] = [c for c in clips["train"] if subject_of(c.sequence) not in held_out]
    for split, candidates in clips.items():
        problems += fetch_split(split, shuffled(candidates, split, seed))[1]
    return problems


def _fetch_split(
    split: str,
    order: Sequence[ListedClip],
    *,
    tree: Path,
    data: Data,
    cache: Path,
    environment: Mapping[str, str],
) -> tuple[Sequence[ListedClip], list[str]]:
    """Copy clips to the tree, in the given order, until the split has its number of meshes or the
    list ends.

    Returns the requested clips and a line for each one that is not available.
    """
    problems: list[str] = []
    remaining, requested = mesh_counts(data)[split], 0
    while remaining > 0 and requested < len(order):
        # Enough clips if all have full length; the next round replaces short and damaged ones.
        count = -(-remaining * data.frame_step // CLIP_FRAMES)
        batch = order[requested : requested + count]
        requested += len(batch)
        if data.surreal.folder:
            paths = [cache / clip.path for clip in batch]
            reasons = {path: f"{path}: no such file" for path in paths if not path.exists()}
        else:
            reasons = _fetch_clips(batch, cache, environment)
        problems += reasons.values()
        for clip in batch:
            if cache / clip.path in reasons:
                continue
            (tree / clip.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache / clip.path, tree / clip.path)
            try:
                frames = len(read_clip(tree / clip.path).pose)
            except DataError:
                continue  # the meshes stage counts this clip as skipped and reports the reason
            remaining -= -(-frames // data.frame_step)
    return order[:requested], problems


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
        check=read_fields,
        access=SURREAL_ACCESS,
        label="SURREAL clips",
    )


def _list_clips(config: Surreal, cache: Path, environment: Mapping[str, str]) -> list[ListedClip]:
    """The clips of `data.surreal.clips`; without it, those of `data.surreal.folder`; without both,
    those of the two lists that SURREAL's authors publish."""
    if config.clips:
        return read_list(Path(config.clips))
    if config.folder:
        return list_folder(Path(config.folder))
    base = environment.get("SURREAL_LISTS_URL", LISTS_URL)
    paths = [cache / f"files_cmu_{split}_info.mat.txt" for split in ("train", "test")]
    reasons = fetch(
        [Remote(url=f"{base}/{path.name}", path=path) for path in paths],
        credentials=None,
        check=read_list,
        access="set data.surreal.clips to your own list",
        label="SURREAL lists",
    )
    for reason in reasons.values():
        raise DataError(f"{reason}; set data.surreal.clips to your own list")
    return [clip for path in paths for clip in read_list(path)]
