"""Pixel-space UNets of diffusers as priors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..embeddings import EmbeddingCache
from ..text import HashTokenEncoder, TextEncoder
from .loading import check_text_width, load_unet
from .protocol import Guidance


class DiffusersGuidance(Guidance):
    """A UNet2DConditionModel with the embeddings of a text encoder; ε_u and ε_c in one batch.

    Args:
        path: folder in the diffusers layout, or hub id. encoder: of prompts with their view.
        in_channels: of z. dtype: of the UNet, such as bfloat16.
    """

    def __init__(self, path: str, encoder: TextEncoder, in_channels: int, dtype: str = "float32"):
        super().__init__()
        self.path, self.dtype = path, dtype
        self.unet, scheduler = load_unet(path, in_channels, dtype)
        check_text_width(path, self.unet, encoder.embed_dim)
        self.unet = self.unet.to(memory_format=torch.channels_last)
        self.predicts_v = scheduler.config.prediction_type == "v_prediction"
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.float(), persistent=False)
        self.embed = EmbeddingCache(encoder)

    def condition(self, prompts: Sequence[str], views: Sequence[int]) -> Tensor:
        """Embeddings (B, T, D) of the prompts with their view."""
        return self.embed(self.texts(prompts, views)).to(self.alphas_cumprod.device)

    def unconditional(self, count: int) -> Tensor:
        """Of the empty prompt."""
        return self.embed([""]).to(self.alphas_cumprod.device).expand(count, -1, -1)

    @torch.no_grad()
    def noise_pair(self, z_t: Tensor, t: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        states = torch.cat([self.unconditional(len(cond)), cond])
        return tuple(self.estimate(torch.cat([z_t, z_t]), torch.cat([t, t]), states).chunk(2))

    def estimate(self, z_t: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """ε̂ of the network; a model of variances has more channels, which are left out."""
        kind = getattr(torch, self.dtype)
        out = self.unet(z_t.to(kind), t, encoder_hidden_states=states.to(kind)).sample[:, : z_t.shape[1]].to(z_t)
        if self.predicts_v:  # v = √ᾱ ε − √(1 − ᾱ) x
            a = self.signal(t)
            return a.sqrt() * out + (1 - a).sqrt() * z_t
        return out


class PixelGuidance(DiffusersGuidance):
    """A small UNet on pixels, conditioned on hashed words; `att3d reproduce prior` trains one.

    Args:
        path: see `DiffusersGuidance`. num_tokens, embed_dim: of `HashTokenEncoder`, with room for the view's two words.
    """

    def __init__(self, path: str, num_tokens: int = 6, embed_dim: int = 32):
        self_encoder = HashTokenEncoder(num_tokens, embed_dim)
        super().__init__(path, self_encoder, 3)
        self.num_tokens, self.embed_dim = num_tokens, embed_dim

    def unconditional(self, count: int) -> Tensor:
        """No word at all: zeros, as in training."""
        return torch.zeros(count, self.num_tokens, self.embed_dim, device=self.alphas_cumprod.device)
