"""Results on a GPU match those on the CPU. Skipped if torch finds no GPU."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.training import CPU, Interrupted, losses, run, stop_at, train, windows

from tpifu.config import Train
from tpifu.model.field import window_fields
from tpifu.model.folder import load_model
from tpifu.model.pifu import PIFu
from tpifu.reconstruct.grid import evaluate_grid
from tpifu.train.run import Machine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

GPU = Machine(device=torch.device("cuda"))
TRAIN = Train(
    batch_size=4, points=200, steps=30, learning_rate=3e-3, checkpoint_every=10, validate_every=15
)


@pytest.fixture(autouse=True)
def _no_tf32():
    """Disable TF32, which convolutions use by default; its mantissa has ten bits."""
    torch.set_num_threads(1)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def trained(tiny, model, folder, machine, neighborhood=3, **changes):
    """The losses of a run."""
    train(run(tiny, model, neighborhood, TRAIN, **changes), folder, machine)
    return losses(folder)


def length(gradients):
    return float(torch.cat([slope.flatten() for slope in gradients.values()]).norm())


def assert_similar(found, expected):
    """Losses with different rounding are equal at first and similar at the end."""
    assert found[:3] == pytest.approx(expected[:3], rel=2e-3)
    assert np.mean(found[-10:]) == pytest.approx(np.mean(expected[-10:]), rel=0.1)


@pytest.mark.parametrize("neighborhood", [1, 3])
def test_occupancies_and_gradients_are_those_of_the_cpu(tiny_model, neighborhood):
    torch.manual_seed(0)
    network = PIFu(tiny_model.with_window(neighborhood), 2.56)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randint(0, 256, (5, 32, 32, 4), dtype=torch.uint8)
    frames = torch.randint(0, 5, (4, neighborhood))
    points = torch.rand(4, 70, 3) * 2.6 - 1.3
    calib = torch.eye(3, 4).expand(4, -1, -1).contiguous()
    found = []
    for device in ("cpu", "cuda"):
        there = copy.deepcopy(network).to(device)
        occupancies = there(*(value.to(device) for value in (images, frames, points, calib)))
        occupancies.square().mean().backward()
        gradients = {name: value.grad.cpu() for name, value in there.named_parameters()}
        found.append((occupancies.detach().cpu(), gradients))
    (ours, slopes), (theirs, expected) = found[1], found[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    differ = {name: slope - expected[name] for name, slope in slopes.items()}
    assert length(differ) < 1e-3 * length(expected)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("neighborhood", [1, 3])
def test_losses_are_those_of_the_cpu(tiny, tiny_model, tmp_path, neighborhood, optimizer):
    cpu, gpu = (
        trained(tiny, tiny_model, tmp_path / name, machine, neighborhood, optimizer=optimizer)
        for name, machine in (("cpu", CPU), ("gpu", GPU))
    )
    assert_similar(gpu, cpu)


@pytest.mark.parametrize(("first", "then"), [(CPU, GPU), (GPU, CPU)])
def test_a_run_can_resume_on_the_other_device(tiny, tiny_model, tmp_path, first, then):
    whole = trained(tiny, tiny_model, tmp_path / "whole", CPU)
    settings = run(tiny, tiny_model, train=TRAIN)
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "moved", first, stop_at(14))
    moved = trained(tiny, tiny_model, tmp_path / "moved", then)
    assert_similar(moved, whole)


def test_readers_and_parts_change_losses_by_rounding_only(tiny, tiny_model, tmp_path):
    whole = trained(tiny, tiny_model, tmp_path / "whole", GPU)
    read = trained(tiny, tiny_model, tmp_path / "read", replace(GPU, readers=2, parts=2))
    assert_similar(read, whole)


def test_bfloat16_has_similar_losses(tiny, tiny_model, tmp_path):
    whole = trained(tiny, tiny_model, tmp_path / "whole", GPU)
    half = trained(tiny, tiny_model, tmp_path / "half", replace(GPU, precision="bfloat16"))
    assert half != whole
    assert np.mean(half[-10:]) == pytest.approx(np.mean(whole[-10:]), rel=0.1)


def test_reconstructions_are_those_of_the_cpu(tiny, tiny_model, tmp_path):
    trained(tiny, tiny_model, tmp_path / "m", GPU, steps=150)
    grids = []
    for machine in (CPU, GPU):
        model = load_model(tmp_path / "m", machine.device)
        batch = windows(tiny, "test", model.config.neighborhood).clip_batch(0, 0, 2, 0)
        fields = window_fields(model.network, batch.images, batch.frames, batch.calib)
        grids.append([evaluate_grid(field, 48, 1.28, level=model.level) for field in fields])
    ours, theirs = (np.stack(found) > model.level for found in grids)
    assert theirs.any()
    assert (ours != theirs).mean() < 1e-4
