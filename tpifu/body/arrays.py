"""The arrays of an SMPL model file: names, types and checks.

Arrays have SMPL's names and are in metres, in SMPL's frame.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tpifu.body.skeleton import BETAS, JOINT_COUNT
from tpifu.errors import DataError

ARRAYS = ("v_template", "shapedirs", "posedirs", "weights", "J_regressor", "kintree_table", "f")


def body_arrays(
    read: Callable[[str], np.ndarray], names: Sequence[str] = ARRAYS
) -> dict[str, np.ndarray]:
    """The arrays `names` of a body; `read` returns a stored array by its name.

    float32: v_template (v, 3), shapedirs (v, 3, 10) cut from 10 or 300 components, posedirs
    (v, 3, 207), weights (v, 24), J_regressor (24, v). int32: kintree_table (2, 24) with -1 as the
    root's parent, f (f, 3). Raises DataError if an array is missing, unreadable or invalid.
    """
    arrays = {}
    for name in names:
        try:
            array = np.asarray(read(name))
        except Exception as error:  # malformed arrays raise many types
            raise DataError(f"{name} is missing or unreadable ({one_line(error)})") from error
        arrays[name] = _converted(array, name)
    check_shapes(arrays)
    if (components := arrays["shapedirs"].shape[2]) < BETAS:
        raise DataError(f"shapedirs has {components} components, expected {BETAS} or more")
    if not (arrays["weights"].sum(axis=1) > 0).all():
        raise DataError("weights: a vertex has no positive weight")
    arrays["kintree_table"] = _tree(arrays["kintree_table"])
    faces, vertices = arrays["f"], len(arrays["v_template"])
    if not faces.size or faces.min() < 0 or faces.max() >= vertices:
        raise DataError(f"f is empty or has a vertex outside 0..{vertices - 1}")
    arrays["f"] = np.ascontiguousarray(faces, np.int32)
    return arrays


def check_shapes(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise DataError, without a file name, if an array of a body has a shape that does not match
    the others. `posedirs` is optional."""
    vertices, *_ = *arrays["v_template"].shape, 0
    shapes: dict[str, tuple[int | None, ...]] = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "weights": (vertices, JOINT_COUNT),
        "J_regressor": (JOINT_COUNT, vertices),
        "kintree_table": (2, JOINT_COUNT),
        "f": (None, 3),
    }
    if "posedirs" in arrays:
        shapes["posedirs"] = (vertices, 3, 9 * (JOINT_COUNT - 1))
    for name, shape in shapes.items():
        found = arrays[name].shape
        if len(found) != len(shape) or any(
            expected not in (None, size) for expected, size in zip(shape, found, strict=True)
        ):
            raise DataError(f"{name} has shape {found}, expected {shape} (None: any)")


def _converted(array: np.ndarray, name: str) -> np.ndarray:
    """Convert to finite float32, with shapedirs cut to BETAS components; integers stay
    unchanged."""
    integers = name in ("kintree_table", "f")
    if array.dtype.kind not in ("iu" if integers else "fiu"):
        expected = "integers" if integers else "numbers"
        raise DataError(f"{name} has type {array.dtype}, expected {expected}")
    if integers:
        return array
    array = array[..., :BETAS] if name == "shapedirs" else array
    array = np.ascontiguousarray(array, np.float32)  # values out of range become infinite
    if not np.isfinite(array).all():
        raise DataError(f"{name} contains values that are not finite")
    return array


def _tree(table: np.ndarray) -> np.ndarray:
    """Check kintree_table: the parent of each joint in row 0, the joint in row 1."""
    parents, joints = table.tolist()
    if parents[0] == 2**32 - 1:  # SMPL stores -1 as uint32
        parents[0] = -1
    if (
        joints != list(range(JOINT_COUNT))
        or parents[0] != -1
        or not all(0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1))
    ):
        raise DataError("kintree_table does not list the joints from the root, parents first")
    return np.array([parents, joints], np.int32)


def printable(text: str) -> str:
    """Text from a file, escaped and shortened for one line of an error message."""
    return ascii(text[:100])[1:-1]


def one_line(error: Exception) -> str:
    """The type of an error and the first line of its message, shortened."""
    return f"{type(error).__name__}: {printable((str(error).splitlines() or [''])[0])}"
