import re
from importlib import resources

import numpy as np
import pytest

from tpifu.body.body import embedded_body, load_body
from tpifu.body.skeleton import GENDERS, JOINT_COUNT, PARENTS
from tpifu.errors import DataError
from tpifu.geometry.mesh import watertight_error

LEFT_ARM, KNEES, ANKLES = (16, 18, 20, 22), (4, 5), (7, 8)
NO_BETAS = np.zeros(10, np.float32)


@pytest.fixture
def arrays(tmp_path):
    """Arrays of a stored body, and a function that stores a changed copy of them."""
    with np.load(resources.files("tpifu.body") / "assets" / "body_male.npz") as stored:
        values = {name: stored[name] for name in stored.files}

    def write(**changes):
        kept = {name: value for name, value in {**values, **changes}.items() if value is not None}
        np.savez(tmp_path / "body.npz", **kept)
        return tmp_path / "body.npz"

    return values, write


@pytest.mark.parametrize("gender", GENDERS)
def test_an_embedded_body_has_smpls_counts_tree_and_rest_pose(gender, arrays):
    body = embedded_body(gender)
    vertices, joints = body.rest(NO_BETAS)
    assert (vertices.shape, body.faces.shape) == ((6890, 3), (13776, 3))
    assert joints.shape == (JOINT_COUNT, 3)
    assert arrays[0]["kintree_table"][0].tolist() == list(PARENTS)
    assert watertight_error(body.faces) is None
    assert 1.55 < np.ptp(vertices[:, 1]) < 2.0
    # A T-pose, y up: the joints of the left arm differ in x only, the toes point to +z.
    assert joints[15, 1] > joints[0, 1] > joints[4, 1] > joints[7, 1]
    chain = joints[list(LEFT_ARM)]
    assert (np.diff(chain[:, 0]) > 0.05).all()
    np.testing.assert_allclose(chain[:, 1:] - chain[0, 1:], 0, atol=0.03)
    np.testing.assert_allclose(joints[list(ANKLES), 0], joints[list(KNEES), 0], atol=0.03)
    assert (joints[[10, 11], 2] > joints[list(ANKLES), 2] + 0.05).all()
    np.testing.assert_allclose(joints[0], 0, atol=0.01)
    left = np.array([1, 4, 7, 10, 13, 16, 18, 20, 22])
    np.testing.assert_allclose(joints[left] * [-1, 1, 1], joints[left + 1], atol=0.01)


def test_a_root_rotation_rotates_the_body_about_its_pelvis():
    body = embedded_body("male")
    vertices, joints = body.rest(NO_BETAS)
    pose = np.zeros((1, 72), np.float32)
    pose[0, 1] = np.pi / 2  # about y: +z becomes +x
    turned, turned_joints = body.pose(pose, NO_BETAS)
    centred = vertices - joints[0]
    expected = np.stack([centred[:, 2], centred[:, 1], -centred[:, 0]], axis=1)
    np.testing.assert_allclose(turned[0] - turned_joints[0, 0], expected, atol=1e-5)


def test_posing_in_chunks_equals_posing_single_frames():
    rng = np.random.default_rng(1)
    pose = rng.normal(scale=0.5, size=(20, 72)).astype(np.float32)  # more than one chunk
    body = embedded_body("male")
    together, _ = body.pose(pose, NO_BETAS)
    for t in (0, 15, 16, 19):
        alone, _ = body.pose(pose[t : t + 1], NO_BETAS)
        np.testing.assert_allclose(together[t], alone[0], atol=1e-6)


def test_weights_are_normalised(arrays):
    values, write = arrays
    thin = load_body(write(weights=values["weights"].astype(np.float32) * 0.9))
    np.testing.assert_allclose(
        thin.rest(NO_BETAS)[0], embedded_body("male").rest(NO_BETAS)[0], atol=1e-4
    )


def test_nothing_is_printed(arrays, capfd):
    load_body(arrays[1]()).rest(NO_BETAS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "weights is missing or unreadable"),
        ({"kintree_table": np.zeros((2, 22), np.int64)}, r"kintree_table has shape \(2, 22\)"),
        ({"v_template": np.zeros((6890, 2), np.float32)}, "v_template has shape"),
        ({"v_template": np.array([{}], object)}, "v_template is missing or unreadable"),
        ({"v_template": np.full((6890, 3), np.nan)}, "v_template contains values that are not"),
        ({"f": np.array([[0, 1, 6890]])}, r"f is empty or has a vertex outside 0\.\.6889"),
    ],
)
def test_an_invalid_body_file_is_rejected(arrays, changes, message):
    path = arrays[1](**changes)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: .*{message}"):
        load_body(path)


def test_a_missing_file_and_a_text_file_are_rejected(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    for name, message in (("body", "no such body file"), ("text", r"not a readable \.npz")):
        with pytest.raises(DataError, match=message):
            load_body(tmp_path / f"{name}.npz")
