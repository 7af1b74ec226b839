"""CMU's files are not available here: the tests write files in CMU's format."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from helpers.acclaim import (
    BONES,
    DOFS,
    METRES,
    SIDED,
    Angles,
    amc_text,
    asf_text,
    random_angles,
    slow_skeleton,
    standing,
    walking,
    xyz,
)
from helpers.checks import contents, one_line
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tpifu.body.body import embedded_body, load_body
from tpifu.body.skeleton import GENDERS, JOINTS
from tpifu.clips.clip import clip_path, read_clip
from tpifu.errors import DataError
from tpifu.sources.cmu.acclaim import Motion, Skeleton, read_motion, read_skeleton
from tpifu.sources.cmu.retarget import retarget
from tpifu.sources.cmu.takes import ACKNOWLEDGEMENT, TAKES, Take
from tpifu.sources.cmu.tree import write_cmu


def parsed(tmp_path: Path, angles: Angles, position=None) -> tuple[Skeleton, Motion]:
    return read(tmp_path, asf_text(), amc_text(angles, position))


def read(tmp_path: Path, asf: str, amc: str) -> tuple[Skeleton, Motion]:
    (tmp_path / "a.asf").write_bytes(asf.encode())
    (tmp_path / "a.amc").write_bytes(amc.encode())
    skeleton = read_skeleton(tmp_path / "a.asf")
    return skeleton, read_motion(tmp_path / "a.amc", skeleton)


BODY, BETAS = embedded_body("male"), np.linspace(-1, 1, 10).astype(np.float32)
REST = BODY.rest(BETAS)[1]


def posed(tmp_path: Path, angles: Angles) -> Float[np.ndarray, "t 24 3"]:
    """Joints of the embedded body in the retargeted pose."""
    pose = retarget(*parsed(tmp_path, angles), REST)
    return BODY.pose(pose, BETAS)[1].astype(np.float64)


def degrees_between(one, other) -> float:
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return math.degrees(math.acos(min(1.0, cosine)))


def test_the_pinned_takes_are_few_and_split_by_subject():
    assert 25 <= len(TAKES) <= 35  # CMU asks not to crawl
    assert len({take.sequence for take in TAKES}) == len(TAKES)
    subjects = {s: {t.subject for t in TAKES if t.split == s} for s in ("train", "test")}
    assert all(subjects.values())
    assert not subjects["train"] & subjects["test"]
    assert "NSF EIA-0196217" in ACKNOWLEDGEMENT


def test_a_skeleton_is_read_as_written(tmp_path):
    (tmp_path / "a.asf").write_text(asf_text())
    skeleton = read_skeleton(tmp_path / "a.asf")
    assert skeleton.unit == pytest.approx(METRES, rel=1e-5)
    assert set(skeleton.bones) == {"root"} | {bone[0] for bone in BONES}
    seen = set()
    for name in skeleton.bones:
        assert name == "root" or skeleton.parents[name] in seen  # parents first
        seen.add(name)
    for name, parent, direction, _, axis, _ in BONES:
        bone = skeleton.bones[name]
        assert skeleton.parents[name] == parent
        np.testing.assert_allclose(bone.direction, direction, atol=1e-3)
        np.testing.assert_allclose(bone.axis.as_matrix(), xyz(axis), atol=1e-9)
        assert list(bone.turns) == DOFS.get(name, [])


def test_a_motion_is_read_as_written(tmp_path):
    angles = random_angles(3)
    position = np.arange(9.0).reshape(3, 3)
    skeleton, motion = parsed(tmp_path, angles, position=position)
    np.testing.assert_allclose(motion.position, position * METRES, rtol=1e-4)
    for index, name in enumerate(skeleton.bones):
        expected = np.radians(angles[name]) if name in angles else np.zeros((3, 3))
        np.testing.assert_allclose(motion.angles[:, index], expected, atol=1e-7)


def test_formatting_does_not_matter(tmp_path):
    angles = random_angles(2)
    expected = retarget(*parsed(tmp_path, angles), REST)

    def same(asf: str, amc: str):
        pose = retarget(*read(tmp_path, asf, amc), REST)
        np.testing.assert_allclose(pose, expected, atol=1e-6)

    asf, amc = asf_text(), amc_text(angles)
    same(asf.replace("\n", "\r\n"), amc.replace("\n", "\r\n"))
    same(asf.rstrip("\n"), amc.rstrip("\n"))
    same(asf.replace("\n", " # remark\n"), amc.replace("\n", " # remark\n\n"))
    same(asf.upper().replace("LFEMUR", "LFemur"), amc.replace("lfemur", "Lfemur"))
    # Frames may start at any number, and bones may come in any order.
    lines = amc.splitlines()
    second = lines.index("2")
    same(asf, "\n".join([*lines[:3], "7", *lines[4:second][::-1], "8", *lines[second + 1 :]]))


INVALID_ASF = [
    (":bonedata", ":bones", "the bone 'head' is missing"),
    ("  length 0.45\n", "", "has no :units with a length"),
    ("  length 0.45", "  length x", "line 6: could not convert string to float: 'x'"),
    ("  angle deg", "  angle rad", "line 7: the unit of angles is .'rad'., expected deg"),
    ("RX RY RZ\n", "RZ RY RX\n", "the root has .*'tx ty tz rz ry rx'"),
    ("direction 0.34202 -0.939693 0", "direction 0.34202 -0.939693", "2 numbers, expected 3"),
    ("direction 0.34202 -0.939693 0", "direction nan 0 0", "nan is out of range"),
    ("direction 0.34202 -0.939693 0", "direction 5 0 0", "the direction has length 5, expected 1"),
    ("0 0 20   XYZ", "0 0 20   ZYX", "the axis is not in the order XYZ"),
    ("dof rx ry rz", "dof rx ry rx", "dof are not distinct"),
    ("0.45\n     axis 0 90 90", "0.45\n     axis 90 0 0", "'lhand' is parallel to 'lwrist'"),
    ("name rfemur", "name lfemur", "the bone 'rfemur' is missing"),
    ("name rfingers", "name rfinger", "does not connect each bone"),
    ("lfemur ltibia", "lfemur ltibia rfoot", "does not connect each bone to the root once"),
    ("lhipjoint lfemur\n", "\n", "does not connect each bone"),
    ("lhipjoint lfemur\n", "ltoes lfemur\n", "does not connect each bone"),  # a cycle
    (":hierarchy\n", ":hierarchy\nstray lfemur\n", "does not connect each bone"),
]


@pytest.mark.parametrize(("old", "new", "message"), INVALID_ASF)
def test_an_invalid_skeleton_is_rejected(tmp_path, old, new, message):
    path = tmp_path / "a.asf"
    assert old in asf_text()
    path.write_text(asf_text().replace(old, new, 1))
    still = Motion(np.zeros((1, 3)), np.zeros((1, 1 + len(BONES), 3)))
    rejected(lambda: retarget(read_skeleton(path), still, REST), path, message)


INVALID_AMC = [
    (":DEGREES", ":RADIANS", "line 3: ':radians' is neither a frame nor a movable bone"),
    ("lfemur ", "lthigh ", "line 6: 'lthigh' is neither"),
    ("ltibia 1", "ltibia", "0 numbers, expected 1"),
    ("ltibia 1", "ltibia 1e5", "100000 is out of range"),
    ("ltibia 1\n", "", "frame 1 of 3 has no 'ltibia'"),
]


@pytest.mark.parametrize(("old", "new", "message"), INVALID_AMC)
def test_an_invalid_motion_is_rejected(tmp_path, old, new, message):
    (tmp_path / "a.asf").write_text(asf_text())
    skeleton = read_skeleton(tmp_path / "a.asf")
    path = tmp_path / "a.amc"
    text = amc_text({"ltibia": np.ones((3, 3))})
    assert old in text
    path.write_text(text.replace(old, new, 1))
    rejected(lambda: read_motion(path, skeleton), path, message)
    # A truncated file is rejected unless the cut lies between two frames.
    for share in (0.02, 0.5, 0.98):
        path.write_text(text[: int(share * len(text))].rsplit("\n", 1)[0])
        rejected(lambda: read_motion(path, skeleton), path, "no frames|frame . of . has no")


def rejected(read, path: Path, message: str) -> None:
    with one_line(DataError, message) as caught:
        read()
    assert str(path) in str(caught.value)


def test_other_files_are_rejected(tmp_path):
    (tmp_path / "a.asf").write_text(asf_text())
    skeleton = read_skeleton(tmp_path / "a.asf")
    path = tmp_path / "b"
    for content, message in [
        (b"", "no :units|no frames"),
        (b"<html><body>Not found</body></html>", "no :units|neither a frame nor a movable bone"),
    ]:
        path.write_bytes(content)
        rejected(lambda: read_skeleton(path), path, message)
        rejected(lambda: read_motion(path, skeleton), path, message)
    rejected(lambda: read_skeleton(tmp_path), tmp_path, "cannot be read")


# First and last joint, CMU's bone, largest angle in degrees. Four are aligned by construction.
LIMBS = [
    ("shoulder", "elbow", "humerus", 0.05),
    ("elbow", "wrist", "radius", 0.05),
    ("hip", "knee", "femur", 0.05),
    ("knee", "ankle", "tibia", 0.05),
    ("wrist", "hand", "hand", 1),
    ("ankle", "foot", "foot", 6),
]


@pytest.mark.parametrize(
    ("spread", "trunk", "neck", "shoulders"), [(10, 6, 20, 2), (25, 15, 22, 6)]
)
def test_limbs_have_the_directions_of_the_actors(tmp_path, spread, trunk, neck, shoulders):
    angles = random_angles(12, spread=spread)
    joints = posed(tmp_path, angles)

    def limb(frame: int, start: str, end: str):
        return joints[frame, JOINTS.index(end)] - joints[frame, JOINTS.index(start)]

    for frame in range(12):
        actor = slow_skeleton(angles, frame)
        for side in ("left", "right"):
            for start, end, bone, most in LIMBS:
                begin, stop = actor[side[0] + bone]
                found = limb(frame, f"{side}_{start}", f"{side}_{end}")
                assert degrees_between(found, stop - begin) < most
        # The spine's joints lie elsewhere, so these directions differ as the rest poses do, and
        # more so in a bent trunk.
        hips = actor["lfemur"][0] - actor["rfemur"][0]
        assert degrees_between(limb(frame, "right_hip", "left_hip"), hips) < 0.1
        back = actor["thorax"][1] - actor["lowerback"][0]
        assert degrees_between(limb(frame, "pelvis", "neck"), back) < trunk
        nape = actor["upperneck"][1] - actor["lowerneck"][0]
        assert degrees_between(limb(frame, "neck", "head"), nape) < neck
        across = actor["lhumerus"][0] - actor["rhumerus"][0]
        assert degrees_between(limb(frame, "right_shoulder", "left_shoulder"), across) < shoulders


ROTATED = (
    "root:pelvis lowerback:spine1 upperback:spine2 thorax:spine3 lowerneck:neck head:head "
    "lclavicle:left_collar rhumerus:right_shoulder lradius:left_elbow lhand:left_wrist "
    "rfemur:right_hip ltibia:left_knee rfoot:right_ankle ltoes:left_foot"
)


@pytest.mark.parametrize(
    ("bone", "turned"),
    [
        *[(bone, {joint: 20}) for bone, joint in (pair.split(":") for pair in ROTATED.split())],
        ("upperneck", {"neck": 10, "head": 10}),
        ("rwrist", {"right_elbow": 10, "right_wrist": 10}),
        ("lfingers", {}),
        ("rthumb", {}),
    ],
)
def test_a_bone_rotates_the_joint_at_its_start(tmp_path, bone, turned):
    angles = np.zeros((2, 3))
    angles[1, DOFS[bone][0]] = 20
    pose = retarget(*parsed(tmp_path, {bone: angles}), REST)
    still, moved = (Rotation.from_rotvec(frame.reshape(24, 3)) for frame in pose)
    found = np.degrees((still.inv() * moved).magnitude())
    np.testing.assert_allclose(found, [turned.get(joint, 0) for joint in JOINTS], atol=0.01)


def orientation(pose: Float[np.ndarray, "1 72"], joint: str) -> Rotation:
    """Orientation in the world, along the chain from the root."""
    arm = ("left_collar", "left_shoulder", "left_elbow", "left_wrist")
    chain = {"head": ("neck", "head"), "left_wrist": arm}[joint]
    turn = Rotation.identity()
    for name in ("pelvis", "spine1", "spine2", "spine3", *chain):
        turn = turn * local(pose, name)
    return turn


def local(pose: Float[np.ndarray, "1 72"], joint: str) -> Rotation:
    return Rotation.from_rotvec(pose.reshape(24, 3)[JOINTS.index(joint)])


def test_the_whole_forearm_shares_the_roll_of_the_palm(tmp_path):
    for roll in (0.0, -50.0, 80.0):
        angles = {"lwrist": np.array([[0.0, roll, 0.0]]), "root": np.zeros((1, 3))}
        pose = retarget(*parsed(tmp_path, angles), REST)
        # About -x, where 0 is a palm facing down.
        palm = orientation(pose, "left_wrist").as_rotvec(degrees=True)
        np.testing.assert_allclose(palm, [-roll, 0, 0], atol=0.1)
        wrist, elbow = (local(pose, f"left_{joint}").as_rotvec() for joint in ("wrist", "elbow"))
        np.testing.assert_allclose(wrist, elbow, atol=1e-2)


def test_a_standing_actor_stands_upright_facing_z(tmp_path):
    pose = retarget(*parsed(tmp_path, standing()), REST)
    vertices, joints = BODY.pose(pose, BETAS)
    at = dict(zip(JOINTS, joints[0], strict=True))
    assert np.ptp(vertices[0, :, 1]) == pytest.approx(np.ptp(BODY.rest(BETAS)[0][:, 1]), rel=0.02)
    assert np.abs((at["head"] - at["pelvis"])[[0, 2]]).max() < 0.1
    assert at["left_hip"][0] > 0 > at["right_hip"][0]
    assert at["left_foot"][2] - at["left_ankle"][2] > 0.1
    # The soles are flat on the floor: the lowest slice of the body is as long as a foot.
    sole = vertices[0][vertices[0, :, 1] < vertices[0, :, 1].min() + 0.03]
    assert np.ptp(sole[:, 2]) > 0.18
    # The head is level when CMU's angles bend it forward by 15 degrees.
    nodding = {"head": np.array([[15.0, 0.0, 0.0]])} | standing()
    pose = retarget(*parsed(tmp_path, nodding), REST)
    assert orientation(pose, "head").magnitude() < 1e-4


def test_an_elbow_bends_to_the_front_of_the_upper_arm(tmp_path):
    """CMU's elbow bends forward and up by 30 degrees in the T-pose, SMPL's bends forward."""
    angles = {"lradius": np.array([[90.0, 0, 0]]), "root": np.zeros((1, 3))}
    pose = retarget(*parsed(tmp_path, angles), REST)
    joints = dict(zip(JOINTS, BODY.pose(pose, BETAS)[1][0], strict=True))
    forearm = joints["left_wrist"] - joints["left_elbow"]
    assert degrees_between(forearm, np.array([0, 0.5, 0.866])) < 0.1
    assert local(pose, "left_elbow").apply([1.0, 0, 0]) == pytest.approx([0, 0, 1], abs=5e-3)


def test_a_mirrored_motion_gives_the_mirrored_pose(tmp_path):
    angles = random_angles(4)

    def other(name: str) -> str:
        sided = name[1:] in {bone[0] for bone in SIDED}
        return {"l": "r", "r": "l"}[name[0]] + name[1:] if sided else name

    mirrored = {other(name): value * [1, -1, -1] for name, value in angles.items()}
    sides = {"left": "right", "right": "left"}
    swapped = [re.sub("left|right", lambda side: sides[side[0]], name) for name in JOINTS]
    swap = [JOINTS.index(name) for name in swapped]
    symmetric = (REST + REST[swap] * [-1, 1, 1]) / 2
    pose = retarget(*parsed(tmp_path, angles), symmetric)
    found = retarget(*parsed(tmp_path, mirrored), symmetric)
    expected = pose.reshape(-1, 24, 3)[:, swap] * [1, -1, -1]
    np.testing.assert_allclose(found.reshape(-1, 24, 3), expected, atol=1e-4)


FRAME_STEP = 4
"""From CMU's 120 frames per second to SURREAL's 30."""
CHOSEN = (
    Take("train", 7, 1, "walk"),
    Take("train", 7, 2, "walk"),
    Take("train", 9, 1, "run"),
    Take("test", 118, 3, "jump"),
)


@pytest.fixture(scope="module")
def takes(tmp_path_factory) -> Path:
    """07_01 gives clips of 100 and 12 frames, 07_02 one of 100 and drops its last 9 frames. 09_01
    is invalid."""
    folder = tmp_path_factory.mktemp("takes")
    for subject in ("07", "09", "118"):
        (folder / subject).mkdir()
        (folder / subject / f"{subject}.asf").write_text(asf_text())
    for name, frames in (("07_01", 112), ("07_02", 109), ("118_03", 10)):
        angles = walking(FRAME_STEP * frames - 3)
        path = np.linspace([0, 17, 0], [0, 17, 60], FRAME_STEP * frames - 3)
        (folder / name.split("_")[0] / f"{name}.amc").write_text(amc_text(angles, path))
    (folder / "09" / "09_01.amc").write_text(amc_text(walking(60)) + "61\nroot 1 2 3\n")
    return folder


@pytest.fixture(scope="module")
def tree(takes, tmp_path_factory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("cmu") / "tree"
    return out, write(out, takes, jobs=1)


def write(out: Path, takes: Path, jobs: int) -> list[str]:
    chosen = [take.files(takes) for take in CHOSEN]
    return write_cmu(out, chosen, frame_rate=120, seed=3, jobs=jobs)


def test_takes_become_clips_of_at_most_a_hundred_frames(tree):
    out, problems = tree
    found = {
        path.relative_to(out / "cmu").as_posix(): len(read_clip(path).pose)
        for path in out.glob("cmu/*/*/*/*")
    }
    assert found == {
        "train/run0/07_01/07_01_c0001_info.mat": 100,
        "train/run0/07_01/07_01_c0002_info.mat": 12,
        "train/run0/07_02/07_02_c0001_info.mat": 100,
        "test/run0/118_03/118_03_c0001_info.mat": 10,
    }
    (problem,) = problems
    assert "09_01.amc: line" in problem
    assert "3 numbers, expected 6" in problem
    clips = {path.parent.name: read_clip(path) for path in out.glob("cmu/*/*/*/*")}
    assert clips["07_01"].gender == clips["07_02"].gender  # one body per subject
    np.testing.assert_array_equal(clips["07_01"].betas, clips["07_02"].betas)
    assert not np.array_equal(clips["07_01"].betas, clips["118_03"].betas)
    for gender in GENDERS:
        body = load_body(out / "smpl" / f"{gender}.npz")
        np.testing.assert_array_equal(body.faces, embedded_body(gender).faces)


def test_clips_hold_every_fourth_frame_of_the_take_turned_by_zrot(tree, takes):
    out, _ = tree
    skeleton = read_skeleton(takes / "07" / "07.asf")
    motion = read_motion(takes / "07" / "07_01.amc", skeleton)
    zrots = []
    for number, frames in ((1, slice(0, 400, 4)), (2, slice(400, 446, 4))):
        path = clip_path(out, "train", "run0", "07_01", number)
        clip = read_clip(path)
        body = embedded_body(clip.gender)
        rest = body.rest(clip.betas)[1]
        part = Motion(motion.position[frames], motion.angles[frames])
        pose = retarget(skeleton, part, rest)
        np.testing.assert_allclose(clip.pose[:, 3:], pose[:, 3:], atol=1e-5)
        # SURREAL stores the actor's heading; zrot rotates it about the vertical.
        fields = scipy.io.loadmat(path)
        zrots.append(fields["zrot"][0, 0])
        own = Rotation.from_euler("x", 90, degrees=True) * Rotation.from_rotvec(pose[:, :3])
        stored = Rotation.from_rotvec(fields["pose"][:3].T)
        assert (own.inv() * stored).magnitude().max() < 1e-5
        turn = Rotation.from_euler("y", float(zrots[-1]))
        np.testing.assert_allclose(clip.joints[:, 0], turn.apply(part.position), atol=1e-4)
        # The joints are the embedded body's.
        joints = body.pose(clip.pose, clip.betas)[1]
        np.testing.assert_allclose(
            clip.joints - clip.joints[:, :1], joints - joints[:, :1], atol=1e-4
        )
    assert zrots[0] != zrots[1]


def test_any_number_of_workers_writes_the_same_bytes(tree, takes, tmp_path):
    out, problems = tree
    assert write(tmp_path / "tree", takes, jobs=2) == problems
    assert len(contents(out)) == 4 + 2
    assert contents(out) == contents(tmp_path / "tree")
