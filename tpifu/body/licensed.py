"""Licensed SMPL model files, .pkl or .npz -> the plain .npz that `tpifu.body.body` reads.

No code in a file runs, and nothing is unpacked to disk.
"""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tpifu.body.arrays import body_arrays, one_line
from tpifu.body.pickles import read_pickle
from tpifu.body.skeleton import GENDERS
from tpifu.errors import DataError
from tpifu.files import whole_file


@dataclass(frozen=True)
class ModelFile:
    """Location of one gender's model."""

    path: Path | zipfile.Path
    version: str = ""
    """For example 1.1.0; empty if the file name has none."""

    def read(self) -> dict[str, np.ndarray]:
        """Return the arrays of `body_arrays` and ignore the rest of the file. Raises DataError with
        the file name and the reason."""
        # A zip can contain names with control characters.
        where = "".join(letter if letter.isprintable() else "?" for letter in str(self.path))
        try:
            content = self.path.read_bytes()
            # NumPy warns about Python 2 headers and about overflows, which are rejected here.
            with warnings.catch_warnings(action="ignore"):
                if not self.path.name.lower().endswith(".npz"):
                    return read_pickle(content)
                with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                    return body_arrays(stored.__getitem__)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        except Exception as error:  # malformed files raise many exception types
            raise DataError(f"{where}: not a readable SMPL model ({one_line(error)})") from error


_NAMES = re.compile(
    r"basicmodel_(?P<letter>[fm])_lbs_10_207_0_v(?P<version>[0-9]{1,3}(\.[0-9]{1,3}){2})\.(pkl|npz)"
    r"|smpl_(?P<gender>female|male)\.(pkl|npz)",
    re.IGNORECASE,
)
_ZIP_NAMES = re.compile(r"smpl_python.*\.zip", re.IGNORECASE)


def find_models(source: Path) -> dict[str, ModelFile]:
    """Find the female and the male model in `source`, which is an SMPL_python_v*.zip or a folder. A
    folder is searched recursively, including any SMPL_python_v*.zip in it.

    The newest version wins; names without a version count as oldest; ties go to the first path.
    Raises DataError if a gender is missing or a zip is unreadable.
    """
    found: dict[str, list[ModelFile]] = {gender: [] for gender in GENDERS}
    for path in _candidates(source):
        if match := _NAMES.fullmatch(path.name):
            letter = (match["letter"] or match["gender"])[0].lower()
            gender = "female" if letter == "f" else "male"
            found[gender].append(ModelFile(path, match["version"] or ""))
    for gender, models in found.items():
        if not models:
            raise DataError(
                f"{source}: no {gender} SMPL model; expected "
                f"basicmodel_{gender[0]}_lbs_10_207_0_v1.1.0.pkl (or v1.0.0), "
                f"SMPL_{gender.upper()}.pkl or .npz, in a folder or in SMPL_python_v*.zip; "
                "get SMPL_python_v.1.1.0.zip from https://smpl.is.tue.mpg.de"
            )
    return {
        gender: max(models, key=lambda model: [int(n) for n in model.version.split(".") if n])
        for gender, models in found.items()
    }


def _candidates(source: Path) -> Iterator[Path | zipfile.Path]:
    """Files, and members of zips, sorted by path and name."""
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.is_file())
    elif source.suffix.lower() == ".zip" and source.is_file():
        files = [source]
    else:
        raise DataError(f"{source}: no such folder or .zip; pass the one with the SMPL models")
    for path in files:
        if path != source and not _ZIP_NAMES.fullmatch(path.name):
            yield path
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                names = sorted(archive.namelist())
        except Exception as error:  # zipfile raises many types for a broken directory
            raise DataError(
                f"{path}: not a readable zip ({one_line(error)}); it may be a login page or an "
                "incomplete download: download it again"
            ) from error
        yield from (zipfile.Path(path, name) for name in names)


def export_bodies(source: Path, folder: Path) -> dict[str, dict[str, str]]:
    """Write the models found by `find_models` to `female.npz` and `male.npz` in `folder`.

    Returns the `file` for each gender, relative to the folder of `source`, and its `version`.
    """
    models = find_models(source)
    bodies = {gender: model.read() for gender, model in models.items()}
    for gender, arrays in bodies.items():
        # Pass a file object: np.savez would append .npz to a path. It stores no timestamps.
        with whole_file(folder / f"{gender}.npz") as part, part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub
    base = source if source.is_dir() else source.parent
    return {
        gender: {
            "file": Path(str(model.path)).relative_to(base).as_posix(),
            "version": model.version or "unknown",
        }
        for gender, model in models.items()
    }
