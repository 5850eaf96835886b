"""A stacked student is the one trained alone: no storage is shared and the same random numbers are drawn."""

import copy

import pytest
import torch

from multi_student_distill import EDMDenoiser, ResidualMLP, StudentStack
from multi_student_distill.networks import ImageUNet
from multi_student_distill.step_noise import StepNoise, student_seeds
from multi_student_distill.student_stack import clip_each, stacked, unstacked


def networks(count, dtype=torch.float64):
    torch.manual_seed(0)
    found = [ResidualMLP((2,), 4, 8, 2).to(dtype) for _ in range(count)]
    for network in found:
        torch.nn.init.normal_(network.outlet.weight)
    return found


def inputs(rows, generator, dtype=torch.float64):
    x = torch.randn(rows, 2, generator=generator, dtype=dtype)
    return x, torch.rand(rows, generator=generator, dtype=dtype), torch.randint(4, (rows,), generator=generator)


def test_a_stack_answers_like_its_networks_each_on_its_rows(generator):
    alone = networks(3)
    x = inputs(12, generator)
    whole, features = StudentStack(alone)(*x, features=True)
    for k, network in enumerate(alone):
        own, own_features = network(*(v[4 * k : 4 * k + 4] for v in x), features=True)
        assert torch.allclose(whole[4 * k : 4 * k + 4], own, atol=1e-12)
        assert torch.allclose(features[4 * k : 4 * k + 4], own_features, atol=1e-12)


def test_students_share_no_storage(generator):
    alone = networks(2)
    stack = StudentStack(alone)
    x = inputs(6, generator)
    before = stack(*x)
    with torch.no_grad():
        for p in alone[0].parameters():
            p.add_(1.0)  # the originals are not the stack's
        for p in stack.parameters():
            p[0].add_(1.0)  # the first student is not the second's
    after = stack(*x)
    assert torch.equal(before[3:], after[3:]) and not torch.allclose(before[:3], after[:3])


def test_training_a_stack_is_training_each_alone(generator):
    """Per-student clipping and AdamW; float64, so that only the order of sums differs."""
    alone = networks(3)
    stack = StudentStack(alone)
    single = [torch.optim.AdamW(n.parameters(), lr=0.01) for n in alone]
    joint = torch.optim.AdamW(stack.parameters(), lr=0.01)
    for step in range(20):
        noise = StepNoise(student_seeds(0, range(3)), step, dtype=torch.float64)
        x = noise.normal(4, 2), noise.uniform(4).double(), noise.integers(0, 4, 4)
        joint.zero_grad()
        (3 * stack(*x).sub(1).square().mean()).backward()
        clip_each(stack.parameters(), 3, 0.05)
        joint.step()
        for k, (network, optimizer) in enumerate(zip(alone, single, strict=True)):
            own = StepNoise(student_seeds(0, [k]), step, dtype=torch.float64)
            y = own.normal(4, 2), own.uniform(4).double(), own.integers(0, 4, 4)
            assert all(torch.equal(a, b[4 * k : 4 * k + 4]) for a, b in zip(y, x, strict=True))
            optimizer.zero_grad()
            network(*y).sub(1).square().mean().backward()
            clip_each(network.parameters(), 1, 0.05)
            optimizer.step()
    for network, found in zip(alone, stack.unstacked(), strict=True):
        for (name, a), b in zip(network.named_parameters(), found.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-9), name


def test_unstacked_students_answer_like_the_stack_and_survive_copies(generator):
    stack = copy.deepcopy(StudentStack(networks(2)))
    x = inputs(6, generator)
    denoiser = EDMDenoiser(stack, 0.5)
    whole = denoiser(*x)
    for k, network in enumerate(stack.unstacked()):
        own = EDMDenoiser(network, 0.5)(*(v[3 * k : 3 * k + 3] for v in x))
        assert torch.allclose(whole[3 * k : 3 * k + 3], own, atol=1e-12)
    assert len(unstacked(stacked(networks(1)))) == 1


def test_u_nets_stack_too(generator):
    torch.manual_seed(0)
    nets = [ImageUNet((1, 8, 8), 3, (8, 16), 1).eval() for _ in range(2)]
    x, c, y = (
        torch.randn(4, 1, 8, 8, generator=generator),
        torch.rand(4, generator=generator),
        torch.tensor([0, 1, 2, 0]),
    )
    whole = StudentStack(nets)(x, c, y)
    apart = torch.cat([nets[0](x[:2], c[:2], y[:2]), nets[1](x[2:], c[2:], y[2:])])
    assert torch.allclose(whole, apart, atol=1e-5)


def test_a_stack_of_unlike_networks_or_uneven_rows_is_refused(generator):
    with pytest.raises(ValueError, match="one architecture"):
        StudentStack([ResidualMLP((2,), 4, 8, 2), ResidualMLP((2,), 4, 16, 2)])
    with pytest.raises(ValueError, match="one architecture"):
        StudentStack([])
    with pytest.raises(ValueError, match="needs a multiple of that many rows, got 5"):
        StudentStack(networks(2))(*inputs(5, generator))


def test_noise_depends_on_seed_step_and_stream_alone():
    a, b = StepNoise([7], 3, 1), StepNoise([7], 3, 1)
    first = a.normal(4, 2)
    assert torch.equal(first, b.normal(4, 2))
    for other in (StepNoise([8], 3, 1), StepNoise([7], 4, 1), StepNoise([7], 3, 2)):
        assert not torch.equal(first, other.normal(4, 2))
    assert student_seeds(5, [0, 2]) == [5, 2005]
