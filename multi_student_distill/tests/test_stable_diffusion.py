"""Stable Diffusion through diffusers' layout, on a tiny random model that the test writes itself."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from pytorch_lightning import Trainer
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from multi_student_distill import EmbeddingRouter, MultiStudentStableDiffusionPipeline, one_step
from multi_student_distill.captions import read_captions, tokenize
from multi_student_distill.data import CaptionData
from multi_student_distill.exporting import export
from multi_student_distill.pipeline import EmbeddingRouterModel, Students
from multi_student_distill.stable_diffusion import (
    LatentDenoiser,
    StableDiffusionDistillModule,
    load_stable_diffusion,
    load_unet,
    pooled_embeddings,
    read_embeddings,
)

CAPTIONS = ["a red dog", "a dog", "red cat", "cat and dog", "a cat", "the sea", "sea and sky", "red sky"]


def unet(channels=(8, 16), cross=16):
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross,
        attention_head_dim=4,
        norm_num_groups=4,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sd")
    torch.manual_seed(0)
    unet().save_pretrained(path / "unet")
    unet((8, 8)).save_pretrained(path / "small")
    text = CLIPTextConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(path / "text_encoder")
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000
    ).save_pretrained(path / "scheduler")
    letters = [chr(c) for c in range(97, 123)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (path / "tokenizer").mkdir()
    (path / "tokenizer" / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (path / "tokenizer" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 12, "pad_token": "<|endoftext|>"})
    )
    (path / "captions.txt").write_text("\n".join(CAPTIONS))
    return path


@pytest.fixture(scope="module")
def denoiser(folder):
    return LatentDenoiser(*load_stable_diffusion(folder)[:4])


def tokens_of(folder, captions):
    return tokenize(captions, folder, 12)


def test_the_one_step_sample_is_x0_from_epsilon_at_the_last_step(folder, denoiser, generator):
    z, tokens = torch.randn(2, 4, 8, 8, generator=generator), tokens_of(folder, CAPTIONS[:2])
    alpha = denoiser.alphas[-1]
    with torch.no_grad():
        states = denoiser.embedded(tokens)
        epsilon = denoiser.net(z, torch.tensor([999, 999]), encoder_hidden_states=states).sample
        expected = (z - (1 - alpha).sqrt() * epsilon) / alpha.sqrt()
        found = one_step(denoiser, z, tokens)
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))
    assert denoiser.levels[-1].item() == pytest.approx(14.61, rel=1e-2)


def test_every_level_asks_the_network_for_its_own_step(denoiser):
    asked = []
    handle = denoiser.net.register_forward_hook(lambda _m, inputs, _o: asked.append(inputs[1]))
    steps = torch.tensor([0, 1, 500, 998, 999])
    tokens = torch.zeros(5, 12, dtype=torch.int64)
    with torch.no_grad():
        denoiser(torch.zeros(5, 4, 8, 8), denoiser.levels[steps], tokens)
    handle.remove()
    assert torch.equal(asked[0], steps)


def test_the_weighted_loss_on_x0_is_the_plain_loss_on_epsilon(folder, denoiser, generator):
    x0, epsilon = torch.randn(2, 3, 4, 8, 8, generator=generator)
    tokens, steps = tokens_of(folder, CAPTIONS[:3]), torch.tensor([10, 400, 900])
    sigma = denoiser.levels[steps]
    with torch.no_grad():
        x = x0 + sigma[:, None, None, None] * epsilon
        ours = denoiser.loss_weight(sigma)[:, None, None, None] * (denoiser(x, sigma, tokens) - x0).square()
        alpha = denoiser.alphas[steps][:, None, None, None]
        noised = alpha.sqrt() * x0 + (1 - alpha).sqrt() * epsilon
        predicted = denoiser.net(noised, steps, encoder_hidden_states=denoiser.embedded(tokens)).sample
    assert torch.allclose(ours, (predicted - epsilon).square(), rtol=1e-2, atol=1e-3)


def test_guidance_is_the_teachers_alone_and_extrapolates(folder, generator):
    parts = load_stable_diffusion(folder)[:4]
    guided, plain = LatentDenoiser(*parts, guidance=1.75), LatentDenoiser(*parts)
    x, tokens = torch.randn(2, 4, 8, 8, generator=generator), tokens_of(folder, CAPTIONS[:2])
    sigma = plain.levels[torch.tensor([500, 500])]
    with torch.no_grad():
        known, empty = plain(x, sigma, tokens), plain(x, sigma, tokens_of(folder, ["", ""]))
        assert torch.allclose(guided(x, sigma, tokens), empty + 1.75 * (known - empty), atol=1e-4)


def test_a_v_prediction_is_turned_into_x0(folder, denoiser, generator):
    parts = load_stable_diffusion(folder)[:4]
    velocity = LatentDenoiser(*parts, prediction="v_prediction")
    x, tokens = torch.randn(1, 4, 8, 8, generator=generator), tokens_of(folder, CAPTIONS[:1])
    sigma, alpha = denoiser.levels[500:501], denoiser.alphas[500]
    with torch.no_grad():
        noised = alpha.sqrt() * x
        v = denoiser.net(noised, torch.tensor([500]), encoder_hidden_states=denoiser.embedded(tokens)).sample
        expected = alpha.sqrt() * noised - (1 - alpha).sqrt() * v
        assert torch.allclose(velocity(x, sigma, tokens), expected, atol=1e-4)
    with pytest.raises(ValueError, match="prediction is epsilon or v_prediction, got 'sample'"):
        LatentDenoiser(*parts, prediction="sample")


def caption_data(folder, **changed):
    return CaptionData(str(folder / "captions.txt"), str(folder), (4, 8, 8), **{"batch_size": 2, **changed})


@pytest.mark.parametrize("student", ["", "small"])
def test_a_student_is_distilled_from_a_folder_and_served(folder, tmp_path, student):
    data = caption_data(folder, parts=4, students=[1])
    assert data.conditions == 8
    module = StableDiffusionDistillModule(
        str(folder), str(folder / student) if student else "", regression_weight=0.0, ratio=2, lr=1e-4, ema=0.5,
        shape=data.shape, students=data.chosen, seed=0,
    )  # fmt: skip
    trainer = Trainer(
        max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, data)
    assert module.ledger.passes["teacher"] == 2 * 2  # two of three steps moved the student, two samples each
    export(module, tmp_path)
    trained = UNet2DConditionModel.from_pretrained(tmp_path / "student_1", low_cpu_mem_usage=False)
    router = EmbeddingRouterModel.of(EmbeddingRouter.quadrants(torch.randn(8, 16)))
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=4, latent_channels=4)
    pipe = MultiStudentStableDiffusionPipeline(
        vae,
        CLIPTextModel.from_pretrained(folder / "text_encoder"),
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        DDPMScheduler.from_pretrained(folder / "scheduler"),
        router,
        Students([trained, trained, unet((8, 8)), trained]),
    )
    pipe.save_pretrained(tmp_path / "pipe")
    again = MultiStudentStableDiffusionPipeline.from_pretrained(tmp_path / "pipe")
    z = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second = (p(CAPTIONS, latents=z, output_type="pt") for p in (pipe, again))
    assert torch.equal(first.images, second.images) and first.images.shape == (8, 3, 8, 8)
    assert torch.equal(first.students, second.students)
    assert pipe("a dog", output_type="pil").images[0].size == (8, 8)
    with pytest.raises(ValueError, match="output_type is pil, np, pt or latent"):
        pipe("a dog", output_type="jpg")


def test_the_adversarial_stage_reads_the_mid_block_of_the_fake_score(folder):
    data = caption_data(folder)
    module = StableDiffusionDistillModule(
        str(folder), stage="adm", regression_weight=0.0, shape=data.shape, students=[0]
    )
    module.configure_model()
    batch = data.batch
    data.setup("fit")
    made = batch(0)
    made = made._replace(real=torch.randn(2, 4, 8, 8), real_labels=made.labels)
    from multi_student_distill.step_noise import StepNoise

    losses = module.distiller.guidance_losses(torch.randn(2, 4, 8, 8), made, StepNoise([0], 0))
    losses["head"].backward()
    assert module.distiller.fake.net.conv_in.weight.grad.abs().sum() > 0


def test_prompts_are_parted_by_their_embeddings(folder, tmp_path):
    pooled = pooled_embeddings(CAPTIONS, folder)
    assert pooled.shape == (8, 16)
    save_file({"pooled": pooled}, tmp_path / "pooled.safetensors")
    data = caption_data(folder, parts=4, partition="quadrants", embeddings_path=str(tmp_path / "pooled.safetensors"))
    assert torch.bincount(data.partition.assignment).tolist() == [2, 2, 2, 2]
    data.setup("fit")
    batch = data.batch(0)
    assert batch.labels.shape == (8, 12) and batch.real.shape == (0, 4, 8, 8)
    own = {tuple(data.tokens[c].tolist()) for c in data.partition.part(2).tolist()}
    assert {tuple(row) for row in batch.labels[4:6].tolist()} <= own
    with pytest.raises(ValueError, match="expected embeddings of 9 captions"):
        read_embeddings(tmp_path / "pooled.safetensors", 9)
    with pytest.raises(ValueError, match="no such file; `multi-student-distill embed`"):
        read_embeddings(tmp_path / "none.safetensors", 9)
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 30)
    with pytest.raises(ValueError, match="not a safetensors file with `pooled`"):
        read_embeddings(tmp_path / "bad.safetensors", 9)
    with pytest.raises(ValueError, match="captions have no images"):
        data.load("train")


def test_what_is_no_stable_diffusion_folder_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="neither a folder in diffusers' layout nor a cached hub id"):
        load_stable_diffusion(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer/"):
        tokenize(["a"], tmp_path)
    with pytest.raises(ValueError, match="no UNet2DConditionModel in it"):
        load_unet(tmp_path)
    with pytest.raises(ValueError, match="train one at a time"):
        StableDiffusionDistillModule(str(folder), regression_weight=0.0, students=[0, 1])
    with pytest.raises(ValueError, match="distilled without pairs"):
        StableDiffusionDistillModule(str(folder), regression_weight=0.25)
    assert read_captions(folder / "captions.txt") == CAPTIONS
