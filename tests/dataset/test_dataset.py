import shutil

import numpy as np
import pytest
import torch
from helpers.training import windows
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.winding import winding_number
from tpifu.config import Train
from tpifu.dataset.steps import TrainingSteps
from tpifu.dataset.windows import balanced_draw, window_frames
from tpifu.errors import ConfigError, DataError
from tpifu.geometry.camera import calibration, project
from tpifu.shards.coding import dequantise, unpack_bits, unpack_codes
from tpifu.shards.meshes import MeshReader
from tpifu.shards.reader import Shards

CHANGED = {"flip": 0.5, "scale": 0.3, "shift": 1.0}


def steps_of(found, batch_size, points, seed=0, shares=1, **changes) -> TrainingSteps:
    train = Train(batch_size=batch_size, points=points, **changes)
    return TrainingSteps(found, train, seed, shares)


@given(length=st.integers(1, 12), reach=st.integers(0, 4), stride=st.integers(1, 3))
def test_a_window_holds_its_centre_and_neighbours_and_repeats_the_ends(length, reach, stride):
    frames = window_frames(length, 2 * reach + 1, stride)
    for centre, row in enumerate(frames.tolist()):
        steps = range(-reach, reach + 1)
        assert row == [min(max(centre + stride * s, 0), length - 1) for s in steps]  # oldest first


def test_a_stride_changes_the_frames_of_windows_and_nothing_else(tiny):
    near, far = (windows(tiny, stride=stride) for stride in (1, 2))
    whole, apart = (found.clip_batch(0, 1, 10, seed=0) for found in (near, far))
    assert apart.frames.tolist() == [[0, 0, 2], [0, 1, 3], [0, 2, 4], [1, 3, 4], [2, 4, 4]]
    assert torch.equal(whole.images, apart.images)
    assert torch.equal(whole.points, apart.points)
    batch, alone = (steps_of(found, 8, 10)[0] for found in (far, near))
    assert torch.equal(batch.points, alone.points)
    assert torch.equal(batch.images[batch.frames[:, 1]], alone.images[alone.frames[:, 1]])


@given(
    inside=st.lists(st.booleans(), min_size=6, max_size=40).map(np.array),
    seed=st.integers(0, 9),
)
def test_half_of_a_draw_is_inside_unless_there_are_too_few_points(inside, seed):
    chosen = balanced_draw(inside, 6, np.random.default_rng(seed))
    assert len(set(chosen.tolist())) == 6
    expected = min(inside.sum(), max(3, 6 - (~inside).sum()))
    assert inside[chosen].sum() == expected


def test_every_kept_frame_is_a_centre(tiny):
    found = windows(tiny)
    assert len(found) == 5 + 3  # helpers.data.CLIPS
    assert [name for name, _ in found.clips] == ["run0/a_walk_c0001", "run0/b_run_c0001"]
    assert found.centres == [(0, t) for t in range(5)] + [(1, t) for t in range(3)]
    assert len(windows(tiny, split="unseen_motion")) == 3


def test_points_images_and_camera_belong_to_the_frame(tiny):
    """Labels equal the slow winding number, and points inside project onto the body."""
    found = windows(tiny, split="test")
    reader = MeshReader(tiny / "meshes")
    index = reader.shards.index
    for clip, (name, _) in enumerate(found.clips):
        for view in range(found.view_count(clip)):
            batch = found.clip_batch(clip, view, 50, seed=0)
            assert torch.equal(batch.calib[0], torch.from_numpy(calibration(180.0 * view, 2.56)))
            for t in range(len(batch.points)):
                (row,) = np.flatnonzero((index["clip"] == name) & (index["frame"] == t))
                mesh = reader.read([int(row)])[0].mesh
                points = batch.points[t].numpy()
                truth = winding_number(mesh, points.astype(np.float64)) > 0.5
                assert batch.labels[t].numpy().astype(bool).tolist() == truth.tolist()
                ndc = points[truth] @ batch.calib[t, :, :3].numpy().T
                u = ((ndc[:, 0] + 1) * 16).astype(int)
                v = ((1 - ndc[:, 1]) * 16).astype(int)
                mask = batch.images[t, :, :, 1].numpy() > 0
                assert mask[v, u].mean() > 0.9  # edge pixels may miss


@pytest.mark.parametrize("changes", [{}, CHANGED])
def test_a_batch_depends_only_on_seed_and_step(tiny, changes):
    one, other = (steps_of(windows(tiny), 4, 20, **changes) for _ in range(2))
    late = other[7]  # out of order, as for a reader or a resumed run
    for step in range(8):
        batch = one[step]
    for name, value in vars(batch).items():
        assert torch.equal(value, getattr(late, name))
    assert not torch.equal(batch.points, steps_of(windows(tiny), 4, 20, seed=1)[7].points)
    assert not torch.equal(batch.points, one[6].points)


def test_every_epoch_visits_every_centre_once_in_another_order(tiny):
    steps = steps_of(windows(tiny), 2, 4)
    visits = [steps._centre(position) for position in range(16)]
    assert sorted(visits[:8]) == sorted(visits[8:]) == list(range(8))
    assert visits[:8] != visits[8:]


def test_a_batch_equals_windows_read_one_by_one(tiny):
    found = windows(tiny)
    steps = steps_of(found, 4, 20, seed=3)
    stored = Shards(tiny / "points", "points")
    for position in range(20):
        clip, frame = found.centres[steps._centre(position)]
        rng = np.random.default_rng([3, 1, position])
        view = int(rng.integers(found.view_count(clip)))
        (row,) = stored.read([int(found.clips[clip][1][frame])], ["points", "inside"])
        pool = dequantise(unpack_codes(row["points"]))
        inside = unpack_bits(row["inside"], len(pool))
        chosen = balanced_draw(inside, 20, rng)
        own = window_frames(len(found.clips[clip][1]), 3)[frame]
        images, calib = found.pixels(clip, view, own)
        step, place = divmod(position, 4)
        batch = steps[step]
        assert np.array_equal(batch.points[place].numpy(), pool[chosen])
        assert np.array_equal(batch.labels[place].numpy(), inside[chosen])
        assert np.array_equal(batch.images[batch.frames[place]].numpy(), images)
        assert np.array_equal(batch.calib[place].numpy(), calib)


@pytest.mark.parametrize("setting", [{}, CHANGED])
@pytest.mark.parametrize("shares", [2, 4])
def test_the_shares_of_a_step_are_its_batch(tiny, shares, setting):
    whole = steps_of(windows(tiny), 4, 20, **setting)
    shared = steps_of(windows(tiny), 4, 20, shares=shares, **setting)
    for step in range(3):
        pieces = [shared[step * shares + share] for share in range(shares)]
        for name in ("points", "labels", "calib"):
            together = torch.cat([getattr(piece, name) for piece in pieces])
            assert torch.equal(together, getattr(whole[step], name))
        seen = torch.cat([piece.images[piece.frames] for piece in pieces])
        assert torch.equal(seen, whole[step].images[whole[step].frames])


@pytest.mark.parametrize("setting", [{}, CHANGED])
@pytest.mark.parametrize("neighborhood", [3, 5])
def test_all_models_train_on_the_same_centres_views_and_points(tiny, neighborhood, setting):
    single = steps_of(windows(tiny, neighborhood=1), 4, 20, seed=5, **setting)
    temporal = steps_of(windows(tiny, neighborhood=neighborhood), 4, 20, seed=5, **setting)
    for step in range(4):
        one, many = single[step], temporal[step]
        assert torch.equal(one.points, many.points)
        assert torch.equal(one.labels, many.labels)
        assert torch.equal(one.calib, many.calib)
        centre = many.frames[:, neighborhood // 2]
        assert torch.equal(one.images[one.frames[:, 0]], many.images[centre])


def test_augmented_cameras_project_the_same_points_onto_the_body(tiny):
    found = windows(tiny)
    plain = steps_of(found, 8, 100)
    steps = steps_of(found, 8, 100, **CHANGED)
    cameras = set()
    for step in range(3):
        batch, before = steps[step], plain[step]
        for name in ("points", "labels", "frames"):
            assert torch.equal(getattr(batch, name), getattr(before, name))
        masks = batch.images[batch.frames[:, 1], :, :, 1]
        for mask, calib, points, labels in zip(
            masks, batch.calib, batch.points, batch.labels, strict=True
        ):
            ndc = project(calib, points[labels > 0])
            u = ((ndc[:, 0] + 1) * 16).long()
            v = ((1 - ndc[:, 1]) * 16).long()
            assert (mask[v, u] > 0).float().mean() > 0.9  # edge pixels may miss
        cameras |= {tuple(calib.flatten().tolist()) for calib in batch.calib}
    assert len(cameras) == 3 * 8


def test_the_repeated_image_at_a_clip_end_is_stored_once(tiny):
    batch = windows(tiny).clip_batch(1, 0, 4, seed=0)
    assert batch.frames.tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    assert len(batch.images) == 3
    steps = steps_of(windows(tiny), 8, 4)  # a whole epoch
    batch = steps[0]
    distinct = [len(set(row)) for row in batch.frames.tolist()]
    assert sum(distinct) == len(batch.images)
    assert sorted(distinct) == [2] * 4 + [3] * 4  # two ends a clip


def test_points_of_a_clip_do_not_depend_on_view_or_neighborhood(tiny):
    one = windows(tiny, "test", 1).clip_batch(0, 0, 30, seed=4)
    other = windows(tiny, "test").clip_batch(0, 1, 30, seed=4)
    assert torch.equal(one.points, other.points)
    assert torch.equal(one.labels, other.labels)


def test_unsuitable_data_is_rejected(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"neighborhood is 7, but the longest train clip has 5"):
        windows(tiny, neighborhood=7)
    message = r"is 3, .* has 5 frames, and a window spans 7 \(model.stride is 3\)"
    with pytest.raises(ConfigError, match=message):
        windows(tiny, stride=3)
    with pytest.raises(ConfigError, match=r"batch_size is 9, but the data has 8 meshes"):
        steps_of(windows(tiny), 9, 4)
    with pytest.raises(ConfigError, match="batch_size is 4; it must be divisible by 3"):
        steps_of(windows(tiny), 4, 4, shares=3)
    with pytest.raises(DataError, match="no rows of split 'val'"):
        windows(tiny, split="val")
    with pytest.raises(DataError, match="views: no such folder"):
        windows(tmp_path)
    # Views and points of different meshes.
    for kind in ("views", "points"):
        shutil.copytree(tiny / kind, tmp_path / kind)
    (tmp_path / "views" / "train-00000.parquet").unlink()
    with pytest.raises(DataError, match="differ in clip run0/a_walk_c0001"):
        windows(tmp_path)
