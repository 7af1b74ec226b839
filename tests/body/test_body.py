import re

import numpy as np
import pytest

from tpifu.body.body import embedded_body, load_body
from tpifu.body.skeleton import JOINT_COUNT
from tpifu.errors import DataError
from tpifu.geometry.mesh import watertight_error
from tpifu.prepare.meshes import centred_meshes

GENDERS = ("female", "male")
# SMPL's tree: the parent of each joint.
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
LEFT_ARM, KNEES, ANKLES, HIPS = (16, 18, 20, 22), (4, 5), (7, 8), (1, 2)
NO_BETAS = np.zeros(10, np.float32)


@pytest.fixture
def arrays(tmp_path):
    """Arrays of a stored body, and a function that stores a changed copy of them."""
    from importlib import resources

    with np.load(resources.files("tpifu.body") / "assets" / "body_male.npz") as stored:
        values = {name: stored[name] for name in stored.files}

    def write(**changes):
        path = tmp_path / "body.npz"
        kept = {name: value for name, value in {**values, **changes}.items() if value is not None}
        np.savez(path, **kept)
        return path

    return values, write


@pytest.mark.parametrize("gender", GENDERS)
def test_it_has_the_counts_and_the_tree_of_smpl(gender, arrays):
    body = embedded_body(gender)
    vertices, joints = body.rest(NO_BETAS)
    assert vertices.shape == (6890, 3)
    assert body.faces.shape == (13776, 3)
    assert joints.shape == (JOINT_COUNT, 3)
    assert arrays[0]["kintree_table"][0].tolist() == PARENTS


@pytest.mark.parametrize("gender", GENDERS)
def test_it_stands_in_a_t_pose_y_up_facing_z_with_its_left_on_x(gender):
    vertices, joints = embedded_body(gender).rest(NO_BETAS)
    height = np.ptp(vertices[:, 1])
    assert 1.55 < height < 2.0
    assert joints[15, 1] > joints[0, 1] > joints[4, 1] > joints[7, 1]
    # An arm along +x: the joints of the chain differ in x alone.
    chain = joints[list(LEFT_ARM)]
    assert (np.diff(chain[:, 0]) > 0.05).all()
    np.testing.assert_allclose(chain[:, 1:] - chain[0, 1:], 0, atol=0.03)
    np.testing.assert_allclose(joints[list(ANKLES), 0], joints[list(KNEES), 0], atol=0.03)
    assert (joints[[10, 11], 2] > joints[list(ANKLES), 2] + 0.05).all()  # toes point to +z
    np.testing.assert_allclose(joints[0], 0, atol=0.01)


@pytest.mark.parametrize("gender", GENDERS)
def test_left_and_right_mirror_each_other(gender):
    _, joints = embedded_body(gender).rest(NO_BETAS)
    left = [1, 4, 7, 10, 13, 16, 18, 20, 22]
    right = [joint + 1 for joint in left]
    np.testing.assert_allclose(joints[left] * [-1, 1, 1], joints[right], atol=0.01)


@pytest.mark.parametrize("gender", GENDERS)
def test_the_surface_is_closed(gender):
    assert watertight_error(embedded_body(gender).faces) is None


@pytest.mark.parametrize("gender", GENDERS)
@pytest.mark.parametrize("seed", range(3))
def test_every_shape_and_pose_has_the_volume_of_a_body(gender, seed):
    rng = np.random.default_rng(seed)
    betas = np.clip(rng.normal(size=10), -2, 2).astype(np.float32)
    pose = rng.normal(scale=0.4, size=(2, 72)).astype(np.float32)
    body = embedded_body(gender)
    heights = np.ptp(body.rest(betas)[0][:, 1])
    assert 1.4 < heights < 2.1
    for mesh in centred_meshes(body, pose, betas):
        assert 0.03 < mesh.trimesh().volume < 0.13  # m^3


def test_a_bone_keeps_its_length_in_every_pose():
    rng = np.random.default_rng(0)
    body = embedded_body("female")
    _, rest = body.rest(NO_BETAS)
    _, posed = body.pose(rng.normal(scale=0.5, size=(20, 72)).astype(np.float32), NO_BETAS)
    child, parent = np.arange(1, JOINT_COUNT), np.array(PARENTS[1:])
    lengths = np.linalg.norm(posed[:, child] - posed[:, parent], axis=-1)
    rest_lengths = np.linalg.norm(rest[child] - rest[parent], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(rest_lengths, lengths.shape), atol=1e-5)


def test_turning_the_root_turns_the_body_about_its_pelvis():
    body = embedded_body("male")
    vertices, joints = body.rest(NO_BETAS)
    pose = np.zeros((1, 72), np.float32)
    pose[0, 1] = np.pi / 2  # about y: +z goes to +x
    turned, turned_joints = body.pose(pose, NO_BETAS)
    centred = vertices - joints[0]
    expected = np.stack([centred[:, 2], centred[:, 1], -centred[:, 0]], axis=1)
    np.testing.assert_allclose(turned[0] - turned_joints[0, 0], expected, atol=1e-5)


def test_a_pose_does_not_depend_on_the_frames_around_it():
    rng = np.random.default_rng(1)
    pose = rng.normal(scale=0.5, size=(20, 72)).astype(np.float32)  # more than one chunk
    body = embedded_body("male")
    together, _ = body.pose(pose, NO_BETAS)
    for t in (0, 15, 16, 19):
        alone, _ = body.pose(pose[t : t + 1], NO_BETAS)
        np.testing.assert_allclose(together[t], alone[0], atol=1e-6)


def test_a_shape_coefficient_changes_the_body_linearly():
    body = embedded_body("male")
    one, two = np.eye(10, dtype=np.float32)[0], 2 * np.eye(10, dtype=np.float32)[0]
    mean, first, second = (body.rest(betas)[0] for betas in (NO_BETAS, one, two))
    assert np.abs(first - mean).max() > 0.01
    np.testing.assert_allclose(second - mean, 2 * (first - mean), atol=1e-5)


def test_weights_that_do_not_sum_to_one_do_not_shrink_the_body(arrays):
    values, write = arrays
    thin = load_body(write(weights=values["weights"].astype(np.float32) * 0.9), "male")
    np.testing.assert_allclose(
        thin.rest(NO_BETAS)[0], embedded_body("male").rest(NO_BETAS)[0], atol=1e-4
    )


def test_nothing_is_printed(arrays, capfd):
    load_body(arrays[1](), "male").rest(NO_BETAS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weights": None}, "lacks 'weights'"),
        ({"kintree_table": np.zeros((2, 22), np.int64)}, r"kintree_table has shape \(2, 22\)"),
        ({"v_template": np.zeros((6890, 2), np.float32)}, "v_template has shape"),
        ({"v_template": np.array([{}], object)}, "not a readable .npz of plain arrays"),
    ],
)
def test_a_file_that_holds_no_body_is_refused(arrays, changes, told):
    path = arrays[1](**changes)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: .*{told}"):
        load_body(path, "male")


def test_a_file_that_is_missing_or_no_archive_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such body file"):
        load_body(tmp_path / "body.npz", "male")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load_body(tmp_path / "text.npz", "male")
