"""What score distillation needs of a text-to-image diffusion model.

ε̂ = ε_u + s (ε_c − ε_u): s = 1 is the conditional model, s = 0 the unconditional one. (DreamFusion writes s = 1 + ω.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..view_prompts import with_view

Denoiser = Callable[[Tensor, Tensor, float], Tensor]  # z_t (B, C, H, W), t (B,), s -> ε̂ (B, C, H, W)


class Guidance(nn.Module):
    """Abstract. A prior has `alphas_cumprod` (T,), its own text conditions, and noise estimates without gradients.

    A condition is a tensor with one row for each image, which only its prior understands: an index or embeddings.
    """

    alphas_cumprod: Tensor

    def encode(self, rgb: Tensor) -> Tensor:
        """z of images (B, 3, H, W) in [0, 1], with gradients; pixel models use 2 rgb − 1."""
        return 2 * rgb - 1

    def condition(self, prompts: Sequence[str], views: Sequence[int]) -> Tensor:
        """One row for each prompt with its view."""
        raise NotImplementedError

    def mix(self, one: Tensor, other: Tensor, share: Tensor) -> Tensor:
        """(1 − a) c₁ + a c₂ for shares a (B,), where conditions are embeddings."""
        share = share.reshape(-1, *[1] * (one.ndim - 1)).to(one)
        return (1 - share) * one + share * other

    def noise_pair(self, z_t: Tensor, t: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """ε_u and ε_c, each like z_t; t (B,) are integer steps."""
        raise NotImplementedError

    @torch.no_grad()
    def predict_noise(self, z_t: Tensor, t: Tensor, cond: Tensor, scale: float) -> Tensor:
        """ε̂ (B, C, H, W) with guidance scale s."""
        free, conditional = self.noise_pair(z_t, t, cond)
        return free + scale * (conditional - free)

    def denoiser(self, cond: Tensor) -> Denoiser:
        """ε̂ as a function of z_t, t and s."""
        return lambda z_t, t, scale: self.predict_noise(z_t, t, cond, scale)

    def signal(self, t: Tensor) -> Tensor:
        """ᾱ_t as (B, 1, 1, 1)."""
        return self.alphas_cumprod[t].reshape(-1, 1, 1, 1)

    def add_noise(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """z_t = √ᾱ z + √(1 − ᾱ) ε."""
        a = self.signal(t).to(z)
        return a.sqrt() * z + (1 - a).sqrt() * noise

    def texts(self, prompts: Sequence[str], views: Sequence[int]) -> list[str]:
        """Prompts with their view suffix."""
        return [with_view(prompt, int(view)) for prompt, view in zip(prompts, views, strict=True)]


def cosine_alphas(steps: int = 1000) -> Tensor:
    """ᾱ of the squared-cosine schedule, β at most 0.999; the same numbers as diffusers' `squaredcos_cap_v2`."""
    level = torch.arange(steps + 1, dtype=torch.float64) / steps
    curve = ((level + 0.008) / 1.008 * torch.pi / 2).cos().square()
    return torch.cumprod(1 - (1 - curve[1:] / curve[:-1]).clamp(max=0.999), 0).float()
