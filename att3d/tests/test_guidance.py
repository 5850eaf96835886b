"""Priors: the exact one as oracle, and models of diffusers loaded from tiny random ones in their layout."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import save_clip, save_deepfloyd, save_pixel, save_stable_diffusion

from att3d.distillation import ScoreDistillation
from att3d.guidance import ExactPrior, Guidance, PerpNeg
from att3d.guidance.deepfloyd import DeepFloydGuidance
from att3d.guidance.loading import load_clip, load_unet
from att3d.guidance.pixel import PixelGuidance
from att3d.guidance.protocol import cosine_alphas
from att3d.guidance.stable_diffusion import StableDiffusionGuidance
from att3d.interpolation import PromptInterpolator, Strategy
from att3d.pixel_prior import PixelPrior
from att3d.retrieval import CLIPRetrieval
from att3d.text import CLIPTextEncoder, HashTokenEncoder, T5TextEncoder


def noised(prior, z, generator, t):
    noise = torch.randn(z.shape, generator=generator)
    t = torch.full((len(z),), t)
    return prior.add_noise(z, noise, t), t, noise


@pytest.mark.parametrize("t", [20, 500, 980])
def test_with_one_image_the_residual_is_the_way_to_it_whatever_the_noise(t, generator):
    mu = torch.rand(1, 3, 4, 4, generator=generator)
    prior = ExactPrior(mu, ["a cat"], torch.tensor([0]))
    z = torch.randn(5, 3, 4, 4, generator=generator)
    z_t, steps, noise = noised(prior, z, generator, t)
    residual = prior.predict_noise(z_t, steps, prior.condition(["a cat"] * 5, [0] * 5), 3.0) - noise
    a = float(prior.alphas_cumprod[t])
    expected = math.sqrt(a / (1 - a)) * (z - (2 * mu - 1))
    assert torch.allclose(residual, expected, atol=1e-4 * max(1.0, float(expected.abs().max())))


def test_guidance_of_one_is_the_conditional_model_and_of_zero_the_unconditional(prior, generator):
    z_t, t, _ = noised(prior, torch.randn(3, 3, 8, 8, generator=generator), generator, 300)
    cond = prior.condition(["a red sphere", "a blue cube", "a green cone"], [0, 1, 2])
    free, conditional = prior.noise_pair(z_t, t, cond)
    assert torch.allclose(prior.predict_noise(z_t, t, cond, 1.0), conditional, atol=1e-6)
    assert torch.allclose(prior.predict_noise(z_t, t, cond, 0.0), free, atol=1e-6)
    assert not torch.allclose(free, conditional, atol=1e-2)


def test_at_pure_noise_the_exact_prior_predicts_the_mean_of_its_images(prior, generator):
    prior.alphas_cumprod[999] = 1e-10
    t = torch.tensor([999])
    shares = prior.logits(torch.randn(1, 3, 8, 8, generator=generator), t).softmax(1)
    assert torch.allclose(shares @ prior.data, prior.data.mean(0, keepdim=True), atol=1e-3)


def test_at_little_noise_it_returns_the_image_itself(prior):
    t = torch.tensor([20])
    image = prior.data[5].reshape(1, 3, 8, 8)
    shares = prior.logits(prior.signal(t).sqrt() * image, t).softmax(1)
    assert int(shares.argmax()) == 5 and float(shares.max()) > 0.99


def test_a_view_without_images_falls_back_on_those_of_its_prompt(generator):
    images = torch.rand(2, 3, 4, 4, generator=generator)
    prior = ExactPrior(images, ["a cat", "a dog"], torch.tensor([0, 0]))
    z_t, t, _ = noised(prior, torch.zeros(1, 3, 4, 4), generator, 400)
    back = prior.predict_noise(z_t, t, prior.condition(["a dog"], [2]), 1.0)
    front = prior.predict_noise(z_t, t, prior.condition(["a dog"], [0]), 1.0)
    assert torch.equal(back, front) and bool(back.isfinite().all())


def test_no_network_denoises_its_images_better_than_the_exact_prior(prior, generator):
    """The posterior mean is the least-squares denoiser; a perturbed estimate stands for any other one."""
    cond = prior.condition(["a red sphere"] * 4, [0, 1, 2, 3])
    z = prior.data[:4].reshape(4, 3, 8, 8)
    for t in (50, 400, 900):
        z_t, steps, noise = noised(prior, z, generator, t)
        exact = prior.predict_noise(z_t, steps, cond, 1.0)
        other = exact + 0.1 * torch.randn(exact.shape, generator=generator)
        assert float((exact - noise).square().mean()) < float((other - noise).square().mean())


def test_its_schedule_is_the_squared_cosine_of_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    assert torch.allclose(cosine_alphas(1000), theirs, atol=1e-5)


def test_bad_images_prompts_and_mixtures_are_refused(prior):
    with pytest.raises(ValueError, match="as many images as captions and views, got 2, 1 and 2"):
        ExactPrior(torch.rand(2, 3, 4, 4), ["a"], torch.zeros(2))
    with pytest.raises(ValueError, match="no images of 'a cow'; it knows 3 prompts"):
        prior.condition(["a cow"], [0])
    with pytest.raises(ValueError, match="no text embedding to interpolate"):
        prior.mix(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.5]))
    with pytest.raises(ValueError, match=r"holds images of 192 numbers, got \(3, 4, 4\)"):
        prior.noise_pair(torch.zeros(1, 3, 4, 4), torch.tensor([5]), torch.tensor([0]))
    with pytest.raises(NotImplementedError):
        Guidance().condition(["a"], [0])
    with pytest.raises(NotImplementedError):
        Guidance().noise_pair(torch.zeros(1, 3, 4, 4), torch.tensor([5]), torch.tensor([0]))


# Perp-Neg


class Stub(Guidance):
    """ε_u = 0 and ε_c = a given image for each view, so that all directions are known."""

    def __init__(self, by_view):
        super().__init__()
        self.register_buffer("alphas_cumprod", cosine_alphas(1000))
        self.by_view = by_view  # (4, C, H, W)

    def condition(self, prompts, views):
        return torch.tensor(list(views))

    def noise_pair(self, z_t, t, cond):
        return torch.zeros_like(z_t), self.by_view[cond]


def axes(*parts):
    """An image (1, 2, 2) from its four numbers."""
    return torch.tensor(parts, dtype=torch.float).reshape(1, 2, 2)


def test_of_a_negative_only_what_is_perpendicular_to_the_own_view_is_taken_away():
    """d = 2 e₁; the others are 5 e₁ + 3 e₂ and −e₁ + 4 e₃: what comes out is d − ω (3 e₂ + 4 e₃)."""
    stub = Stub(torch.stack([axes(2, 0, 0, 0), axes(5, 3, 0, 0), axes(-1, 0, 4, 0), axes(0, 0, 0, 9)]))
    z_t, t = torch.zeros(1, 1, 2, 2), torch.tensor([500])
    prior = PerpNeg(stub, 0.5)
    free, conditional = prior.noise_pair(z_t, t, prior.condition(["a cat"], [0]))
    assert torch.equal(free, z_t) and torch.allclose(conditional[0], axes(2, -1.5, -2, 0))
    assert torch.allclose(prior.predict_noise(z_t, t, prior.condition(["a cat"], [0]), 10.0)[0], axes(20, -15, -20, 0))


def test_from_overhead_and_without_weight_perp_neg_is_the_prior_itself(prior, generator):
    z_t, t, _ = noised(prior, torch.randn(4, 3, 8, 8, generator=generator), generator, 300)
    prompts, views = ["a red sphere"] * 4, [0, 1, 2, 3]
    plain = prior.predict_noise(z_t, t, prior.condition(prompts, views), 2.0)
    none, some = PerpNeg(prior, 0.0), PerpNeg(prior, 1.0)
    assert torch.allclose(none.predict_noise(z_t, t, none.condition(prompts, views), 2.0), plain, atol=1e-5)
    found = some.predict_noise(z_t, t, some.condition(prompts, views), 2.0)
    assert torch.allclose(found[3], plain[3], atol=1e-4) and not torch.allclose(found[0], plain[0], atol=1e-2)


@settings(max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=16, max_size=16))
def test_the_way_towards_the_own_prompt_never_changes(numbers):
    stub = Stub(torch.tensor(numbers).reshape(4, 1, 2, 2))
    prior, views = PerpNeg(stub, 2.0), [0, 1, 2]
    z_t, t = torch.zeros(3, 1, 2, 2), torch.full((3,), 500)
    _, conditional = prior.noise_pair(z_t, t, prior.condition(["a cat"] * 3, views))
    d = stub.by_view[:3].flatten(1)
    assert torch.allclose((conditional.flatten(1) * d).sum(1), d.square().sum(1), atol=1e-3)


def test_perp_neg_takes_embeddings_and_trains_a_scene_between_prompts(tmp_path, generator):
    guidance = PerpNeg(PixelGuidance(str(save_pixel(tmp_path))))
    one, other = guidance.condition(["a red cube"], [0]), guidance.condition(["a cone"], [2])
    assert one.shape == (1, 3, 6, 32)
    rgb = torch.rand(1, 3, 16, 16, generator=generator, requires_grad=True)
    for strategy in Strategy:
        denoise = PromptInterpolator(strategy).denoiser(guidance, one, other, torch.tensor([0.3]), generator)
        ScoreDistillation(2.0)(guidance, denoise, rgb, 0.0, generator).backward()
    assert bool(rgb.grad.isfinite().all()) and float(rgb.grad.abs().max()) > 0


def test_perp_neg_refuses_negative_weights_and_unknown_views(prior):
    with pytest.raises(ValueError, match="weight must be at least 0"):
        PerpNeg(prior, -1.0)
    with pytest.raises(ValueError, match=r"views must be 0 to 3 \(front, side, back, overhead\), got 4"):
        PerpNeg(prior).condition(["a red sphere"], [4])


# diffusers


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory):
    return save_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def deepfloyd(tmp_path_factory):
    return save_deepfloyd(tmp_path_factory.mktemp("if"))


def asked(guidance, channels, size, generator):
    cond = guidance.condition(["a red cube", "a blue cone"], [0, 2])
    z_t = torch.randn(2, channels, size, size, generator=generator)
    free, conditional = guidance.noise_pair(z_t, torch.tensor([100, 900]), cond)
    assert free.shape == conditional.shape == z_t.shape and bool(conditional.isfinite().all())
    assert not torch.allclose(free, conditional)
    return cond


def test_stable_diffusion_is_loaded_from_its_folder_and_encodes_with_gradients(stable_diffusion, generator):
    guidance = StableDiffusionGuidance(str(stable_diffusion), num_tokens=8, resolution=32)
    cond = asked(guidance, 4, 16, generator)
    assert cond.shape == (2, 8, 16)
    rgb = torch.rand(1, 3, 16, 16, generator=generator, requires_grad=True)
    z = guidance.encode(rgb)
    assert z.shape == (1, 4, 16, 16)
    z.sum().backward()
    assert float(rgb.grad.abs().max()) > 0
    assert all(not p.requires_grad for p in guidance.parameters())
    middle = guidance.mix(cond[:1], cond[1:], torch.tensor([0.5]))
    assert torch.allclose(middle, cond.mean(0, keepdim=True), atol=1e-6)


def test_a_model_of_v_is_turned_into_one_of_noise(stable_diffusion, tmp_path, generator):
    path = save_stable_diffusion(tmp_path, prediction="v_prediction")
    v, eps = (StableDiffusionGuidance(str(p), num_tokens=8, resolution=32) for p in (path, stable_diffusion))
    v.unet.load_state_dict(eps.unet.state_dict())
    z_t, t = torch.randn(1, 4, 16, 16, generator=generator), torch.tensor([300])
    states = eps.condition(["a cat"], [0])
    a = eps.signal(t)
    expected = a.sqrt() * eps.estimate(z_t, t, states) + (1 - a).sqrt() * z_t
    assert torch.allclose(v.estimate(z_t, t, states), expected, atol=1e-5)


def test_deepfloyd_keeps_the_first_three_of_six_channels(deepfloyd, generator):
    guidance = DeepFloydGuidance(str(deepfloyd), num_tokens=8, resolution=16)
    assert guidance.unet.config.out_channels == 6
    asked(guidance, 3, 16, generator)
    rgb = torch.rand(1, 3, 8, 8, requires_grad=True)
    guidance.encode(rgb).sum().backward()
    assert float(rgb.grad.abs().max()) > 0


def test_a_pixel_prior_of_ones_own_is_loaded_and_its_empty_prompt_is_zero(tmp_path, generator):
    guidance = PixelGuidance(str(save_pixel(tmp_path)), num_tokens=6, embed_dim=32)
    asked(guidance, 3, 16, generator)
    assert float(guidance.unconditional(2).abs().max()) == 0


def test_every_process_trains_a_pixel_prior_with_noise_of_its_own(generator):
    torch.manual_seed(0)
    prior, batch = PixelPrior(widths=(8, 16)), (torch.randn(2, 3, 16, 16, generator=generator), torch.zeros(2, 6, 32))
    prior.log = lambda *_: None

    def loss(step, rank, world):
        prior.trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=world)
        return float(prior.training_step(batch, 0).detach())

    drawn = [loss(step, rank, 2) for step in range(2) for rank in range(2)]
    assert len(set(drawn)) == 4 and loss(3, 0, 1) == drawn[3]


def test_encoders_pad_with_zeros_and_give_their_width(stable_diffusion, deepfloyd):
    for encoder in (CLIPTextEncoder(str(stable_diffusion), 8), T5TextEncoder(str(deepfloyd), 8)):
        c = encoder.encode(["a cat", "a red cat"])
        assert c.shape == (2, 8, encoder.embed_dim) and float(c[0, -1].abs().max()) == 0
        assert not torch.allclose(c[0], c[1])


def test_clip_retrieval_scores_all_candidates(tmp_path, generator):
    retrieval = CLIPRetrieval(str(save_clip(tmp_path)), ["a red cube", "a blue cone", "a cat"])
    scores = retrieval(torch.rand(2, 3, 16, 16, generator=generator))
    assert scores.shape == (2, 3) and float(scores.abs().max()) <= 100.001


def edited(path, file, **changes):
    content = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(content | changes))


def test_models_that_do_not_fit_are_refused_with_path_and_numbers(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder, and no hub id"):
        load_unet("./nowhere", 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"unet/config.json: missing"):
        load_unet(str(tmp_path / "empty"), 3)
    path = save_stable_diffusion(tmp_path / "sd")
    with pytest.raises(ValueError, match=r"unet.in_channels is 4, this guidance needs 3"):
        load_unet(str(path), 3)
    with pytest.raises(ValueError, match=r"text_encoder/config.json: model_type is 'clip_text_model', expected a t5"):
        T5TextEncoder(str(path))
    edited(path, "scheduler/scheduler_config.json", prediction_type="sample")
    with pytest.raises(ValueError, match="prediction_type is 'sample', expected one of epsilon"):
        load_unet(str(path), 4)
    with pytest.raises(FileNotFoundError, match=r"config.json: missing"):
        CLIPTextEncoder(str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match=r"config.json: missing"):
        load_clip(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="expects text of width 32, the text encoder gives 8"):
        PixelGuidance(str(save_pixel(tmp_path / "pixel")), embed_dim=8)


def test_hashed_words_are_the_same_everywhere_and_limits_are_said():
    encoder = HashTokenEncoder(4, 8)
    c = encoder.encode(["a red cube", "A red, cube"])
    assert torch.equal(c[0], c[1]) and float(c[0, 3].abs().max()) == 0
    assert float(c[0, 1, 0]) == pytest.approx(float(HashTokenEncoder(9, 8).encode(["a red"])[0, 1, 0]))
    with pytest.raises(ValueError, match="has 5 words, the encoder takes 1 to 4"):
        encoder.encode(["one two three four five"])
    with pytest.raises(ValueError, match="has 0 words"):
        encoder.encode([" "])
    with pytest.raises(ValueError, match="must be at least 1"):
        HashTokenEncoder(0)
