"""The grid, the samplers, the exact teacher: each against its closed form."""

import math
from itertools import pairwise

import pytest
import torch

from multi_student_distill import EDMDenoiser, MixtureDenoiser, edm_sampler, karras_sigmas, one_step
from multi_student_distill.edm import GridSigmas, LogNormalSigmas, edm_loss
from multi_student_distill.mixture import lissajous_means, ring_means


def test_the_grid_ends_at_80_and_0_002():
    grid = karras_sigmas(1000)
    assert grid[0].item() == pytest.approx(80, rel=1e-5) and grid[-1].item() == pytest.approx(0.002, rel=1e-5)
    assert bool((grid[:-1] > grid[1:]).all())
    with pytest.raises(ValueError, match=r"got 1, 0\.002"):
        karras_sigmas(1)


def gaussian(std):
    """The exact denoiser of N(0, std²)."""
    return lambda x, sigma, labels: std**2 / (std**2 + sigma.reshape(-1, 1).expand(len(x), 1) ** 2) * x


def test_heun_converges_with_the_second_order_and_counts_2n_minus_1_evaluations():
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    start, std = 80.0 * z, 0.5
    exact = start * std / math.sqrt(80**2 + std**2) * math.sqrt(1)  # x(σ) = x(80) √(s² + σ²) / √(s² + 80²), at σ = 0
    errors = []
    for steps in (32, 64, 128):
        found, evaluations = edm_sampler(gaussian(std), z, torch.zeros(9), steps, karras_sigmas(steps).double())
        assert evaluations == 2 * steps - 1
        errors.append(float((found - exact).abs().max()))
    for coarse, fine in pairwise(errors):
        assert 3 < coarse / fine < 5.5


def test_churn_samples_the_same_gaussian(generator):
    z = torch.randn(20000, 1, generator=generator)
    found, evaluations = edm_sampler(
        gaussian(0.5), z, torch.zeros(20000), 300, churn=40, churn_noise=1.0, generator=generator
    )
    assert evaluations == 599
    assert float(found.std()) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("means", [ring_means(), lissajous_means()])
def test_the_mixtures_denoiser_is_tweedies_formula_of_its_density(means, generator):
    teacher = MixtureDenoiser(means.double(), 0.05)
    labels = torch.arange(8).repeat(4)
    for sigma in (0.01, 0.3, 80.0):
        s = torch.full((32,), sigma, dtype=torch.float64)
        x = (teacher.sample(labels, generator) + sigma * torch.randn(32, 2, generator=generator)).requires_grad_(True)
        (score,) = torch.autograd.grad(teacher.log_density(x, s, labels).sum(), x)
        assert torch.allclose(teacher(x, s, labels), x + sigma**2 * score, atol=1e-8, rtol=1e-8)


def test_classes_of_the_default_toy_differ_in_shape_and_of_the_papers_do_not():
    rings, curves = (m - m.mean(1, keepdim=True) for m in (ring_means(), lissajous_means()))
    assert torch.allclose(rings[0], rings[5], atol=1e-6)
    distance = torch.cdist(curves.flatten(1), curves.flatten(1)) + 10 * torch.eye(8)
    assert float(distance.min()) > 0.1


class Zero(torch.nn.Module):
    def forward(self, x, c_noise, labels):
        self.seen = x, c_noise
        return torch.zeros_like(x)


def test_preconditioning_is_edms(generator):
    net = Zero()
    denoiser = EDMDenoiser(net, 0.5)
    x, sigma = torch.randn(4, 3, generator=generator), torch.tensor([0.1, 0.5, 2.0, 80.0])
    found = denoiser(x, sigma, torch.zeros(4, dtype=torch.int64))
    s = sigma[:, None]
    assert torch.allclose(found, 0.25 / (s**2 + 0.25) * x)
    assert torch.allclose(net.seen[0], x / (s**2 + 0.25).sqrt()) and torch.allclose(net.seen[1], sigma.log() / 4)
    weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    assert torch.allclose(denoiser.loss_weight(sigma), weight)
    with pytest.raises(ValueError, match="sigma_data must be positive, got 0"):
        EDMDenoiser(net, 0)


def test_one_step_generation_is_the_denoiser_at_sigma_80_of_80_z(generator):
    teacher = MixtureDenoiser(ring_means(), 0.05)
    z, labels = torch.randn(6, 2, generator=generator), torch.arange(6)
    assert torch.equal(one_step(teacher, z, labels), teacher(80 * z, torch.full((6,), teacher.levels[-1]), labels))
    assert teacher.levels[-1].item() == pytest.approx(80, rel=1e-5)


def test_the_training_loss_of_a_zero_network_is_its_variance_whatever_sigma(generator):
    x = 0.5 * torch.randn(100000, 1, generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    for sigma in (0.05, 0.5, 10.0):
        loss = edm_loss(EDMDenoiser(Zero(), 0.5), x, x, torch.full((len(x),), sigma), noise)
        assert float(loss) == pytest.approx(1.0, rel=0.02)  # EDM's weight makes the regression target of unit variance


def test_laws_of_sigma(generator):
    normal, uniform = torch.randn(50000, generator=generator), torch.rand(50000, generator=generator)
    levels = karras_sigmas(1000).flip(0)
    drawn = LogNormalSigmas(-1.2, 1.2)(normal, uniform, levels).log()
    assert float(drawn.mean()) == pytest.approx(-1.2, abs=0.02) and float(drawn.std()) == pytest.approx(1.2, abs=0.02)
    assert GridSigmas()(normal, uniform, levels).max() == levels[-1]
    some = GridSigmas(20, 980)(normal, uniform, levels)
    assert some.min() == levels[20] and some.max() == levels[980]


def test_a_mixture_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"means must be \(C, M, d\)"):
        MixtureDenoiser(torch.zeros(2, 2), 1.0)
