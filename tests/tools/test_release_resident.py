import numpy as np
import pytest
import torch
from helpers import training
from release_resident import ResidentSteps, balanced_choice, read_resident

from tpifu.config import Model, Train
from tpifu.dataset.windows import window_frames
from tpifu.geometry.camera import project
from tpifu.shards.coding import POINT_STEP, unpack_bits, unpack_codes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def windows(tiny):
    return training.windows(tiny)


@pytest.fixture(scope="module")
def resident(windows):
    return read_resident(windows, CPU, jobs=1)


def steps(resident, batch=4, points=40, neighborhood=3, stride=1, flip=0.0):
    train = Train(batch_size=batch, points=points, flip=flip)
    return ResidentSteps(resident, train, Model(neighborhood=neighborhood, stride=stride), seed=0)


def test_a_resident_split_equals_the_shards(windows, resident):
    for clip, (_, rows) in enumerate(windows.clips):
        first, length = int(resident.first[clip]), int(resident.length[clip])
        assert length == len(rows)
        for view in range(windows.view_count(clip)):
            pixels, calib = windows.pixels(clip, view, np.arange(length))
            np.testing.assert_array_equal(resident.images[first : first + length, view], pixels)
            np.testing.assert_array_equal(resident.calib[clip, view], calib)
        stored = windows.points.read(rows.tolist(), ["points", "inside"])
        for mesh, row in enumerate(stored, start=first):
            codes = unpack_codes(row["points"])
            np.testing.assert_array_equal(resident.codes[mesh], codes)
            np.testing.assert_array_equal(
                resident.inside[mesh], unpack_bits(row["inside"], len(codes))
            )
    assert resident.inside_share == pytest.approx(windows.inside_share)


def test_two_processes_read_the_same_data(windows, resident):
    again = read_resident(windows, CPU, jobs=2)
    for name, value in vars(resident).items():
        assert torch.equal(getattr(again, name), value), name


@pytest.mark.parametrize(("neighborhood", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_a_step_consists_of_windows_of_the_clips(resident, neighborhood, stride):
    """Every image, camera and point of a batch matches the one that TrainingSteps takes."""
    drawn = steps(resident, batch=6, neighborhood=neighborhood, stride=stride)
    for _ in range(5):
        (batch,) = drawn.draw()
        assert len(batch.images) == drawn.images
        for window in range(6):
            clip, centre = place_of(resident, batch, window)
            expected = window_frames(int(resident.length[clip]), neighborhood, stride)[centre]
            view = view_of(resident, batch, window, clip)
            meshes = int(resident.first[clip]) + torch.from_numpy(expected)
            assert torch.equal(batch.images[batch.frames[window]], resident.images[meshes, view])


def place_of(resident, batch, window):
    """Clip and frame of the mesh that holds the window's points with their labels."""
    codes = (batch.points[window] / POINT_STEP).round().to(torch.int16)
    wanted = torch.cat([codes, batch.labels[window, :, None].to(torch.int16)], dim=1)
    pools = torch.cat([resident.codes, resident.inside[..., None].to(torch.int16)], dim=2)
    held = (pools[:, None] == wanted[:, None]).all(dim=-1).any(dim=-1).all(dim=-1)
    (mesh,) = held.nonzero().flatten().tolist()
    clip = int((resident.first <= mesh).sum()) - 1
    return clip, mesh - int(resident.first[clip])


def view_of(resident, batch, window, clip):
    (view,) = [
        view
        for view, calib in enumerate(resident.calib[clip])
        if torch.equal(calib, batch.calib[window])
    ]
    return view


@pytest.mark.parametrize(("inside", "expected"), [(3, 3), (10, 5), (28, 8), (0, 0), (30, 10)])
def test_if_one_half_has_too_few_points_the_other_replaces_them(inside, expected):
    labels = torch.zeros(2, 30, dtype=torch.bool)
    labels[:, torch.randperm(30)[:inside]] = True
    chosen = balanced_choice(labels, 10, torch.Generator().manual_seed(1))
    assert (labels.gather(1, chosen).sum(dim=1) == expected).all()
    assert all(len(row.unique()) == 10 for row in chosen)


def test_all_points_of_one_kind_are_equally_likely():
    labels = torch.arange(12)[None].expand(4000, -1) < 4
    chosen = balanced_choice(labels, 4, torch.Generator().manual_seed(0))
    counts = torch.bincount(chosen.flatten(), minlength=12) / 4000
    assert counts[:4].numpy() == pytest.approx(2 / 4, abs=0.04)
    assert counts[4:].numpy() == pytest.approx(2 / 8, abs=0.04)


def test_a_mirrored_camera_projects_points_onto_the_mirrored_image(tiny, resident):
    plain, mirrored = (steps(resident, flip=flip).draw()[0] for flip in (0.0, 1.0))
    assert torch.equal(mirrored.images, plain.images.flip(2))
    assert torch.equal(mirrored.points, plain.points)
    seen, other = (project(b.calib, b.points) for b in (plain, mirrored))
    assert torch.equal(other[..., 0], -seen[..., 0])
    assert torch.equal(other[..., 1:], seen[..., 1:])


def test_inside_points_project_onto_the_body(resident):
    (batch,) = steps(resident, flip=0.5, batch=8, points=200).draw()
    centre = batch.frames.shape[1] // 2
    for window in range(8):
        mask = batch.images[batch.frames[window, centre], :, :, 1] > 0
        ndc = project(batch.calib[window], batch.points[window][batch.labels[window] > 0])
        size = len(mask)
        column = ((ndc[:, 0] + 1) / 2 * size).long().clamp(0, size - 1)
        row = ((1 - ndc[:, 1]) / 2 * size).long().clamp(0, size - 1)
        assert mask[row, column].float().mean() > 0.9


def test_both_models_see_the_same_steps(resident):
    one, three = (steps(resident, neighborhood=k, flip=0.5) for k in (1, 3))
    for _ in range(4):
        (first,), (second,) = one.draw(), three.draw()
        for name in ("calib", "points", "labels"):
            assert torch.equal(getattr(first, name), getattr(second, name))
        assert torch.equal(first.images[first.frames[:, 0]], second.images[second.frames[:, 1]])


def test_the_parts_of_a_step_are_its_batch(resident):
    whole, halves = (steps(resident).draw(parts) for parts in (1, 2))
    assert len(halves) == 2
    seen = torch.cat([part.images[part.frames] for part in halves])
    assert torch.equal(seen, whole[0].images[whole[0].frames])
    for name in ("calib", "points", "labels"):
        assert torch.equal(torch.cat([getattr(p, name) for p in halves]), getattr(whole[0], name))


def test_an_epoch_visits_every_frame_once(resident):
    drawn = steps(resident, batch=int(resident.length.sum()), points=20)
    (batch,) = drawn.draw()
    places = sorted(place_of(resident, batch, window) for window in range(len(batch.points)))
    clips = enumerate(resident.length.tolist())
    assert places == [(clip, frame) for clip, length in clips for frame in range(length)]
