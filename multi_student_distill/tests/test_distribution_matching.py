"""The matching gradient against the divergence it descends; the losses at points known in closed form."""

import math

import pytest
import torch
from torch import nn

from multi_student_distill import (
    distribution_matching_gradient,
    distribution_matching_loss,
    gan_discriminator_loss,
    gan_generator_loss,
    regression_loss,
)
from multi_student_distill.adversarial import ImageHead, VectorHead
from multi_student_distill.distribution_matching import denoising_loss


def test_between_gaussians_the_difference_of_denoisers_is_the_gradient_of_the_divergence(generator):
    """E[μ_fake - μ_T] = m σ² / (1 + σ²) = σ² d KL(N(m, s² + σ²) | N(0, 1 + σ²)) / dm."""
    m, s = 0.7, 0.4
    x = m + s * torch.randn(400000, dtype=torch.float64, generator=generator)
    for sigma in (0.3, 2.0):
        noised = x + sigma * torch.randn(len(x), dtype=torch.float64, generator=generator)
        fake = (s**2 * noised + sigma**2 * m) / (s**2 + sigma**2)
        real = noised / (1 + sigma**2)
        mean = torch.tensor(m, dtype=torch.float64, requires_grad=True)
        fake_law = torch.distributions.Normal(mean, math.sqrt(s**2 + sigma**2))
        real_law = torch.distributions.Normal(torch.zeros_like(mean), math.sqrt(1 + sigma**2))
        (slope,) = torch.autograd.grad(torch.distributions.kl_divergence(fake_law, real_law), mean)
        assert float(slope) * sigma**2 == pytest.approx(m * sigma**2 / (1 + sigma**2), rel=1e-9)
        assert float((fake - real).mean()) == pytest.approx(float(slope) * sigma**2, rel=0.02)


def test_a_fake_score_equal_to_the_teacher_gives_exactly_no_gradient(generator):
    x, real = torch.randn(2, 5, 3, 4, 4, generator=generator)
    assert torch.equal(distribution_matching_gradient(x, real, real.clone()), torch.zeros_like(x))


def test_the_gradient_of_the_loss_is_g_over_the_number_of_entries(generator):
    x, real, fake = torch.randn(3, 5, 3, 4, 4, generator=generator, dtype=torch.float64)
    x.requires_grad_(True)
    (found,) = torch.autograd.grad(distribution_matching_loss(x, real, fake), x)
    assert torch.allclose(found, distribution_matching_gradient(x.detach(), real, fake) / x.numel(), atol=1e-12)


def test_g_does_not_depend_on_the_scale_of_both_residuals(generator):
    x, real, fake = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    scaled = [x + 3.0 * (d - x) for d in (real, fake)]
    assert torch.allclose(distribution_matching_gradient(x, *scaled), distribution_matching_gradient(x, real, fake))


def test_a_sample_that_the_teacher_leaves_alone_gives_zeros_not_nan():
    x = torch.ones(2, 3)
    assert torch.equal(distribution_matching_gradient(x, x, x + 1), torch.zeros(2, 3))
    assert torch.equal(distribution_matching_gradient(x, x, x), torch.zeros(2, 3))


def test_zero_logits_cost_ln_2_and_twice_ln_2():
    zero = torch.zeros(4)
    assert float(gan_generator_loss(zero)) == pytest.approx(math.log(2))
    assert float(gan_discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2))
    assert (
        gan_discriminator_loss(zero - 1, zero + 1)
        < gan_discriminator_loss(zero, zero)
        < gan_discriminator_loss(zero + 1, zero - 1)
    )


def test_the_fake_score_is_weighted_and_does_not_move_the_samples():
    x = torch.zeros(2, 3, requires_grad=True)
    denoised = torch.ones(2, 3, requires_grad=True)
    loss = denoising_loss(denoised, x, torch.tensor([1.0, 3.0]))
    assert float(loss.detach()) == 2.0
    loss.backward()
    assert x.grad is None and denoised.grad is not None


def test_regression_takes_any_distance_and_one_shape():
    a, b = torch.zeros(2, 3), torch.ones(2, 3)
    assert float(regression_loss(a, b)) == 1.0
    assert float(regression_loss(a, b, lambda x, y: (x - y).abs().sum())) == 6.0
    with pytest.raises(ValueError, match=r"got \(2, 3\), \(2, 1\)"):
        regression_loss(a, torch.ones(2, 1))
    with pytest.raises(ValueError, match="must have one shape"):
        distribution_matching_gradient(a, b, torch.ones(2, 1))


def test_the_head_of_imagenet_64_is_dmd2s():
    head = ImageHead(768, 8)
    kinds = [type(layer) for layer in head.layers]
    assert kinds == [nn.Conv2d, nn.GroupNorm, nn.SiLU, nn.Conv2d, nn.GroupNorm, nn.SiLU, nn.Conv2d]
    first, second = head.layers[0], head.layers[3]
    assert (first.kernel_size, first.stride, first.padding) == ((4, 4), (2, 2), (1, 1))
    assert second.kernel_size == (4, 4) and head(torch.zeros(2, 768, 8, 8)).shape == (2,)
    assert VectorHead(16)(torch.zeros(3, 16)).shape == (3,)
    with pytest.raises(ValueError, match="channels divisible by their groups"):
        ImageHead(48, 8)
