"""Training between prompts: the mapping network sees (1 − a) c₁ + a c₂, (1 − a, a) ~ Dirichlet(κ, κ).

What the denoiser is told is the strategy. For a rule that is affine in ε̂, `loss` and `guidance` give one gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from .guidance.protocol import Denoiser, Guidance


class Strategy(str, Enum):
    """embedding: the interpolated embedding. loss: (1 − a) L(c₁) + a L(c₂). stochastic_loss: one of both, by a.
    guidance: ε_u + (1 − a) s (ε_1 − ε_u) + a s (ε_2 − ε_u)."""

    embedding = "embedding"
    loss = "loss"
    stochastic_loss = "stochastic_loss"
    guidance = "guidance"


def by_embedding(guidance: Guidance, one: Tensor, other: Tensor, a: Tensor, _: torch.Generator) -> Denoiser:
    return guidance.denoiser(guidance.mix(one, other, a))


def by_loss(guidance: Guidance, one: Tensor, other: Tensor, a: Tensor, _: torch.Generator) -> Denoiser:
    def denoise(z_t: Tensor, t: Tensor, scale: float) -> Tensor:
        share = like_images(a, z_t)
        first, second = (guidance.predict_noise(z_t, t, cond, scale) for cond in (one, other))
        return (1 - share) * first + share * second

    return denoise


def by_stochastic_loss(
    guidance: Guidance, one: Tensor, other: Tensor, a: Tensor, generator: torch.Generator
) -> Denoiser:
    """Each view is judged by c₂ with probability a: half the cost of `loss`, and its gradient in the mean."""
    second = torch.rand(len(a), generator=generator, device=generator.device).to(a) < a
    return guidance.denoiser(torch.where(second.reshape(-1, *[1] * (one.ndim - 1)), other, one))


def by_guidance(guidance: Guidance, one: Tensor, other: Tensor, a: Tensor, _: torch.Generator) -> Denoiser:
    def denoise(z_t: Tensor, t: Tensor, scale: float) -> Tensor:
        share = like_images(a, z_t)
        free, first = guidance.noise_pair(z_t, t, one)
        _, second = guidance.noise_pair(z_t, t, other)
        return free + scale * ((1 - share) * (first - free) + share * (second - free))

    return denoise


DENOISERS: dict[Strategy, Callable[..., Denoiser]] = {
    Strategy.embedding: by_embedding,
    Strategy.loss: by_loss,
    Strategy.stochastic_loss: by_stochastic_loss,
    Strategy.guidance: by_guidance,
}


def like_images(a: Tensor, images: Tensor) -> Tensor:
    return a.reshape(-1, 1, 1, 1).to(images)


def dirichlet_shares(count: int, kappa: float, generator: torch.Generator) -> Tensor:
    """a (count,) with (1 − a, a) ~ Dirichlet(κ, κ): mean 1/2, variance 1 / (4 (2κ + 1)).

    Raises:
        ValueError: κ is not positive.
    """
    if kappa <= 0:
        raise ValueError(f"kappa must be positive, got {kappa}")
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)  # torch's Beta takes no generator
    shares = np.random.default_rng(int(seed)).beta(float(kappa), float(kappa), count)
    return torch.from_numpy(shares).float()


class PromptInterpolator:
    """How pairs of prompts are trained.

    Args:
        strategy: see `Strategy`.
        kappa, kappa_end: κ at the beginning and at the end of training, geometrically between; small κ keeps to the
            end points, large κ asks for midpoints that satisfy both.
        share: part of a batch's prompts that are interpolated; the rest is trained plainly.
    Raises:
        ValueError: a κ that is not positive, a share outside [0, 1], or an unknown strategy.
    """

    def __init__(
        self,
        strategy: Strategy = Strategy.stochastic_loss,
        kappa: float = 1.0,
        kappa_end: float | None = None,
        share: float = 1.0,
    ):
        kappa_end = kappa if kappa_end is None else kappa_end
        if min(kappa, kappa_end) <= 0 or not 0 <= share <= 1:
            raise ValueError(f"kappa must be positive and share in [0, 1], got {kappa}, {kappa_end} and {share}")
        self.strategy = Strategy(strategy)
        self.kappa, self.kappa_end, self.share = float(kappa), float(kappa_end), share

    def kappa_at(self, progress: float) -> float:
        """κ when this share of training is over."""
        return self.kappa * (self.kappa_end / self.kappa) ** progress

    def shares(self, prompts: int, progress: float, generator: torch.Generator) -> Tensor:
        """a (P,); zero for those prompts that stay plain."""
        a = dirichlet_shares(prompts, self.kappa_at(progress), generator)
        plain = torch.rand(prompts, generator=generator, device=generator.device).cpu() >= self.share
        return torch.where(plain, 0.0, a).to(generator.device)

    def denoiser(
        self, guidance: Guidance, one: Tensor, other: Tensor, a: Tensor, generator: torch.Generator
    ) -> Denoiser:
        """The denoiser for conditions c₁ and c₂ with shares a, a row for each image."""
        return DENOISERS[self.strategy](guidance, one, other, a, generator)
