import shutil
import tracemalloc
from collections import Counter
from importlib import resources

import numpy as np
import pytest
import scipy.io
from scipy.spatial.transform import Rotation

from tpifu.body.body import embedded_body
from tpifu.clips.clip import Clip, clip_name, clip_path, read_clip, write_clip
from tpifu.clips.matfile import UnusableClip
from tpifu.clips.splits import VALIDATION_SUBJECTS, choose_clips, matches, subject_of
from tpifu.config import Data, Synthetic
from tpifu.errors import DataError
from tpifu.prepare.meshes import REST_HEIGHT, centred_meshes, export_meshes
from tpifu.shards.meshes import MeshReader
from tpifu.sources.tree import write_tree

EXTREMES = np.array([0, 1, 9, 14, 15, 2**16, 2**28, 2**31 - 1, 2**31, 2**32 - 1])
# facts of the released files: name -> shape for a clip of T frames.
FIELDS = {
    "pose": (72, "T"),
    "shape": (10, "T"),
    "gender": ("T", 1),
    "zrot": ("T", 1),
    "joints3D": (3, 24, "T"),
    "joints2D": (2, 24, "T"),
    "camLoc": (3, 1),
    "camDist": (1, 1),
    "clipNo": (1, 1),
    "sequence": (1,),
    "source": (1,),
    "stride": (1, 1),
    "light": (9, 100),
    "bg": (1, "T"),
    "cloth": (1, "T"),
}


def clip(frames=6, seed=0, gender="female", sequence="01_walk") -> Clip:
    rng = np.random.default_rng(seed)
    pose = rng.normal(scale=0.5, size=(frames, 72)).astype(np.float32)
    betas = rng.normal(size=10).clip(-2, 2).astype(np.float32)
    _, joints = embedded_body(gender).pose(pose, betas)
    travel = rng.normal(size=(frames, 1, 3)).astype(np.float32)
    return Clip(sequence, 1, gender, betas, pose, joints + travel)


def stored(tmp_path, of: Clip, zrot=0.7):
    path = clip_path(tmp_path, "train", "run0", of.sequence, of.number)
    write_clip(path, of, zrot=zrot, camera_distance=8.0)
    return path


def change(path, **fields):
    """Rewrite a stored clip with other fields; None drops one."""
    values = {name: v for name, v in scipy.io.loadmat(path).items() if not name.startswith("__")}
    values = {name: v for name, v in {**values, **fields}.items() if v is not None}
    scipy.io.savemat(path, values)
    return path


def same_motion(found: Clip, given: Clip):
    for name in ("sequence", "number", "gender"):
        assert getattr(found, name) == getattr(given, name)
    np.testing.assert_allclose(found.betas, given.betas, atol=1e-6)
    np.testing.assert_allclose(found.joints, given.joints, atol=1e-5)
    # Axis-angles of one rotation may differ by 2 pi: compare the rotations.
    turns = Rotation.from_rotvec(found.pose.reshape(-1, 3)).inv() * Rotation.from_rotvec(
        given.pose.reshape(-1, 3)
    )
    assert turns.magnitude().max() < 1e-5


@pytest.mark.parametrize("gender", ["female", "male"])
@pytest.mark.parametrize("zrot", [0.0, 2.5, -40.0])
def test_a_clip_comes_back_as_written(tmp_path, gender, zrot):
    given = clip(gender=gender)
    same_motion(read_clip(stored(tmp_path, given, zrot)), given)


@pytest.mark.parametrize("frames", [1, 2, 100])
def test_a_stored_clip_has_every_field_of_surreal(tmp_path, frames):
    path = stored(tmp_path, clip(frames))
    assert path.relative_to(tmp_path).as_posix() == (
        "cmu/train/run0/01_walk/01_walk_c0001_info.mat"
    )
    fields = scipy.io.loadmat(path)
    shapes = {n: fields[n].shape for n in fields if not n.startswith("__")}
    expected = {
        name: tuple(frames if size == "T" else size for size in shape)
        for name, shape in FIELDS.items()
    }
    if frames == 1:  # MATLAB drops trailing singleton axes; scipy may keep them
        expected |= {n: shapes[n] for n in ("joints3D", "joints2D")}
    assert shapes == expected
    assert str(fields["sequence"][0]) == "01_walk_c0001"
    same_motion(read_clip(path), clip(frames))


def test_the_stored_conventions_are_those_of_surreal(tmp_path):
    given = clip(gender="male")
    fields = scipy.io.loadmat(stored(tmp_path, given, 0.7))
    assert (fields["gender"] == 1).all()  # 0 female, 1 male
    np.testing.assert_allclose(fields["zrot"], 0.7)
    np.testing.assert_allclose(  # a y-down world
        fields["joints3D"].transpose(2, 1, 0) * [1, -1, -1], given.joints, atol=1e-5
    )
    # Blender's root, R = Rx(90) Rz(zrot) R(pose), poses the body into that y-down world.
    root = (
        Rotation.from_euler("x", 90, degrees=True)
        * Rotation.from_euler("z", 0.7)
        * Rotation.from_rotvec(fields["pose"][:3].T)
    )
    pose = fields["pose"].T.copy()
    pose[:, :3] = root.as_rotvec()
    _, joints = embedded_body("male").pose(pose.astype(np.float32), given.betas)
    offsets = joints - joints[:, :1]
    stored_joints = fields["joints3D"].transpose(2, 1, 0)
    np.testing.assert_allclose(offsets, stored_joints - stored_joints[:, :1], atol=1e-4)


def test_pixels_are_the_projection_of_the_joints(tmp_path):
    fields = scipy.io.loadmat(stored(tmp_path, clip()))
    joints, location = fields["joints3D"].transpose(2, 1, 0), fields["camLoc"].ravel()
    mirrored = np.array([[0, 0, -1], [0, 1, 0], [-1, 0, 0]])  # determinant -1
    seen = (joints - location) @ mirrored.T
    pixels = 600 * seen[..., :2] / seen[..., 2:] + [160, 120]
    np.testing.assert_allclose(fields["joints2D"].transpose(2, 1, 0), pixels, atol=0.51)


def test_files_written_twice_are_byte_equal(tmp_path):
    one, two = stored(tmp_path / "a", clip()), stored(tmp_path / "b", clip())
    assert one.read_bytes() == two.read_bytes()
    assert [path.name for path in one.parent.iterdir()] == [one.name]


def test_a_clip_of_one_frame_without_its_last_axis_is_read(tmp_path):
    given = clip(1)
    path = stored(tmp_path, given)
    fields = scipy.io.loadmat(path)
    change(path, joints3D=fields["joints3D"].reshape(3, 24))
    same_motion(read_clip(path), given)


def test_more_shape_coefficients_than_ten_are_cut(tmp_path):
    given = clip()
    path = stored(tmp_path, given)
    more = np.vstack([np.repeat(given.betas[:, None], 6, axis=1), np.ones((290, 6))])
    same_motion(read_clip(change(path, shape=more)), given)


def test_a_clip_that_cannot_be_used_says_why(tmp_path):
    path = stored(tmp_path, clip())
    whole = path.read_bytes()

    def refused(told):
        with pytest.raises(DataError, match=told) as caught:
            read_clip(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    for name in ("pose", "shape", "gender", "zrot", "joints3D"):
        path.write_bytes(whole)
        change(path, **{name: None})
        refused(f"lacks {name}")
    bad = np.full((72, 6), np.nan)
    for fields, told in [
        ({"gender": np.full((6, 1), 7)}, "gender is 7"),
        ({"gender": np.array([[0], [1], [0], [0], [0], [0]])}, r"gender is 0, 1, expected"),
        ({"pose": bad}, "pose holds values that are not finite"),
        ({"joints3D": 1e9 * np.ones((3, 24, 6))}, "joints3D holds values .* beyond belief"),
        ({"joints3D": np.zeros((3, 24, 6))}, "all joints of a frame are zero"),
        ({"shape": np.full((10, 6), 5.5)}, "shape coefficient beyond 5"),
        ({"shape": np.zeros((9, 6))}, "9 shape coefficients, expected 10"),
        ({"joints3D": np.zeros((3, 24, 5))}, "fields disagree about the number of frames"),
        ({"pose": np.zeros((71, 6))}, r"pose is double of shape \(71, 6\), no clip's"),
        ({"pose": "text"}, r"pose is char of shape \(1,\)"),
        ({"zrot": np.array([["plain"]], object)}, "zrot is cell of shape"),
    ]:
        path.write_bytes(whole)
        change(path, **fields)
        refused(told)
    cut = whole[: whole.index(b"joints3D") + 100]
    for content in (b"", b"<html>login</html>", whole[:500], cut):
        path.write_bytes(content)
        refused("not a readable SURREAL clip")


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path):
    path = stored(tmp_path, clip())
    fields = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    scipy.io.savemat(path, {**fields, "light": np.zeros(2**24)}, do_compression=True)
    assert path.stat().st_size < 2**20
    with pytest.raises(UnusableClip, match="unpacks to more than 67,108,864 bytes") as caught:
        read_clip(path)
    assert caught.value.reason == "unreadable"


def test_a_field_that_claims_to_be_huge_is_not_made(tmp_path):
    path = stored(tmp_path, clip())
    content = bytearray(path.read_bytes())
    # Just before the name, whose tag has four bytes, are the dimensions.
    at = content.index(b"zrot") - 12
    assert np.frombuffer(content[at : at + 8], "<i4").tolist() == [6, 1]
    content[at : at + 8] = np.array([2**30, 4], "<i4").tobytes()
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UnusableClip, match=r"zrot is single of shape \(1073741824, 4\)"):
        read_clip(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_compressed_files_are_read(tmp_path):
    given = clip()
    path = stored(tmp_path, given)
    fields = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    scipy.io.savemat(path, fields, do_compression=True)
    same_motion(read_clip(path), given)


@pytest.mark.parametrize("compressed", [False, True])
def test_mutated_files_are_read_or_refused_in_little_memory(ends, tmp_path, compressed):
    path = stored(tmp_path, clip(2))
    fields = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    fields = {name: fields[name] for name in ("pose", "shape", "gender", "zrot", "joints3D", "bg")}
    scipy.io.savemat(path, fields, do_compression=compressed)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes: Counter[str] = Counter()
    for number in range(800):
        content = bytearray(whole)
        # Half of them in the headers, where sizes and types are.
        for _ in range(rng.integers(1, 5)):
            end = 400 if number % 2 else len(content)
            at = int(rng.integers(120, end))
            kind = rng.integers(4)
            if kind == 0:
                content[at] = rng.integers(256)
            elif kind == 1:
                content[at : at + 4] = rng.choice(EXTREMES).astype("<u4").tobytes()
            elif kind == 2:
                del content[at : at + int(rng.integers(1, 50))]
            else:
                content[at:at] = content[at : at + int(rng.integers(1, 50))]
        path.write_bytes(content)
        if number % 10 == 0:
            tracemalloc.start()
        try:
            read_clip(path)
            outcomes["read"] += 1
        except UnusableClip as unusable:
            outcomes[unusable.reason] += 1
        if number % 10 == 0:
            assert tracemalloc.get_traced_memory()[1] < 2**28
            tracemalloc.stop()
    assert outcomes["unreadable"] > 50
    # Not all of it fails at the door; compressed, a checksum guards every byte.
    assert compressed or len(outcomes) > 2


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surreal") / "tree"
    data = Data(synthetic=Synthetic(train_subjects=3, test_subjects=2))
    write_tree(folder, data, 0, cache=folder, environment={}, jobs=1)
    return folder


SMALL = Data(train_meshes=40, validation_meshes=16, test_meshes=25, unseen_meshes=12)


def test_splits_have_their_number_of_meshes_and_share_no_sequence(tree):
    choice = choose_clips(tree, SMALL, seed=0)
    assert choice.skipped == []
    sequences = {}
    for split, wanted in (
        ("train", 40),
        ("validation", 16),
        ("test", 25),
        ("unseen_motion", 12),
    ):
        own = [(path, kept) for at, path, kept in choice.clips if at == split]
        assert sum(kept for _, kept in own) == wanted
        sequences[split] = {path.parent.name for path, _ in own}
        unseen = {name.endswith(("_kick", "_lunge")) for name in sequences[split]}
        assert unseen == {split == "unseen_motion"}
    assert not sequences["train"] & sequences["test"]
    assert not sequences["test"] & sequences["unseen_motion"]
    assert choice.clips == choose_clips(tree, SMALL, seed=0).clips
    assert choice.clips != choose_clips(tree, SMALL, seed=1).clips


def test_clips_are_whole_but_for_the_last_of_a_split(tree):
    cut = 0
    for _, path, kept in choose_clips(tree, SMALL, seed=0).clips:
        frames = -(-len(read_clip(path).pose) // SMALL.frame_step)
        assert kept <= frames
        cut += kept < frames
    assert cut <= 4


def subjects(choice, split):
    return {subject_of(path.parent.name) for at, path, _ in choice.clips if at == split}


def motions(choice, split):
    return {path.parent.name.partition("_")[2] for at, path, _ in choice.clips if at == split}


@pytest.mark.parametrize(
    ("sequence", "subject"),
    [("01_01", "01"), ("ung_104_46", "104"), ("03_jumping_jack", "03"), ("143_21", "143")],
)
def test_a_sequence_names_its_subject(sequence, subject):
    assert subject_of(sequence) == subject


@pytest.mark.parametrize("seed", range(5))
def test_validation_has_training_subjects_to_itself(tree, seed):
    data = Data.model_validate({**SMALL.model_dump(), "validation_meshes": 50})
    choice = choose_clips(tree, data, seed)
    own = [(path, kept) for split, path, kept in choice.clips if split == "validation"]
    assert sum(kept for _, kept in own) == 50
    assert all(path.is_relative_to(tree / "cmu" / "train") for path, _ in own)
    assert len(subjects(choice, "validation")) == VALIDATION_SUBJECTS
    assert not subjects(choice, "validation") & subjects(choice, "train")
    # No clip has more than 20 kept frames, and a subject performs every motion once.
    assert len(motions(choice, "validation")) >= 2
    assert not motions(choice, "validation") & {"kick", "lunge"}


def test_a_subject_whom_training_needs_is_not_validated_on(tree):
    paths = sorted((tree / "cmu" / "train").glob("run*/*/*_info.mat"))
    frames = Counter()
    for path in paths:
        if not matches(path.parent.name, SMALL.unseen):
            kept = -(-len(read_clip(path).pose) // SMALL.frame_step)
            frames[subject_of(path.parent.name)] += kept
    # All but the smallest: no one else can be spared.
    smallest = min(frames, key=frames.__getitem__)
    most = frames.total() - frames[smallest]
    data = Data.model_validate({**SMALL.model_dump(), "train_meshes": most})
    for seed in range(5):
        choice = choose_clips(tree, data, seed)
        assert subjects(choice, "validation") == {smallest}
    greedy = Data.model_validate({**data.model_dump(), "train_meshes": most + 1})
    with pytest.raises(DataError, match=r"validation has 0 of 16 .* lower data.validation_meshes"):
        choose_clips(tree, greedy, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_clips_that_no_split_takes_are_not_needed(tree, tmp_path, seed):
    """As the download leaves them out."""
    crowd = copy_of(tree, tmp_path)
    for walk in sorted((crowd / "cmu" / "train" / "run0").iterdir()):
        for number in (10, 20):
            name = f"{number + int(walk.name[:2])}{walk.name[2:]}"
            shutil.copytree(walk, walk.with_name(name))
            for path in walk.with_name(name).iterdir():
                path.rename(path.with_name(path.name.replace(walk.name, name)))
    data = Data.model_validate({**SMALL.model_dump(), "validation_meshes": 50})
    whole = choose_clips(crowd, data, seed)
    for path in crowd.rglob("*_info.mat"):
        if path not in {path for _, path, _ in whole.clips}:
            path.unlink()
    part = choose_clips(crowd, data, seed)
    assert subjects(part, "validation") == subjects(whole, "validation")
    assert not subjects(part, "train") & subjects(part, "validation")
    kept = Counter()
    for split, _, count in part.clips:
        kept[split] += count
    assert kept == {"train": 40, "validation": 50, "test": 25, "unseen_motion": 12}


@pytest.mark.parametrize("validation_meshes", [0, 16, 60])
def test_validation_leaves_the_test_splits_as_they_are(tree, validation_meshes):
    data = Data.model_validate({**SMALL.model_dump(), "validation_meshes": validation_meshes})
    choice = choose_clips(tree, data, seed=0)
    paths = sorted((tree / "cmu" / "test").glob("run*/*/*_info.mat"))
    # Drawn as before there was a validation split.
    for number, split, wanted in ((1, "test", 25), (2, "unseen_motion", 12)):
        unseen = split == "unseen_motion"
        own = [path for path in paths if matches(path.parent.name, data.unseen) == unseen]
        expected, remaining = [], wanted
        for index in np.random.default_rng([0, number]).permutation(len(own)):
            kept = min(-(-len(read_clip(own[index]).pose) // data.frame_step), remaining)
            if kept:
                expected.append((split, own[index], kept))
            remaining -= kept
        assert sorted(expected) == sorted(clip for clip in choice.clips if clip[0] == split)


def test_no_validation_leaves_all_subjects_to_training(tree):
    choice = choose_clips(
        tree, Data.model_validate({**SMALL.model_dump(), "validation_meshes": 0}), seed=0
    )
    assert {split for split, _, _ in choice.clips} == {"train", "test", "unseen_motion"}
    paths = sorted((tree / "cmu" / "train").glob("run*/*/*_info.mat"))
    seen = [path for path in paths if not matches(path.parent.name, SMALL.unseen)]
    first = seen[np.random.default_rng([0, 0]).permutation(len(seen))[0]]
    assert first in {path for split, path, _ in choice.clips if split == "train"}


def test_a_validation_clip_that_is_broken_is_skipped_and_its_subject_stays_out(tree, tmp_path):
    broken = copy_of(tree, tmp_path)
    whole = choose_clips(tree, SMALL, seed=0)
    first = next(path for split, path, _ in whole.clips if split == "validation")
    (broken / first.relative_to(tree)).write_bytes(b"")
    generous = Data.model_validate({**SMALL.model_dump(), "max_skipped": 0.5})
    choice = choose_clips(broken, generous, seed=0)
    assert [clip.path for clip in choice.skipped] == [broken / first.relative_to(tree)]
    assert subjects(choice, "validation") == subjects(whole, "validation")
    assert subject_of(first.parent.name) not in subjects(choice, "train")
    assert sum(kept for split, _, kept in choice.clips if split == "validation") == 16


def copy_of(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "tree")


def test_unreadable_clips_are_skipped_counted_and_at_last_an_error(tree, tmp_path):
    broken = copy_of(tree, tmp_path)
    first = choose_clips(tree, SMALL, seed=0).clips[0][1].relative_to(tree)
    (broken / first).write_bytes(b"")
    generous = Data.model_validate({**SMALL.model_dump(), "max_skipped": 0.5})
    choice = choose_clips(broken, generous, seed=0)
    assert len(choice.skipped) == 1
    assert (choice.skipped[0].path, choice.skipped[0].reason) == (broken / first, "unreadable")
    assert sum(kept for split, _, kept in choice.clips if split == "train") == 40
    with pytest.raises(DataError, match=r"1 clips unusable \(\d+%, data.max_skipped is 5%\)"):
        choose_clips(broken, SMALL, seed=0)


def test_a_tree_that_is_missing_or_too_small_is_named(tree, tmp_path):
    with pytest.raises(DataError, match=r"cmu/train: no \*_info\.mat there; run the download"):
        choose_clips(tmp_path, SMALL, seed=0)
    with pytest.raises(DataError, match=r"train has \d+ of 9999 meshes; lower data.train_meshes"):
        choose_clips(tree, Data(train_meshes=9999), seed=0)


def test_a_sequence_in_two_splits_is_refused(tree, tmp_path):
    leaking = copy_of(tree, tmp_path)
    walk = next((leaking / "cmu" / "train" / "run0").glob("*_walk"))
    shutil.copytree(walk, leaking / "cmu" / "test" / "run0" / walk.name)
    with pytest.raises(DataError, match=f"sequence {walk.name} is in train and in test"):
        choose_clips(leaking, SMALL, seed=0)


def test_exported_meshes_are_centred_upright_and_of_one_size(tree, tmp_path):
    export_meshes(tree, tmp_path / "meshes", SMALL, 0, jobs=1)
    reader = MeshReader(tmp_path / "meshes")
    assert len(reader.shards) == 40 + 16 + 25 + 12
    assert reader.shards.metadata["frame_step"] == 5
    for clip in reader.clips()[:4]:
        for frame in clip.read():
            assert frame.source_frame == 5 * frame.frame
            path = clip_path(tree, "test", "run0", frame.sequence, 1)
            path = path if path.exists() else clip_path(tree, "train", "run0", frame.sequence, 1)
            assert frame.clip == clip_name(path)
            source = read_clip(path)
            body = embedded_body(source.gender)
            scale = REST_HEIGHT / np.ptp(body.rest(source.betas)[0][:, 1])
            # The mesh is where the clip's own stored joints say.
            _, joints = body.pose(source.pose[[frame.source_frame]], source.betas)
            place = joints[0] - joints[0, 0]
            stored_joints = source.joints[frame.source_frame]
            np.testing.assert_allclose(place, stored_joints - stored_joints[0], atol=1e-4)
            vertices, _ = body.pose(source.pose[[frame.source_frame]], source.betas)
            np.testing.assert_allclose(
                frame.mesh.vertices, (vertices[0] - joints[0, 0]) * scale, atol=1e-5
            )


def test_any_number_of_workers_writes_the_same_bytes(tree, tmp_path):
    for jobs in (1, 2):
        export_meshes(tree, tmp_path / str(jobs), SMALL, 0, jobs=jobs)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()


def test_a_crouching_body_keeps_its_size():
    body = embedded_body("male")
    betas = np.zeros(10, np.float32)
    pose = np.zeros((2, 72), np.float32)
    pose[1, [3, 6]] = -2.0  # hips
    pose[1, [12, 15]] = 2.0  # knees
    standing, crouching = centred_meshes(body, pose, betas)
    assert np.ptp(standing.vertices[:, 1]) == pytest.approx(REST_HEIGHT, abs=1e-4)
    assert np.ptp(crouching.vertices[:, 1]) < 1.4
    head = standing.vertices[:, 1].argmax()

    def neck_to_head(mesh):
        return np.linalg.norm(mesh.vertices[head] - mesh.vertices[mesh.vertices[:, 0].argmax()])

    assert neck_to_head(standing) == pytest.approx(neck_to_head(crouching), rel=0.02)


@pytest.mark.parametrize("zrot", [0.0, 2.5])
def test_stored_joints_keep_their_rest_offsets_through_a_clip(tmp_path, zrot):
    """Turned back by the orientations of their parents, joints hang where the rest pose has them:
    in every frame the same place. A root in another order fails by decimetres."""
    given = clip(frames=30, seed=3)
    fields = scipy.io.loadmat(stored(tmp_path, given, zrot))
    joints = fields["joints3D"].transpose(2, 1, 0).astype(np.float64)
    pose = fields["pose"].T.reshape(-1, 24, 3).astype(np.float64)
    parents = np.load(resources.files("tpifu.body") / "assets/body_female.npz", allow_pickle=False)[
        "kintree_table"
    ][0]

    def spread(root: Rotation) -> float:
        turned = [root * Rotation.from_rotvec(pose[:, 0])]
        offsets = []
        for joint in range(1, 24):
            parent = int(parents[joint])
            offsets.append(turned[parent].inv().apply(joints[:, joint] - joints[:, parent]))
            turned.append(turned[parent] * Rotation.from_rotvec(pose[:, joint]))
        return float(np.ptp(np.array(offsets), axis=1).max())

    down, yaw = Rotation.from_euler("x", 90, degrees=True), Rotation.from_euler("z", zrot)
    assert spread(down * yaw) < 1e-4
    for wrong in (down, yaw * down, down.inv() * yaw, Rotation.identity()):
        if zrot or wrong.approx_equal(down.inv()) or wrong.approx_equal(Rotation.identity()):
            assert spread(wrong) > 0.05


@pytest.mark.parametrize("zrot", [0.0, 1.0, 2.0, 4.0, 6.0])
def test_a_standing_body_stands_upright_in_all_yaws(tmp_path, zrot):
    pose = np.zeros((2, 72), np.float32)
    betas = np.zeros(10, np.float32)
    body = embedded_body("male")
    turn = Rotation.from_euler("y", zrot)
    pose[:, :3] = turn.as_rotvec()
    _, joints = body.pose(pose, betas)
    standing = Clip("01_stand", 1, "male", betas, pose, joints)
    found = read_clip(stored(tmp_path, standing, zrot))
    # In the file the yaw is apart: the z-up root has none left.
    fields = scipy.io.loadmat(tmp_path / "cmu/train/run0/01_stand/01_stand_c0001_info.mat")
    np.testing.assert_allclose(fields["pose"][:3, 0], [np.pi / 2, 0, 0], atol=1e-5)
    (mesh, _) = centred_meshes(body, found.pose, found.betas)
    assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(REST_HEIGHT, abs=1e-4)
    # Arms to the sides of where it faces: their span lies across (sin, 0, cos) of the yaw.
    facing = turn.apply([0.0, 0.0, 1.0])
    assert np.ptp(mesh.vertices @ turn.apply([1.0, 0.0, 0.0])) > 1.4
    assert np.ptp(mesh.vertices @ facing) < 0.6
