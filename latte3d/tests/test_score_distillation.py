import pytest
import torch

from latte3d.diffusion import Condition, TimeRange, add_noise, clean_from, level, noise_from
from latte3d.networks import Text
from latte3d.score_distillation import CleanDistillation, NoiseDistillation, rescaled

NO_CONDITION = Condition(Text(torch.zeros(1, 1, 1), torch.ones(1, 1).bool()))


class FixedPrior:
    """Clean estimates that do not depend on the noise."""

    alphas_cumprod = torch.linspace(0.99, 0.01, 100)

    def __init__(self, conditional, unconditional):
        self.pair = conditional, unconditional

    def denoise_pair(self, noisy, t, condition):
        return self.pair


class MixturePrior:
    """The exact denoiser of data that is one of K images: a softmax over their distances."""

    alphas_cumprod = torch.linspace(0.999, 0.001, 100)

    def __init__(self, images):
        self.images = images  # (K, C, s, s)

    def denoise_pair(self, noisy, t, condition):
        alpha = level(self.alphas_cumprod, t)
        distance = (noisy[:, None] - alpha[:, None].sqrt() * self.images).square().sum((2, 3, 4))
        weight = (-distance / (2 * (1 - alpha.view(-1, 1)))).softmax(1)
        clean = torch.einsum("nk,kcij->ncij", weight, self.images)
        return clean, clean


def test_x0_mode_pulls_to_the_guided_estimate_and_nowhere_else(generator):
    x = torch.randn(4, 3, 2, 2, generator=generator, requires_grad=True)
    conditional, unconditional = torch.randn(2, 4, 3, 2, 2, generator=generator)
    loss = CleanDistillation(guidance=3.0, rescale=0.0)
    value = loss(FixedPrior(conditional, unconditional), x, torch.tensor([50]), torch.zeros_like(x), NO_CONDITION)
    expected = (x - (unconditional + 3 * (conditional - unconditional))) / x.numel()
    torch.testing.assert_close(torch.autograd.grad(value.mean(), x)[0], expected.detach())


def test_rescaling_gives_each_object_the_contrast_it_has_without_guidance(generator):
    conditional = torch.randn(8, 3, 4, 4, generator=generator) * torch.tensor([1.0, 5.0]).repeat_interleave(4).view(
        8, 1, 1, 1
    )
    guided = 7 * conditional + 0.1 * torch.randn(8, 3, 4, 4, generator=generator)
    full = rescaled(guided, conditional, 1.0, views=4).view(2, -1)
    torch.testing.assert_close(full.std(1), conditional.view(2, -1).std(1))
    half = rescaled(guided, conditional, 0.5, views=4).view(2, -1)
    torch.testing.assert_close(half, (full + guided.view(2, -1)) / 2)


def test_sds_has_the_gradient_of_its_formula(generator):
    x = torch.randn(2, 3, 2, 2, generator=generator, requires_grad=True)
    noise, conditional, unconditional = torch.randn(3, 2, 3, 2, 2, generator=generator)
    prior, t = FixedPrior(conditional, unconditional), torch.tensor([10, 70])
    value = NoiseDistillation(guidance=4.0)(prior, x, t, noise, NO_CONDITION)
    alpha = level(prior.alphas_cumprod, t)
    noisy = add_noise(x.detach(), noise, alpha)
    e_c, e_u = noise_from(conditional, noisy, alpha), noise_from(unconditional, noisy, alpha)
    expected = (1 - alpha) * (e_u + 4 * (e_c - e_u) - noise) / x.numel()
    torch.testing.assert_close(torch.autograd.grad(value.mean(), x)[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [CleanDistillation(guidance=1.0), NoiseDistillation(guidance=1.0)])
def test_with_an_exact_denoiser_an_image_moves_to_the_data(loss, generator):
    images = torch.randn(3, 1, 4, 4, generator=generator)
    x = (0.3 * torch.randn(4, 1, 4, 4, generator=generator)).requires_grad_()
    optimizer = torch.optim.SGD([x], lr=0.2 * x.numel())
    for step in range(300):
        t = torch.full((4,), max(5, 60 - step // 4))
        optimizer.zero_grad()
        loss(MixturePrior(images), x, t, torch.randn(x.shape, generator=generator), NO_CONDITION).mean().backward()
        optimizer.step()
    nearest = (x.detach()[:, None] - images).square().mean((2, 3, 4)).amin(1)
    assert nearest.max() < 0.02


def test_clean_images_noise_and_velocity_say_the_same(generator):
    clean, noise = torch.randn(2, 5, 3, 2, 2, generator=generator)
    alpha = torch.rand(5, 1, 1, 1, generator=generator) * 0.9 + 0.05
    noisy = add_noise(clean, noise, alpha)
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    for prediction, kind in ((clean, "sample"), (noise, "epsilon"), (velocity, "v_prediction")):
        torch.testing.assert_close(clean_from(prediction, noisy, alpha, kind), clean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(noise_from(clean, noisy, alpha), noise, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="got 'score'"):
        clean_from(clean, noisy, alpha, "score")


def test_times_anneal_from_noise_to_detail(generator):
    times = TimeRange()
    assert times.at(0) == (0.98, 0.98)
    assert times.at(1) == pytest.approx((0.02, 0.5)) and times.at(2) == times.at(1)
    drawn = times.draw(1000, 1000, 1.0, generator)
    assert 20 <= drawn.min() < 40 and 480 < drawn.max() <= 500


def test_shapes_that_do_not_fit_are_refused():
    x = torch.zeros(4, 3, 2, 2)
    with pytest.raises(ValueError, match=r"got \(4, 3, 2, 2\), \(4, 3, 2, 2\) and 3 times"):
        CleanDistillation()(FixedPrior(x, x), x, torch.tensor([1, 2, 3]), x, NO_CONDITION)
