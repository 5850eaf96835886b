"""Score distillation: renderings are pulled to what a diffusion prior makes of them (as in MVDream, ICLR 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .diffusion import Condition, Prior, add_noise, level, noise_from


def toward(x: Tensor, target: Tensor, objects: int) -> Tensor:
    """|x - sg[target]|² / 2n of each object over its n values, (B,): its gradient is (x - target) / n.

    MVDream divides by the number of images; by the number of values, it can be weighed against a mean over pixels.
    """
    return F.mse_loss(x, target.detach(), reduction="none").reshape(objects, -1).mean(1) / 2


def rescaled(guided: Tensor, conditional: Tensor, share: float, views: int) -> Tensor:
    """Undo the contrast that guidance adds: the standard deviation over all views of an object is that without it."""

    def deviation(images: Tensor) -> Tensor:
        spread = images.reshape(-1, views, *images.shape[1:]).std(dim=(1, 2, 3, 4), keepdim=True)
        return spread.repeat_interleave(views, 0).flatten(0, 1)  # (N, 1, 1, 1)

    return guided * (share * deviation(conditional) / deviation(guided).clamp(min=1e-8) + 1 - share)


@dataclass(frozen=True)
class CleanDistillation:
    """x0 mode: x is pulled to the guided, rescaled estimate of the clean image.

    guidance: w of e_u + w (e_c - e_u), the same combination of clean estimates. rescale: φ.
    """

    guidance: float = 50.0
    rescale: float = 0.5

    def __call__(self, prior: Prior, x: Tensor, t: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """x (B * views, C, s, s), t (B,) one time for all views of an object; a loss of each, (B,)."""
        views, _, noisy, times = _diffused(prior, x, t, noise)
        with torch.no_grad():
            conditional, unconditional = prior.denoise_pair(noisy, times, condition)
            guided = unconditional + self.guidance * (conditional - unconditional)
            target = rescaled(guided, conditional, self.rescale, views)
        return toward(x, target, len(t))


@dataclass(frozen=True)
class NoiseDistillation:
    """SDS (Poole et al., ICLR 2023): the gradient in x is (1 - ᾱ) (e_guided - ε) / n."""

    guidance: float = 100.0

    def __call__(self, prior: Prior, x: Tensor, t: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """As `CleanDistillation`; the values mean nothing, their gradients do."""
        _, alpha, noisy, times = _diffused(prior, x, t, noise)
        with torch.no_grad():
            conditional, unconditional = prior.denoise_pair(noisy, times, condition)
            guided = unconditional + self.guidance * (conditional - unconditional)
            gradient = (1 - alpha) * (noise_from(guided, noisy, alpha) - noise)
        return toward(x, x.detach() - gradient, len(t))


def _diffused(prior: Prior, x: Tensor, t: Tensor, noise: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    if x.shape != noise.shape or len(x) % len(t):
        raise ValueError(
            f"expected noise like x and a time for each object, got {tuple(x.shape)}, {tuple(noise.shape)} "
            f"and {len(t)} times"
        )
    views = len(x) // len(t)
    times = t.repeat_interleave(views)
    alpha = level(prior.alphas_cumprod, times).to(x)
    return views, alpha, add_noise(x.detach(), noise, alpha), times
