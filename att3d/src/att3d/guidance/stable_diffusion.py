"""Stable Diffusion as a prior: images are resized and encoded by its autoencoder, with gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..text import CLIPTextEncoder
from .loading import load_vae
from .pixel import DiffusersGuidance


class StableDiffusionGuidance(DiffusersGuidance):
    """Args:
    path: folder in the diffusers layout or hub id (`unet`, `scheduler`, `vae`, `text_encoder`, `tokenizer`).
    num_tokens: of the text encoder. resolution: of the autoencoder's input. dtype: of the UNet.
    """

    def __init__(self, path: str, num_tokens: int = 77, resolution: int = 512, dtype: str = "float32"):
        super().__init__(path, CLIPTextEncoder(path, num_tokens), 4, dtype)
        self.num_tokens, self.resolution = num_tokens, resolution
        self.vae = load_vae(path)

    def encode(self, rgb: Tensor) -> Tensor:
        """z = scaling factor · mean of the latents (B, 4, h, w), differentiable in rgb."""
        images = interpolate(rgb, (self.resolution, self.resolution), mode="bilinear", align_corners=False)
        latents = self.vae.encode(2 * images.to(self.vae.dtype) - 1).latent_dist.mean
        return (latents * self.vae.config.scaling_factor).to(torch.float32)
