"""Licensed SMPL model files, .pkl or .npz -> the plain .npz that `tpifu.body` reads.

SMPL's pickles are Python 2's and hold chumpy and scipy objects. A pickle is a program, so this
module does not run it: `_load_pickle` is a small interpreter that builds dicts, lists, tuples,
text, numbers and inert `_Record`s, and nothing else; the arrays that a body needs are then rebuilt
from the records, with every size and index checked first. No chumpy is needed. (A restricted
`pickle.Unpickler` is not enough: a short file of nested tuples as a dict's key hangs or crashes it,
and a large memo index makes it allocate gigabytes.)

Arrays carry SMPL's names, metres, SMPL's frame; float32 and int32; the root's parent is -1.
"""

import codecs
import io
import itertools
import math
import os
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from tpifu.body.skeleton import BETAS, GENDERS, JOINT_COUNT
from tpifu.errors import DataError

ARRAYS = ("v_template", "shapedirs", "posedirs", "weights", "J_regressor", "kintree_table", "f")
MAX_BYTES = 512 * 2**20
"""Of a model file, unpacked: twice the largest known, the 247 MB of v1.1.0 (39 MB: v1.0.0)."""
MAX_ZIP_BYTES = 2**30
MAX_FILES = 100_000
"""Files and folders that a search looks at before it gives up."""
MAX_STEPS = 300_000
"""Opcodes of a pickle. A model needs about a thousand, since an array's numbers are one. Bounds the
memory of the objects: a list costs a file one byte."""
MAX_VERTICES = 100_000
"""SMPL has 6,890. Bounds every array before it is made."""


@dataclass(frozen=True)
class ModelFile:
    """Where the model of one gender is."""

    path: Path
    """The file itself, or the zip that holds it."""
    member: str | None
    """Its name in the zip."""
    version: str
    """'1.1.0'; empty if the name does not tell."""

    def read(self) -> dict[str, np.ndarray]:
        """See `read_model`."""
        if self.member is None:
            return read_model(self.path)
        with _open_zip(self.path) as archive:
            content = _unpack(archive, self.member, f"{self.path}: {_shown(self.member)}")
        return _parse(content, self.member, f"{self.path}: {_shown(self.member)}")


_NAMES = re.compile(
    r"basicmodel_(?P<letter>[fm])_lbs_10_207_0_v(?P<version>[0-9]{1,3}(\.[0-9]{1,3}){2})\.(pkl|npz)"
    r"|smpl_(?P<gender>female|male)\.(pkl|npz)",
    re.IGNORECASE,
)
_ZIP_NAMES = re.compile(r"smpl_python.*\.zip", re.IGNORECASE)
_EXPECTED = "basicmodel_{0}_lbs_10_207_0_v1.1.0.pkl (or v1.0.0), SMPL_{1}.pkl or .npz"


def find_models(source: Path) -> dict[str, ModelFile]:
    """The female and the male model in `source`: a folder, searched with all below it and with the
    SMPL_python_v*.zip in it, or such a zip.

    The newest version wins, a name without version comes last, then the first path. Raises
    DataError if a gender is missing, or for a zip that cannot be used.
    """
    found: dict[str, list[ModelFile]] = {gender: [] for gender in GENDERS}
    for path, member in _candidates(source):
        match = _NAMES.fullmatch(path.name if member is None else member.rsplit("/", 1)[-1])
        if match:
            letter = (match["letter"] or match["gender"])[0].lower()
            gender = "female" if letter == "f" else "male"
            found[gender].append(ModelFile(path, member, match["version"] or ""))
    for gender, models in found.items():
        if not models:
            names = _EXPECTED.format(gender[0], gender.upper())
            raise DataError(
                f"{source}: no {gender} SMPL model; looked for {names}, in folders and in "
                "SMPL_python_v*.zip; get SMPL_python_v.1.1.0.zip from https://smpl.is.tue.mpg.de"
            )
    return {gender: max(models, key=_newness) for gender, models in found.items()}


def _newness(model: ModelFile) -> list[int]:
    return [int(number) for number in model.version.split(".") if number]


def export_bodies(source: Path, folder: Path) -> dict[str, dict[str, str]]:
    """Write `female.npz` and `male.npz`, from the models that `find_models` finds, to `folder`;
    both appear or neither.

    Returns, for each gender, the `file` it came from, relative to `source`'s folder, and its
    `version`.
    """
    models = find_models(source)
    bodies = {gender: model.read() for gender, model in models.items()}
    folder.mkdir(parents=True, exist_ok=True)
    parts = {gender: folder / f"{gender}.npz.part" for gender in bodies}
    try:
        for gender, arrays in bodies.items():
            # Through a file: np.savez would add .npz to the name. It stamps no time (1980).
            with parts[gender].open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub
        for gender, part in parts.items():
            os.replace(part, folder / f"{gender}.npz")
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    base = source if source.is_dir() else source.parent
    return {
        gender: {
            "file": (model.path.relative_to(base) / (model.member or "")).as_posix(),
            "version": model.version or "unknown",
        }
        for gender, model in models.items()
    }


def _candidates(source: Path) -> Iterator[tuple[Path, str | None]]:
    """(file, None) and (zip, member), in an order that does not depend on the file system."""
    if source.is_dir():
        files = _files_below(source)
    elif source.suffix.lower() == ".zip" and source.is_file():
        files = [source]
    else:
        raise DataError(f"{source}: no such folder or .zip; give what holds the SMPL models")
    for path in files:
        if path == source or _ZIP_NAMES.fullmatch(path.name):
            with _open_zip(path) as archive:
                names = sorted(archive.namelist())
            yield from ((path, name) for name in names)
        else:
            yield path, None


def _files_below(folder: Path) -> list[Path]:
    files: list[Path] = []
    seen = 0
    for place, folders, names in os.walk(folder):  # does not follow links to folders
        seen += len(folders) + len(names)
        if seen > MAX_FILES:
            raise DataError(
                f"{folder}: more than {MAX_FILES} files; give the folder of the SMPL models"
            )
        files += [Path(place, name) for name in names]
    return sorted(path for path in files if path.is_file())


def _open_zip(path: Path) -> zipfile.ZipFile:
    """The zip, once its size and the names in it are known to be harmless."""
    if path.stat().st_size > MAX_ZIP_BYTES:
        raise DataError(f"{path}: larger than {MAX_ZIP_BYTES} bytes, so not SMPL's")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises many kinds for a broken directory
        raise DataError(
            f"{path}: not a readable zip ({_fault(error)}); a login page, or a download that "
            "was cut: get it again"
        ) from error
    for name in archive.namelist():
        parts = PureWindowsPath(name)  # knows drives and both slashes
        if parts.anchor or ".." in parts.parts:
            archive.close()
            raise DataError(f"{path}: holds {_shown(name)}, a path out of the zip; not SMPL's")
    return archive


def _unpack(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    """One member, in memory, never more than it declares, which is bounded here."""
    member = archive.getinfo(name)
    if member.flag_bits & 0x1:
        raise DataError(f"{where}: is encrypted; unpack it yourself, then give the folder")
    # bzip2 and LZMA are unpacked by zipfile without a bound.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{where}: is neither stored nor deflated, so not SMPL's")
    if member.file_size > MAX_BYTES:
        raise DataError(f"{where}: unpacks to more than {MAX_BYTES} bytes, so not SMPL's")
    try:
        with archive.open(member) as file:
            # Not read(): it unpacks up to 2 GiB at once, and cuts that to the declared size later.
            content = file.read(member.file_size)
    except Exception as error:  # zlib's, zipfile's, struct's
        raise DataError(f"{where}: cannot be unpacked ({_fault(error)})") from error
    if len(content) != member.file_size:
        raise DataError(f"{where}: unpacks to {len(content)} bytes, not {member.file_size}")
    return content


def read_model(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one SMPL model, .pkl or .npz; whatever else it holds is ignored.

    v_template (v, 3), shapedirs (v, 3, 10) cut from 10 or 300 components, posedirs (v, 3, 207),
    weights (v, 24), J_regressor (24, v): float32. kintree_table (2, 24), f (f, 3): int32. Raises
    DataError, naming file and fault.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such SMPL model file")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES} bytes, so not an SMPL model")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({_fault(error)})") from error
    return _parse(content, path.name, str(path))


def _parse(content: bytes, name: str, where: str) -> dict[str, np.ndarray]:
    """`content` of a file called `name`; `where` is what errors call it."""
    try:
        # Of headers and escapes that Python 2 wrote, and of overflows, which are refused as such.
        with warnings.catch_warnings(action="ignore"):
            npz = name.lower().endswith(".npz")
            return _checked(_read_npz(content) if npz else _read_pickle(content))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except Exception as error:  # a malformed file fails in as many ways as there are bytes
        raise DataError(f"{where}: not a readable SMPL model ({_fault(error)})") from error


def _checked(stored: Iterator[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """`stored`, in the order of ARRAYS, as an SMPL body's arrays; one at a time, since what a file
    holds may be much larger."""
    _, v_template = next(stored)
    vertices = v_template.shape[0] if v_template.ndim else 0
    if not 0 < vertices <= MAX_VERTICES:
        raise DataError(f"v_template has shape {v_template.shape}, expected (v, 3)")
    shapes: dict[str, tuple[int | None, ...]] = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 9 * (JOINT_COUNT - 1)),
        "weights": (vertices, JOINT_COUNT),
        "J_regressor": (JOINT_COUNT, vertices),
        "kintree_table": (2, JOINT_COUNT),
        "f": (None, 3),
    }
    arrays = {}
    for name, array in itertools.chain([("v_template", v_template)], stored):
        shape = shapes[name]
        if len(array.shape) != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, array.shape, strict=True)
        ):
            raise DataError(f"{name} has shape {array.shape}, expected {shape} (None: any)")
        if name == "f":
            arrays[name] = _checked_faces(array, vertices)
        elif name == "kintree_table":
            arrays[name] = _checked_tree(array)
        else:
            arrays[name] = _checked_numbers(array, name)
    return arrays


def _checked_numbers(array: np.ndarray, name: str) -> np.ndarray:
    if name == "shapedirs":
        if array.shape[2] < BETAS:
            raise DataError(f"{name} has {array.shape[2]} components, expected {BETAS} or more")
        array = array[:, :, :BETAS]
    array = np.ascontiguousarray(array, np.float32)  # what is too large becomes infinite
    if not np.isfinite(array).all():
        raise DataError(f"{name} holds values that are not finite")
    if name == "weights" and not (array.sum(axis=1) > 0).all():
        raise DataError(f"{name}: a vertex hangs on no joint")
    return array


def _checked_faces(faces: np.ndarray, vertices: int) -> np.ndarray:
    if faces.dtype.kind not in "iu" or not 0 < len(faces) <= 4 * MAX_VERTICES:
        raise DataError(f"f holds {len(faces)} faces of {faces.dtype}, expected some whole numbers")
    if faces.min() < 0 or faces.max() >= vertices:
        raise DataError(f"f has a vertex outside 0..{vertices - 1}")
    return np.ascontiguousarray(faces, np.int32)


def _checked_tree(tree: np.ndarray) -> np.ndarray:
    """kintree_table: the parent of each joint, and the joint."""
    if tree.dtype.kind not in "iu":
        raise DataError(f"kintree_table holds {tree.dtype}, expected whole numbers")
    parents, joints = tree.tolist()
    if parents[0] in (-1, 2**32 - 1):  # -1 as SMPL's uint32
        parents[0] = -1
    if joints != list(range(JOINT_COUNT)) or parents[0] != -1:
        raise DataError("kintree_table does not start at the root, joint by joint")
    for joint, parent in enumerate(parents[1:], start=1):
        if not 0 <= parent < joint:
            raise DataError(f"kintree_table: joint {joint} has parent {parent}, expected a lower")
    return np.array([parents, joints], np.int32)


def _require(names: Iterable[str]) -> None:
    held = set(names)
    if missing := [name for name in ARRAYS if name not in held]:
        raise DataError(f"lacks {', '.join(missing)}; an SMPL model has {', '.join(ARRAYS)}")


def _read_npz(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _require(name.removesuffix(".npy") for name in archive.namelist())
        for name in ARRAYS:
            yield name, _read_npy(_unpack(archive, f"{name}.npy", name), name)


def _read_npy(content: bytes, name: str) -> np.ndarray:
    file = io.BytesIO(content)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    return _array(content[file.tell() :], dtype, _shape(shape, name), fortran, name)


def _array(
    raw: bytes, dtype: np.dtype, shape: tuple[int, ...], fortran: bool, name: str
) -> np.ndarray:
    """A read-only array over `raw`, which must be exactly its size."""
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise DataError(f"{name} holds {dtype}, expected plain numbers")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise DataError(f"{name} has shape {shape} of {dtype} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


@dataclass(frozen=True, slots=True)
class _Name:
    """A class or function that a pickle names; what `_ALLOWED` calls it."""

    kind: str


@dataclass(eq=False, slots=True)
class _Record:
    """What a pickle would have made by calling a `_Name`; nothing was called."""

    kind: str
    args: tuple
    state: Any = None


_ALLOWED = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "numpy.core.multiarray._reconstruct": "array",
    "numpy._core.multiarray._reconstruct": "array",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy._core.multiarray.scalar": "scalar",
    "_codecs.encode": "encode",
    "__builtin__.set": "set",
    "builtins.set": "set",
    "__builtin__.object": "object",
    "builtins.object": "object",
    "copy_reg._reconstructor": "instance",
    "copyreg._reconstructor": "instance",
    "collections.OrderedDict": "OrderedDict",
    "scipy.sparse.csc.csc_matrix": "csc_matrix",
    "scipy.sparse._csc.csc_matrix": "csc_matrix",
}


def _named(module: str, name: str) -> _Name:
    full = f"{module}.{name}"
    if "." not in name and len(full) < 100:  # a dotted name is a chain of attributes
        if full in _ALLOWED:
            return _Name(_ALLOWED[full])
        if re.fullmatch(r"chumpy(\.\w+)*", module) and name.isidentifier():
            return _Name("chumpy")
    raise DataError(f"{_shown(full)} is not allowed in an SMPL model file")


def _called(callee: Any, args: Any) -> Any:
    """The record of a call."""
    if not isinstance(callee, _Name) or not isinstance(args, tuple):
        raise DataError("the pickle calls something that is no class")
    if callee.kind == "instance":  # how protocols 0 and 1 write NEWOBJ
        made, base, _ = args
        if not isinstance(made, _Name) or base != _Name("object"):
            raise DataError("the pickle makes an instance of something that is no class")
        return _Record(made.kind, ())
    return _Record(callee.kind, args)


_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
"""Opcodes that push their argument."""
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _load_pickle(content: bytes) -> Any:
    """Interpret protocols 0 to 4; text of Python 2 is latin-1.

    Only the opcodes that a model needs: no persistent ids, no extension registry, no buffers
    outside the file.
    """
    file = io.BytesIO(content)  # pickletools reads no more than what is there
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for _ in range(MAX_STEPS):
        opcode = _OPCODES.get(file.read(1))
        if opcode is None:
            raise DataError("no pickle, or one that was cut")
        if opcode.name == "STRING":  # pickletools takes no byte above 127 in it
            stack.append(_quoted(file.readline()))
            continue
        argument: Any = opcode.arg.reader(file) if opcode.arg else None
        match opcode.name:
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                marks.append(len(stack))
            case name if name in _TUPLES:
                items = [stack.pop() for _ in range(_TUPLES[name])]
                stack.append(tuple(reversed(items)))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(since_mark())
            case "APPEND":
                item = stack.pop()
                _extend(stack[-1], [item])
            case "APPENDS":
                items = since_mark()
                _extend(stack[-1], items)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = since_mark()
                stack.append({})
                _set_items(stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(stack[-1], [key, value])
            case "SETITEMS":
                items = since_mark()
                _set_items(stack[-1], items)
            case "EMPTY_SET":
                stack.append(_Record("set", ()))
            case "FROZENSET":
                stack.append(_Record("set", tuple(since_mark())))
            case "ADDITEMS" | "POP_MARK":
                since_mark()
            case "POP":
                # Pops the mark if nothing was pushed after it.
                (marks if marks and marks[-1] == len(stack) else stack).pop()
            case "DUP":
                stack.append(stack[-1])
            case "GLOBAL":
                stack.append(_named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(_named(_text(module), _text(attribute)))
            case "INST":
                callee = _named(*argument.split(" ", 1))
                stack.append(_called(callee, tuple(since_mark())))
            case "REDUCE" | "NEWOBJ":
                args, callee = stack.pop(), stack.pop()
                stack.append(_called(callee, args))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], _Record):
                    raise DataError("the pickle sets the state of something that is no object")
                stack[-1].state = state
            case "STOP":
                return stack.pop()
            case "PROTO":
                if argument > 4:
                    raise DataError(f"pickle protocol {argument} is not read; write it with 4")
            case "FRAME":
                pass
            case name:
                raise DataError(f"pickle opcode {name} is not allowed in an SMPL model file")
    raise DataError(f"the pickle has more than {MAX_STEPS} opcodes, so not SMPL's")


def _quoted(line: bytes) -> str:
    """A string as Python 2 prints it."""
    quote, text, end = line[:1], line[1:-2], line[-2:]
    if quote not in (b"'", b'"') or end != quote + b"\n":
        raise DataError("the pickle holds text without quotes")
    return codecs.escape_decode(text)[0].decode("latin1")


def _set_items(target: Any, items: list[Any]) -> None:
    """Items of a dict. Only text is ever looked up: other keys are dropped, since hashing a tuple
    may take for ever, and so are the items of an OrderedDict."""
    if isinstance(target, _Record):
        return
    if not isinstance(target, dict):
        raise DataError("the pickle sets an item of something that is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str):
            target[key] = value


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise DataError("the pickle appends to something that is no list")
    target.extend(items)


def _read_pickle(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    model = _load_pickle(content)
    if not isinstance(model, dict):
        raise DataError("the pickle holds no dict, so no SMPL model")
    _require(model)
    for name in ARRAYS:
        yield name, _rebuilt(model[name], name)


def _rebuilt(value: Any, name: str, depth: int = 0) -> np.ndarray:
    """The numbers of a numpy array, a chumpy array or selection, or a sparse matrix (dense)."""
    if not isinstance(value, _Record) or depth > 4:  # chumpy nests two or three deep
        raise DataError(f"{name} is no array")
    if value.kind == "array":
        _, shape, dtype, fortran, raw = value.state
        return _array(
            _raw(raw, name), _dtype(dtype, name), _shape(shape, name), bool(fortran), name
        )
    state = value.state if isinstance(value.state, dict) else {}
    if value.kind == "csc_matrix":
        return _dense(state, name, depth + 1)
    if value.kind == "chumpy" and "x" in state:
        return _rebuilt(state["x"], name, depth + 1)
    if value.kind == "chumpy" and state.keys() >= {"a", "idxs"}:
        # chumpy.reordering.Select: elements of the flat `a`.
        flat = _rebuilt(state["a"], name, depth + 1).ravel()
        indices = _indices(state["idxs"], len(flat), name, depth + 1)
        if len(indices) > len(flat):
            raise DataError(f"{name} selects more numbers than there are")
        selected = flat[indices]
        if "preferred_shape" in state:
            selected = selected.reshape(_shape(state["preferred_shape"], name))
        return selected
    raise DataError(f"{name} is a {value.kind} that holds no array")


def _raw(value: Any, name: str) -> bytes:
    """The bytes of an array: as such, as text of Python 2, or as Python 3 writes them for it."""
    if isinstance(value, _Record) and value.kind == "encode":
        value, encoding = value.args
        if encoding != "latin1":
            raise DataError(f"{name} is not in latin-1")
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, bytes):
        raise DataError(f"{name} holds objects, expected plain numbers")
    return value


def _indices(value: Any, size: int, name: str, depth: int) -> np.ndarray:
    """A flat array of indices, all in 0..size - 1."""
    indices = _rebuilt(value, name, depth).ravel()
    # numpy indexes with 64 bits: 8 would grow eightfold, and neither chumpy nor scipy has them.
    if indices.dtype.kind not in "iu" or indices.dtype.itemsize < 4:
        raise DataError(f"{name} is indexed with {indices.dtype}, expected 32 or 64-bit integers")
    if len(indices) and not (indices.min() >= 0 and indices.max() < size):
        raise DataError(f"{name} has an index outside 0..{size - 1}")
    return indices


def _dense(state: Mapping[str, Any], name: str, depth: int) -> np.ndarray:
    """scipy's csc_matrix: column c holds `data` at rows `indices`, both from indptr[c] to
    indptr[c + 1]."""
    shape = _shape(state["_shape"], name)
    if len(shape) != 2 or shape[0] != JOINT_COUNT or not 0 < shape[1] <= MAX_VERTICES:
        raise DataError(f"{name} has shape {shape}, expected ({JOINT_COUNT}, v)")
    data = _rebuilt(state["data"], name, depth).ravel()
    rows = _indices(state["indices"], JOINT_COUNT, name, depth)
    starts = _indices(state["indptr"], min(len(data), JOINT_COUNT * shape[1]) + 1, name, depth)
    if len(rows) != len(data) or len(starts) != shape[1] + 1 or starts[0] != 0:
        raise DataError(f"{name} is no valid sparse matrix")
    counts: np.ndarray = np.diff(starts.astype(np.int64))
    if (counts < 0).any():
        raise DataError(f"{name} is no valid sparse matrix")
    columns = np.repeat(np.arange(shape[1]), counts)
    dense = np.zeros(shape)
    np.add.at(dense, (rows[: len(columns)], columns), data[: len(columns)])
    return dense


def _dtype(value: Any, name: str) -> np.dtype:
    if not isinstance(value, _Record) or value.kind != "dtype":
        raise DataError(f"{name} has no type")
    code = _text(value.args[0])
    order = _text(value.state[1])  # (version, byte order, ...)
    if not re.fullmatch(r"f[248]|[iu][1248]", code) or order not in ("<", ">", "=", "|"):
        raise DataError(f"{name} holds {_shown(order + code)}, expected plain numbers")
    return np.dtype(order + code)


def _shape(value: Any, name: str) -> tuple[int, ...]:
    """Three axes at most, none longer than a file: products and messages stay short."""
    if (
        not isinstance(value, tuple)
        or len(value) > 3
        or not all(type(size) is int and 0 <= size <= MAX_BYTES for size in value)
    ):
        raise DataError(f"{name} has an impossible shape")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"the pickle has a {type(value).__name__} in place of text")
    return value


def _shown(text: str) -> str:
    """A name out of a file, fit for one line of an error."""
    return ascii(text[:100])[1:-1]


def _fault(error: Exception) -> str:
    """One line, however long what the error quotes."""
    return f"{type(error).__name__}: {_shown((str(error).splitlines() or [''])[0])}"
