"""The layouts of MVDream, Stable Diffusion and a depth ControlNet, as tiny random models saved by diffusers."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from pytorch_lightning import Trainer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from latte3d.cameras import ring
from latte3d.data import StepBatches
from latte3d.diffusion import Condition
from latte3d.networks import Sizes
from latte3d.optimization import prompt_library
from latte3d.pipeline import Latte3DPipeline
from latte3d.pretrained import ControlNetDepthPrior, MVDreamPrior
from latte3d.score_distillation import CleanDistillation
from latte3d.stages import VolumetricStage

UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}


def save_pipeline(folder, width=16, **unet):
    torch.manual_seed(0)
    UNet2DConditionModel(cross_attention_dim=width, **UNET, **unet).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).save_pretrained(folder / "vae")  # fmt: skip
    DDPMScheduler(prediction_type="v_prediction").save_pretrained(folder / "scheduler")
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    files = folder / "vocab.json", folder / "merges.txt"
    files[0].write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    files[1].write_text("#version: 0.2\n")
    CLIPTokenizer(*map(str, files)).save_pretrained(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=width, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=10, bos_token_id=52, eos_token_id=53, pad_token_id=53,
    )  # fmt: skip
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="module")
def mvdream(tmp_path_factory):
    camera = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 16}
    return save_pipeline(tmp_path_factory.mktemp("mvdream"), **camera)


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("sd"))


def controlnet(folder, width=16):
    torch.manual_seed(1)
    keys = set(UNET) - {"out_channels", "sample_size", "up_block_types"}
    net = ControlNetModel(
        cross_attention_dim=width, conditioning_embedding_out_channels=(4, 8), **{key: UNET[key] for key in keys}
    )
    for zero in (net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(zero.weight)  # a new ControlNet changes nothing
    net.save_pretrained(folder)
    return folder


def test_mvdream_guides_four_views(mvdream, generator):
    prior = MVDreamPrior(str(mvdream))
    text = prior.text(["a red cube"])
    assert text.tokens.shape == (1, 10, 16)
    images = torch.rand(4, 16, 16, 3, generator=generator, requires_grad=True)
    latents = prior.encode(images)
    condition = Condition(text, ring(4))
    noise = torch.randn(latents.shape, generator=generator)
    CleanDistillation()(prior, latents, torch.tensor([400]), noise, condition).mean().backward()
    assert images.grad.abs().max() > 0 and images.grad.isfinite().all()
    assert not any(p.requires_grad for p in prior.parameters())
    noisy = torch.randn(4, 4, 8, 8, generator=generator)
    with_text, without = prior.denoise_pair(noisy, torch.full((4,), 400), condition)
    turned, _ = prior.denoise_pair(noisy, torch.full((4,), 400), Condition(text, ring(4, start=40)))
    assert (with_text - without).abs().max() > 1e-5 and (with_text - turned).abs().max() > 1e-6


def test_a_depth_controlnet_steers_stable_diffusion(stable_diffusion, tmp_path, generator):
    prior = ControlNetDepthPrior(str(stable_diffusion), str(controlnet(tmp_path)))
    condition = Condition(
        prior.text(["a red cube", "a blue ball"]), depth=torch.rand(2, 1, 16, 16, generator=generator)
    )
    noisy, t = torch.randn(2, 4, 8, 8, generator=generator), torch.full((2,), 300)
    out = prior.denoise_pair(noisy, t, condition)[0]
    other = prior.denoise_pair(noisy, t, condition._replace(depth=1 - condition.depth))[0]
    assert out.shape == noisy.shape and (out - other).abs().max() > 1e-6


def test_networks_may_read_prompts_with_the_priors_own_clip(mvdream, tmp_path):
    sizes = Sizes(8, (8,), (4,), (8, 16), text_width=16, channels=4, hidden=8, points=32)
    settings = {"size": 16, "samples": 4, "cells": 8, "alpha": 0.5, "clip": str(mvdream)}
    stage = VolumetricStage([], MVDreamPrior(str(mvdream)), sizes, **settings)
    library = prompt_library("any words at all", torch.zeros(32, 6))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_steps=1, enable_checkpointing=False, **quiet)
    batches = StepBatches(library, 1, 0, lambda: trainer.global_step)
    trainer.fit(stage, torch.utils.data.DataLoader(batches, batch_size=None))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    (mesh,) = Latte3DPipeline.from_pretrained(tmp_path / "a.ckpt", cells=8)(["whatever else"])
    assert len(mesh.faces) > 20
    with pytest.raises(ValueError, match="has width 16, the networks expect 32"):
        VolumetricStage([], None, alpha=1.0, clip=str(mvdream))


def test_what_does_not_fit_is_refused_by_name(mvdream, stable_diffusion, tmp_path):
    with pytest.raises(
        ValueError, match=r"takes no camera: expected class_embed_type 'projection' with 16 .* got None"
    ):
        MVDreamPrior(str(stable_diffusion))
    with pytest.raises(ValueError, match="expects text of width 8"):
        ControlNetDepthPrior(str(stable_diffusion), str(controlnet(tmp_path / "narrow", width=8)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no folder tokenizer"):
        MVDreamPrior(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="nothing is downloaded here"):
        MVDreamPrior("nobody/no-such-model")


def test_clip_without_transformers_says_what_to_install(mvdream, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'latte3d\[clip\]'"):
        MVDreamPrior(str(mvdream))
