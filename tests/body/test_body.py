import re
from importlib import resources

import numpy as np
import pytest

from tpifu.body.body import embedded_body, load_body
from tpifu.body.skeleton import GENDERS, JOINT_COUNT, PARENTS
from tpifu.errors import DataError
from tpifu.geometry.mesh import watertight_error
from tpifu.prepare.meshes import centred_meshes

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


@pytest.mark.parametrize("gender", GENDERS)
@pytest.mark.parametrize("seed", range(3))
def test_shapes_and_poses_have_a_plausible_volume(gender, seed):
    rng = np.random.default_rng(seed)
    betas = np.clip(rng.normal(size=10), -2, 2).astype(np.float32)
    pose = rng.normal(scale=0.4, size=(2, 72)).astype(np.float32)
    body = embedded_body(gender)
    heights = np.ptp(body.rest(betas)[0][:, 1])
    assert 1.4 < heights < 2.1
    for mesh in centred_meshes(body, pose, betas):
        assert 0.03 < mesh.trimesh().volume < 0.13  # m^3


def test_posing_preserves_bone_lengths():
    rng = np.random.default_rng(0)
    body = embedded_body("female")
    _, rest = body.rest(NO_BETAS)
    _, posed = body.pose(rng.normal(scale=0.5, size=(20, 72)).astype(np.float32), NO_BETAS)
    child, parent = np.arange(1, JOINT_COUNT), np.array(PARENTS[1:])
    lengths = np.linalg.norm(posed[:, child] - posed[:, parent], axis=-1)
    rest_lengths = np.linalg.norm(rest[child] - rest[parent], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(rest_lengths, lengths.shape), atol=1e-5)


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


def test_shape_coefficients_act_linearly():
    body = embedded_body("male")
    one, two = np.eye(10, dtype=np.float32)[0], 2 * np.eye(10, dtype=np.float32)[0]
    mean, first, second = (body.rest(betas)[0] for betas in (NO_BETAS, one, two))
    assert np.abs(first - mean).max() > 0.01
    np.testing.assert_allclose(second - mean, 2 * (first - mean), atol=1e-5)


def test_weights_are_normalised(arrays):
    values, write = arrays
    thin = load_body(write(weights=values["weights"].astype(np.float32) * 0.9), "male")
    np.testing.assert_allclose(
        thin.rest(NO_BETAS)[0], embedded_body("male").rest(NO_BETAS)[0], atol=1e-4
    )


def test_nothing_is_printed(arrays, capfd):
    load_body(arrays[1](), "male").rest(NO_BETAS)
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
        load_body(path, "male")


def test_a_missing_file_and_a_text_file_are_rejected(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    for name, message in (("body", "no such body file"), ("text", r"not a readable \.npz")):
        with pytest.raises(DataError, match=message):
            load_body(tmp_path / f"{name}.npz", "male")
