"""Score distillation, its plug-ins, regularisers, and training between prompts."""

import pytest
import torch

from att3d.distillation import (
    AsynchronousDistillation,
    ClassifierDistillation,
    ScoreDistillation,
    VariationalDistillation,
    dot_loss,
    mse_loss,
)
from att3d.guidance import ExactPrior
from att3d.guidance.pixel import PixelGuidance
from att3d.interpolation import PromptInterpolator, Strategy, dirichlet_shares
from att3d.regularisers import Regularisers, opacity_entropy, orientation, sparsity
from att3d.renderer import RenderOutput

RULES = [ScoreDistillation(2.0), AsynchronousDistillation(), ClassifierDistillation(2.0), VariationalDistillation()]


def test_both_forms_of_the_loss_have_one_gradient(generator):
    z = torch.randn(4, 3, 5, 5, generator=generator, requires_grad=True)
    g = torch.randn(z.shape, generator=generator)
    (one,) = torch.autograd.grad(dot_loss(z, g), z)
    (other,) = torch.autograd.grad(mse_loss(z, g), z)
    assert torch.allclose(one, other, atol=1e-6) and torch.allclose(one, g / 4)


def test_a_pixels_gradient_is_twice_that_of_z(prior, generator):
    rgb = torch.rand(2, 3, 8, 8, generator=generator, requires_grad=True)
    rule, denoise = ScoreDistillation(2.0), prior.denoiser(prior.condition(["a blue cube"] * 2, [0, 1]))
    seed = torch.Generator().manual_seed(5)
    rule(prior, denoise, rgb, 0.0, seed).backward()
    seed.manual_seed(5)
    noised = rule.noised(prior, (2 * rgb - 1).detach(), 0.0, seed)
    weight = 1 - prior.signal(noised.t)
    expected = 2 * weight * (denoise(noised.z_t, noised.t, 2.0) - noised.noise) / 2
    assert torch.allclose(rgb.grad, expected, atol=1e-6)


def test_distillation_from_one_image_converges_to_it(generator):
    mu = torch.rand(1, 3, 4, 4, generator=generator)
    prior = ExactPrior(mu, ["a cat"], torch.tensor([0]))
    rgb = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    optimizer = torch.optim.SGD([rgb], lr=0.05)
    denoise, rule = prior.denoiser(prior.condition(["a cat"], [0])), ScoreDistillation(6.0)
    for _ in range(200):
        optimizer.zero_grad()
        rule(prior, denoise, rgb, 0.0, generator).backward()
        optimizer.step()
    assert torch.allclose(rgb.detach(), mu, atol=1e-3)


def test_the_denoiser_gets_no_gradient(tmp_path, generator):
    from tiny_models import save_pixel

    guidance = PixelGuidance(str(save_pixel(tmp_path)))
    guidance.unet.requires_grad_(True)  # even so
    rgb = torch.rand(1, 3, 16, 16, generator=generator, requires_grad=True)
    denoise = guidance.denoiser(guidance.condition(["a red cube"], [0]))
    ScoreDistillation(2.0)(guidance, denoise, rgb, 0.0, generator).backward()
    assert rgb.grad is not None and all(p.grad is None for p in guidance.parameters())


def test_t_stays_in_its_range_which_anneals(prior, generator):
    rule = ScoreDistillation(t_min=0.02, t_max=0.98, t_max_end=0.5)
    for progress, high in ((0.0, 980), (1.0, 500)):
        t = rule.noised(prior, torch.zeros(5000, 3, 8, 8), progress, generator).t
        assert 20 <= int(t.min()) < 30 and high - 10 < int(t.max()) <= high


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_moves_an_image_towards_its_prompt(rule, prior, generator):
    rgb = torch.full((4, 3, 8, 8), 0.5, requires_grad=True)
    denoise = prior.denoiser(prior.condition(["a red sphere"] * 4, [0, 1, 2, 3]))
    loss = rule(prior, denoise, rgb, 0.0, generator)
    loss.backward()
    target = prior.data[:4].reshape(4, 3, 8, 8)
    towards = -(rgb.grad * target).sum()
    assert bool(rgb.grad.isfinite().all()) and float(towards) > 0
    if isinstance(rule, VariationalDistillation):
        assert all(p.grad is not None for p in rule.parameters())


def test_wrong_ranges_and_weightings_are_refused():
    with pytest.raises(ValueError, match="unknown weighting 'linear', choose from one_minus_alpha"):
        ScoreDistillation(weighting="linear")
    with pytest.raises(ValueError, match="0 ≤ t_min < t_max < 1"):
        ScoreDistillation(t_min=0.9, t_max=0.5)


# regularisers


def test_regularisers_are_their_formulas():
    opacity = torch.tensor([0.0, 1.0])
    assert float(sparsity(opacity)) == pytest.approx((0.1 + 1.01**0.5) / 2, abs=1e-6)
    weights, facing = torch.tensor([[[0.5, 0.5]]], requires_grad=True), torch.tensor([[[-1.0, 0.4]]])
    loss = orientation(weights, facing.requires_grad_(True))
    assert float(loss) == pytest.approx(0.5 * 0.16, abs=1e-6)
    loss.backward()
    assert weights.grad is None and float(facing.grad[0, 0, 1]) == pytest.approx(0.4)
    assert float(opacity_entropy(torch.tensor([0.5]))) == pytest.approx(0.6931, abs=1e-3)
    assert float(opacity_entropy(opacity)) < 0.01


def test_the_weighted_sum_grows_with_training():
    ones = torch.ones(1, 1, 2, 2)
    out = RenderOutput(ones, ones[0], ones[0], torch.ones(1, 4, 1), None, torch.full((1, 4, 1), 0.5))
    weights = Regularisers(sparsity=1.0, orientation=10.0, orientation_end=1000.0, entropy=0.1)
    assert weights.needs_normals and not Regularisers(sparsity=1.0).needs_normals
    start, end = float(weights(out, 0.0)), float(weights(out, 1.0))
    assert end - start == pytest.approx(990 * 0.25, rel=1e-5)
    assert Regularisers()(out, 0.5) == 0


# interpolation


def pair(prior, count):
    return prior.condition(["a red sphere"] * count, [0] * count), prior.condition(["a blue cube"] * count, [0] * count)


@pytest.mark.parametrize("strategy", [Strategy.loss, Strategy.stochastic_loss, Strategy.guidance])
def test_at_both_ends_every_strategy_is_plain_guidance(strategy, prior, generator):
    one, other = pair(prior, 3)
    z_t, t = torch.randn(3, 3, 8, 8, generator=generator), torch.tensor([100, 400, 800])
    for a, cond in ((0.0, one), (1.0, other)):
        shares = torch.full((3,), a)
        denoise = PromptInterpolator(strategy).denoiser(prior, one, other, shares, generator)
        assert torch.allclose(denoise(z_t, t, 3.0), prior.predict_noise(z_t, t, cond, 3.0), atol=1e-4)


def test_embedding_interpolation_is_plain_guidance_at_both_ends(tmp_path, generator):
    from tiny_models import save_pixel

    guidance = PixelGuidance(str(save_pixel(tmp_path)))
    one, other = guidance.condition(["a red cube", "a cat"], [0, 0]), guidance.condition(["a cone", "a cat"], [1, 1])
    z_t, t = torch.randn(2, 3, 16, 16, generator=generator), torch.tensor([100, 800])
    for a, cond in ((0.0, one), (1.0, other)):
        denoise = PromptInterpolator("embedding").denoiser(guidance, one, other, torch.full((2,), a), generator)
        assert torch.allclose(denoise(z_t, t, 3.0), guidance.predict_noise(z_t, t, cond, 3.0), atol=1e-5)


def test_the_stochastic_loss_has_the_gradient_of_the_loss_in_the_mean(prior, generator):
    count = 4000
    one, other = pair(prior, count)
    z_t = torch.randn(1, 3, 8, 8, generator=generator).expand(count, -1, -1, -1)
    t, a = torch.full((count,), 300), torch.full((count,), 0.3)
    mean = PromptInterpolator("stochastic_loss").denoiser(prior, one, other, a, generator)(z_t, t, 2.0).mean(0)
    exact = PromptInterpolator("loss").denoiser(prior, one[:1], other[:1], a[:1], generator)(z_t[:1], t[:1], 2.0)[0]
    spread = prior.predict_noise(z_t[:2], t[:2], torch.stack([one[0], other[0]]), 2.0).std(0)
    assert float((mean - exact).abs().max()) < 5 * float(spread.max()) / count**0.5


def test_mixed_guidance_and_mixed_loss_are_one_estimate(prior, generator):
    one, other = pair(prior, 2)
    z_t, t, a = torch.randn(2, 3, 8, 8, generator=generator), torch.tensor([200, 700]), torch.tensor([0.2, 0.7])
    found = [PromptInterpolator(s).denoiser(prior, one, other, a, generator)(z_t, t, 4.0) for s in ("loss", "guidance")]
    assert torch.allclose(*found, atol=1e-4)


@pytest.mark.parametrize("kappa", [0.5, 1, 4])  # an int too
def test_dirichlet_shares_have_their_variance(kappa, generator):
    a = dirichlet_shares(200_000, kappa, generator)
    assert float(a.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(a.var()) == pytest.approx(1 / (4 * (2 * kappa + 1)), rel=0.02)


def test_kappa_is_scheduled_geometrically_and_plain_prompts_stay_plain(generator):
    interpolator = PromptInterpolator(kappa=0.25, kappa_end=4.0, share=0.5)
    assert [interpolator.kappa_at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.25, 1.0, 4.0])
    a = interpolator.shares(2000, 0.5, generator)
    assert 0.45 < float((a == 0).float().mean()) < 0.55


def test_impossible_shares_are_refused(generator):
    with pytest.raises(ValueError, match="kappa must be positive, got 0"):
        dirichlet_shares(3, 0, generator)
    with pytest.raises(ValueError, match=r"kappa must be positive and share in \[0, 1\]"):
        PromptInterpolator(kappa=-1)
    with pytest.raises(ValueError, match="'spherical' is not a valid Strategy"):
        PromptInterpolator("spherical")
