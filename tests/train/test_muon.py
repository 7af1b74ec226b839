import pytest
import torch
from torch import nn

from tpifu.train.muon import Muon, orthogonalise


@pytest.fixture
def weights():
    torch.manual_seed(0)
    shapes = [(8, 4, 3, 3), (16, 2), (8, 4, 3, 3)]
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


@pytest.mark.parametrize("shape", [(5, 8, 8), (2, 16, 72), (3, 72, 16), (1, 1, 9)])
def test_directions_keep_the_singular_vectors_and_even_out_the_values(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    u, expected, vh = torch.linalg.svd(matrices, full_matrices=False)
    expected = expected / expected.norm(dim=1, keepdim=True)
    large = expected > 0.01
    for _ in range(5):  # the quintic of the iteration, one singular value at a time
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    found = orthogonalise(matrices)
    torch.testing.assert_close(found, u @ torch.diag_embed(expected) @ vh, atol=1e-4, rtol=0)
    assert expected[large].min() > 0.6
    assert expected.max() < 1.3


def test_the_scale_of_a_gradient_does_not_matter():
    torch.manual_seed(0)
    matrices = torch.randn(2, 8, 20)
    torch.testing.assert_close(
        orthogonalise(1e-3 * matrices), orthogonalise(matrices), atol=1e-4, rtol=0
    )
    assert orthogonalise(torch.zeros(1, 8, 20)).eq(0).all()


def test_weights_of_one_shape_are_updated_as_each_alone(weights):
    apart = [nn.Parameter(weight.detach().clone()) for weight in weights]
    together = Muon(weights, lr=0.1)
    alone = [Muon([weight], lr=0.1) for weight in apart]
    for _ in range(3):
        for weight, copy in zip(weights, apart, strict=True):
            weight.grad = torch.randn_like(weight)
            copy.grad = weight.grad.clone()
        together.step()
        for optimizer in alone:
            optimizer.step()
    for weight, copy in zip(weights, apart, strict=True):
        torch.testing.assert_close(weight, copy)


def test_an_update_is_as_large_as_one_of_adams(weights):
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    Muon(weights, lr=0.5).step()
    for weight, old in zip(weights, before, strict=True):
        size = (weight - old).square().mean().sqrt() / 0.5
        assert 0.1 < size < 0.3  # Adam's: about 0.2


def test_a_weight_without_a_gradient_stays(weights):
    before = weights[1].detach().clone()
    weights[0].grad = torch.randn_like(weights[0])
    Muon(weights, lr=0.1).step()
    assert torch.equal(weights[1], before)


def test_it_minimises_what_gradient_descent_minimises():
    torch.manual_seed(0)
    target = torch.randn(6, 3, 3, 3)
    weight = nn.Parameter(torch.zeros_like(target))
    optimizer = Muon([weight])
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.5 * (1 - step / 200)
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    assert (weight - target).square().mean() < 0.01 * target.square().mean()
