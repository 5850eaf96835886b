"""Large priors in the diffusers layout, from a local folder or the hub's cache, never downloaded behind one's back.

MVDream is Stable Diffusion 2.1 with self-attention over views and a camera embedding beside that of time, which is what
`class_embed_type="projection"` with 16 inputs makes of a diffusers U-Net.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HFValidationError
from huggingface_hub.file_download import repo_folder_name
from torch import Tensor, nn

from .diffusion import Condition, clean_from, level
from .networks import Text
from .priors import MultiViewAttnProcessor

# MVDream was trained with z up, after an OpenGL camera with y up had been made: (x, y, z) -> (x, -z, y)
Y_UP_TO_Z_UP = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


class CLIPEncoder(nn.Module):
    """A pipeline's own tokenizer and frozen text encoder; needs the extra `clip`.

    Raises:
        ValueError: transformers is missing, or a part of the pipeline.
    """

    def __init__(self, path: str):
        super().__init__()
        try:
            from transformers import CLIPTextModel, CLIPTokenizer
        except ImportError as error:
            raise ValueError("CLIP text encoders need transformers: pip install 'latte3d[clip]'") from error
        self.tokenizer = _read(CLIPTokenizer, path, "tokenizer")
        self.model = _read(CLIPTextModel, path, "text_encoder").requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, prompts: Sequence[str]) -> Text:
        """Tokens (B, length of the model, width); none is masked, as the diffusion models were trained."""
        length = self.model.config.max_position_embeddings
        ids = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids
        tokens = self.model(ids.to(self.model.device)).last_hidden_state
        return Text(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))


class LatentPrior(nn.Module):
    """What the large priors share: a VAE, a text encoder, a scheduler's noise levels and kind of prediction."""

    def __init__(self, path: str):
        super().__init__()
        self.text = CLIPEncoder(path)
        self.vae = _read(AutoencoderKL, path, "vae").requires_grad_(False).eval()
        self.unet = _read(UNet2DConditionModel, path, "unet").requires_grad_(False).eval()
        scheduler = _read(DDPMScheduler, path, "scheduler")
        self.kind = scheduler.config.prediction_type
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.clone())
        self.register_buffer("null", self.text([""]).tokens, persistent=False)

    def encode(self, images: Tensor) -> Tensor:
        """RGB (N, S, S, 3) in [0, 1] to latents, by the mean of the VAE's posterior."""
        latents = self.vae.encode(images.movedim(-1, 1) * 2 - 1).latent_dist.mode()
        return latents * self.vae.config.scaling_factor

    def paired_tokens(self, text: Text, images: int) -> Tensor:
        """Tokens with the text, then without it, for each image, (2N, L, D)."""
        each = text.tokens.repeat_interleave(images // len(text.tokens), 0)
        return torch.cat([each, self.null.to(each).expand_as(each)])

    def finish(self, prediction: Tensor, noisy: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        clean = clean_from(prediction, noisy, level(self.alphas_cumprod, t).to(noisy), self.kind)
        return clean.chunk(2)


class MVDreamPrior(LatentPrior):
    """MVDream: `path` has unet, vae, text_encoder, tokenizer and scheduler.

    Raises:
        ValueError: a part is missing, or the U-Net takes no 16 numbers of a camera.
    """

    def __init__(self, path: str, views: int = 4):
        super().__init__(path)
        config = self.unet.config
        if config.class_embed_type != "projection" or config.projection_class_embeddings_input_dim != 16:
            raise ValueError(
                f"{path}/unet takes no camera: expected class_embed_type 'projection' with 16 inputs, "
                f"got {config.class_embed_type!r} with {config.projection_class_embeddings_input_dim}"
            )
        self.unet.set_attn_processor(MultiViewAttnProcessor(views))

    def denoise_pair(self, noisy: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        cameras = condition.cameras
        turned = Y_UP_TO_Z_UP.to(cameras.to_world) @ cameras.to_world
        labels = type(cameras)(turned, cameras.fov).embedding().to(noisy)
        both, times = noisy.repeat(2, 1, 1, 1), t.repeat(2)
        tokens = self.paired_tokens(condition.text, len(noisy))
        prediction = self.unet(both, times, tokens, class_labels=labels.repeat(2, 1)).sample
        return self.finish(prediction, both, times)


class ControlNetDepthPrior(LatentPrior):
    """Stable Diffusion steered by a ControlNet for depth: two folders or hub ids.

    Raises:
        ValueError: a part is missing, or the two were made for different text encoders.
    """

    def __init__(self, path: str, controlnet: str):
        super().__init__(path)
        self.control = _read(ControlNetModel, controlnet, None).requires_grad_(False).eval()
        widths = self.unet.config.cross_attention_dim, self.control.config.cross_attention_dim
        if widths[0] != widths[1]:
            raise ValueError(f"{controlnet} expects text of width {widths[1]}, {path} has {widths[0]}")

    def denoise_pair(self, noisy: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        both, times = noisy.repeat(2, 1, 1, 1), t.repeat(2)
        tokens = self.paired_tokens(condition.text, len(noisy))
        depth = condition.depth.repeat(2, 3, 1, 1)  # a grey picture
        down, middle = self.control(both, times, tokens, depth, return_dict=False)
        prediction = self.unet(
            both, times, tokens, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return self.finish(prediction, both, times)


def _read(part: type, path: str, subfolder: str | None):
    """A part of a pipeline, from disk alone.

    Raises:
        ValueError: it is neither in that folder nor in the hub's cache.
    """
    if Path(path).is_dir() and subfolder and not (Path(path) / subfolder).is_dir():
        raise ValueError(f"{path} has no folder {subfolder}: expected a pipeline in the diffusers layout")
    missing = (
        f"{path} is neither a folder in the diffusers layout nor in the hub's cache; nothing is downloaded here: "
        f"fetch it first, for example with `hf download {path}`"
    )
    if not Path(path).is_dir() and not in_cache(path):  # asked first, since the hub's client would go online
        raise ValueError(missing)
    try:
        return part.from_pretrained(path, local_files_only=True, **({"subfolder": subfolder} if subfolder else {}))
    except OSError as error:
        raise ValueError(missing) from error


def in_cache(repo: str) -> bool:
    """Whether anything of a hub id was downloaded."""
    try:
        return (Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")).is_dir()
    except HFValidationError:  # no hub id
        return False
