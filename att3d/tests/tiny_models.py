"""Tiny random models, built from configs and saved in the diffusers layout: nothing is downloaded."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from att3d.pixel_prior import PixelPrior

WORDS = ["<pad>", "<unk>", "</s>", "a", "red", "blue", "green", "cube", "cone", "cat", "front", "back", "view", ","]


def save_tokenizer(folder: Path) -> None:
    raw = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = Whitespace()
    raw.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", model_max_length=16
    )
    tokenizer.save_pretrained(folder)


def text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, projection_dim=8, eos_token_id=2, pad_token_id=0, bos_token_id=1,
    )  # fmt: skip


def unet(in_channels: int, out_channels: int, **changed) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, in_channels=in_channels, out_channels=out_channels, block_out_channels=(8, 16),
        layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **{"cross_attention_dim": 16, **changed},
    )  # fmt: skip


def save_stable_diffusion(folder: Path, prediction: str = "epsilon") -> Path:
    torch.manual_seed(0)
    unet(4, 4).save_pretrained(folder / "unet")
    DDPMScheduler(1000, prediction_type=prediction).save_pretrained(folder / "scheduler")
    AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).save_pretrained(folder / "vae")  # fmt: skip
    CLIPTextModel(text_config()).save_pretrained(folder / "text_encoder")
    save_tokenizer(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


def save_deepfloyd(folder: Path) -> Path:
    torch.manual_seed(0)
    unet(3, 6, encoder_hid_dim=24).save_pretrained(folder / "unet")
    DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", variance_type="learned_range").save_pretrained(
        folder / "scheduler"
    )
    config = T5Config(vocab_size=len(WORDS), d_model=24, d_kv=4, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0)
    T5EncoderModel(config).save_pretrained(folder / "text_encoder")
    save_tokenizer(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "IFPipeline"}))
    return folder


def save_pixel(folder: Path) -> Path:
    torch.manual_seed(0)
    PixelPrior(widths=(8, 16)).save_pretrained(folder)
    return folder


def save_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    CLIPModel(CLIPConfig(text_config=text_config().to_dict(), vision_config=vision.to_dict(), projection_dim=8)).save_pretrained(folder)  # fmt: skip  # noqa: E501
    save_tokenizer(folder)
    return folder
