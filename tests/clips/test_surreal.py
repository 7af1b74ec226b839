import struct
import tracemalloc
import zlib
from collections import Counter

import numpy as np
import pytest
import scipy.io
from helpers.checks import one_line
from scipy.spatial.transform import Rotation

from tpifu.body.body import embedded_body
from tpifu.clips import matfile
from tpifu.clips.clip import Clip, clip_path, read_clip, write_clip
from tpifu.clips.matfile import UnusableClip
from tpifu.errors import DataError

EXTREMES = np.array([0, 1, 9, 14, 15, 2**16, 2**28, 2**31 - 1, 2**31, 2**32 - 1])
# Fields of the released files: name -> shape for a clip of T frames.
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


def fields_of(path):
    return {name: v for name, v in scipy.io.loadmat(path).items() if not name.startswith("__")}


def change(path, **fields):
    """Replace fields of a stored clip; None removes a field."""
    values = {**fields_of(path), **fields}
    scipy.io.savemat(path, {name: v for name, v in values.items() if v is not None})
    return path


def same_motion(found: Clip, given: Clip):
    for name in ("sequence", "number", "gender"):
        assert getattr(found, name) == getattr(given, name)
    np.testing.assert_allclose(found.betas, given.betas, atol=1e-6)
    np.testing.assert_allclose(found.joints, given.joints, atol=1e-5)
    # Compare rotations, because axis-angles of one rotation may differ by 2 pi.
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
    fields = fields_of(path)
    shapes = {name: field.shape for name, field in fields.items()}
    expected = {
        name: tuple(frames if size == "T" else size for size in shape)
        for name, shape in FIELDS.items()
    }
    if frames == 1:  # MATLAB drops trailing axes of size 1; scipy may keep them
        expected |= {n: shapes[n] for n in ("joints3D", "joints2D")}
    assert shapes == expected
    assert str(fields["sequence"][0]) == "01_walk_c0001"
    same_motion(read_clip(path), clip(frames))


@pytest.mark.parametrize("zrot", [0.0, 0.7])
def test_stored_clips_follow_surreals_conventions(tmp_path, zrot):
    given = clip(gender="male")
    fields = scipy.io.loadmat(stored(tmp_path, given, zrot))
    assert (fields["gender"] == 1).all()  # 0 female, 1 male
    np.testing.assert_allclose(fields["zrot"], zrot)
    np.testing.assert_allclose(  # a y-down world
        fields["joints3D"].transpose(2, 1, 0) * [1, -1, -1], given.joints, atol=1e-5
    )
    # Blender's root, R = Rx(90) Rz(zrot) R(pose), poses the body into that y-down world.
    root = (
        Rotation.from_euler("x", 90, degrees=True)
        * Rotation.from_euler("z", zrot)
        * Rotation.from_rotvec(fields["pose"][:3].T)
    )
    pose = fields["pose"].T.copy()
    pose[:, :3] = root.as_rotvec()
    _, joints = embedded_body("male").pose(pose.astype(np.float32), given.betas)
    offsets = joints - joints[:, :1]
    stored_joints = fields["joints3D"].transpose(2, 1, 0)
    np.testing.assert_allclose(offsets, stored_joints - stored_joints[:, :1], atol=1e-4)


def test_variants_of_the_format_are_read(tmp_path):
    single = clip(1)
    path = stored(tmp_path, single)
    joints = scipy.io.loadmat(path)["joints3D"].reshape(3, 24)
    same_motion(read_clip(change(path, joints3D=joints)), single)  # without its last axis
    given = clip()
    path = stored(tmp_path, given)
    more = np.vstack([np.repeat(given.betas[:, None], 6, axis=1), np.ones((290, 6))])
    same_motion(read_clip(change(path, shape=more)), given)  # more than ten shape coefficients
    scipy.io.savemat(path, fields_of(path), do_compression=True)
    same_motion(read_clip(path), given)


def test_an_unusable_clip_is_rejected_with_the_reason(tmp_path):
    path = stored(tmp_path, clip())
    whole = path.read_bytes()

    def rejected(message):
        with one_line(DataError, f"{path}: .*{message}"):
            read_clip(path)

    for name in ("pose", "shape", "gender", "zrot", "joints3D"):
        path.write_bytes(whole)
        change(path, **{name: None})
        rejected(f"lacks {name}")
    bad = np.full((72, 6), np.nan)
    for fields, message in [
        ({"gender": np.full((6, 1), 7)}, "gender is 7"),
        ({"gender": np.array([[0], [1], [0], [0], [0], [0]])}, r"gender is 0, 1, expected"),
        ({"pose": bad}, "pose contains values that are not finite"),
        ({"joints3D": 1e9 * np.ones((3, 24, 6))}, "joints3D contains values .* beyond 10000"),
        ({"joints3D": np.zeros((3, 24, 6))}, "all joints of a frame are zero"),
        ({"shape": np.full((10, 6), 5.5)}, "shape coefficient beyond 5"),
        ({"shape": np.zeros((9, 6))}, "9 shape coefficients, expected 10"),
        ({"joints3D": np.zeros((3, 24, 5))}, "fields have different numbers of frames"),
        ({"pose": np.zeros((71, 6))}, "fields have different numbers of frames"),
        ({"pose": np.zeros((72, 6), complex)}, "pose is complex128"),
        ({"pose": "text"}, r"pose is char of shape \(1,\)"),
        ({"zrot": np.array([["plain"]], object)}, "zrot is cell of shape"),
    ]:
        path.write_bytes(whole)
        change(path, **fields)
        rejected(message)
    cut = whole[: whole.index(b"joints3D") + 100]
    for content in (b"", b"<html>login</html>", whole[:500], cut):
        path.write_bytes(content)
        rejected("not a readable SURREAL clip")


def test_a_file_that_decompresses_to_too_much_is_rejected(tmp_path):
    path = stored(tmp_path, clip())
    large = {**fields_of(path), "light": np.zeros(2**24)}
    scipy.io.savemat(path, large, do_compression=True)
    assert path.stat().st_size < 2**20
    with pytest.raises(UnusableClip, match="decompresses to more than 67,108,864 bytes") as caught:
        read_clip(path)
    assert caught.value.reason == "unreadable"


def test_a_field_that_declares_a_huge_size_is_not_allocated(tmp_path):
    path = stored(tmp_path, clip())
    content = bytearray(path.read_bytes())
    # The dimensions precede the name, whose tag has four bytes.
    at = content.index(b"zrot") - 12
    assert np.frombuffer(content[at : at + 8], "<i4").tolist() == [6, 1]
    content[at : at + 8] = np.array([2**30, 4], "<i4").tobytes()
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UnusableClip, match=r"zrot is single of shape \(1073741824, 4\)"):
        read_clip(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [0, 8, 11, 14, 15, 19, 200, 0xFFFF])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_unknown_type_of_numbers_is_rejected(tmp_path, kind, compressed):
    # scipy would crash.
    path = stored(tmp_path, clip())
    fields = {name: scipy.io.loadmat(path)[name] for name in (*matfile.FIELDS, "bg")}
    scipy.io.savemat(path, fields)
    content = bytearray(path.read_bytes())
    at = content.index(b"zrot") + 4  # the tag of the values
    content[at : at + 4] = np.uint32(kind).tobytes()
    begin = 128
    while compressed and begin < len(content):
        end = begin + 8 + struct.unpack_from("<I", content, begin + 4)[0]
        small = zlib.compress(content[begin:end])
        content[begin:end] = struct.pack("<II", 15, len(small)) + small
        begin += 8 + len(small)
    path.write_bytes(content)
    with pytest.raises(UnusableClip, match=f"a part has the unknown type {kind}"):
        read_clip(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_are_read_or_rejected(ends, tmp_path, compressed):
    path = stored(tmp_path, clip(2))
    fields = {name: scipy.io.loadmat(path)[name] for name in (*matfile.FIELDS, "bg")}
    scipy.io.savemat(path, fields, do_compression=compressed)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes: Counter[str] = Counter()
    for number in range(400):
        content = bytearray(whole)
        # Half of the changes are in the headers, which store sizes and types.
        at = int(rng.integers(120, 400 if number % 2 else len(content)))
        length = int(rng.integers(1, 50))
        match number % 3:
            case 0:
                content[at : at + 4] = rng.choice(EXTREMES).astype("<u4").tobytes()
            case 1:
                del content[at : at + length]
            case _:
                content[at:at] = content[at : at + length]
        path.write_bytes(content)
        try:
            read_clip(path)
            outcomes["read"] += 1
        except UnusableClip as unusable:
            outcomes[unusable.reason] += 1
    assert outcomes["unreadable"] > 50
    # A checksum guards every compressed byte.
    assert compressed or len(outcomes) > 2
