"""Distillation rules: what gradient a frozen denoiser sends back into an image. All take a `Denoiser`.

SDS: ∇_z = w(t) (ε̂(z_t, t, s) − ε), with z_t = √ᾱ z + √(1 − ᾱ) ε and t ~ U{t_min T .. t_max T}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .guidance.protocol import Denoiser, Guidance

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {  # of ᾱ
    "one_minus_alpha": lambda a: 1 - a,
    "uniform": torch.ones_like,
    "sqrt": lambda a: a.sqrt() * (1 - a),
}


def dot_loss(z: Tensor, gradient: Tensor) -> Tensor:
    """Σ sg[g] z / B, (), of images z and g, (B, ...): its gradient in z is g / B."""
    return (gradient.detach() * z).sum() / len(z)


def mse_loss(z: Tensor, gradient: Tensor) -> Tensor:
    """½ ‖z − sg[z − g]‖² / B, (), of z and g, (B, ...): the same gradient, with a value that says how large g is."""
    return 0.5 * (z - (z - gradient).detach()).square().sum() / len(z)


@dataclass(frozen=True)
class Noised:
    """z_t of a batch, with what made it; progress is the share of training that is over."""

    z: Tensor
    z_t: Tensor
    t: Tensor
    noise: Tensor
    progress: float


class ScoreDistillation(nn.Module):
    """SDS.

    Args:
        scale: s of guidance.
        t_min, t_max: range of t as shares of T at the beginning. t_max_end: at the end of training, linearly between.
        weighting: one_minus_alpha, uniform or sqrt.
    Raises:
        ValueError: an unknown weighting or an empty range.
    """

    def __init__(
        self,
        scale: float = 20.0,
        t_min: float = 0.02,
        t_max: float = 0.98,
        t_max_end: float = 0.98,
        weighting: str = "one_minus_alpha",
    ):
        super().__init__()
        if weighting not in WEIGHTINGS:
            raise ValueError(f"unknown weighting {weighting!r}, choose from {', '.join(WEIGHTINGS)}")
        if not 0 <= t_min < min(t_max, t_max_end) or max(t_max, t_max_end) >= 1:
            raise ValueError(
                f"0 ≤ t_min < t_max < 1 at both ends of training, got t_min {t_min} and t_max {t_max} to {t_max_end}"
            )
        self.scale, self.t_min, self.t_max, self.t_max_end = scale, t_min, t_max, t_max_end
        self.weighting = weighting

    def forward(
        self, guidance: Guidance, denoise: Denoiser, rgb: Tensor, progress: float, generator: torch.Generator
    ) -> Tensor:
        """Loss of images (B, 3, H, W) in [0, 1]; only its gradient means something, its value is ½ ‖∇_z‖² / B."""
        z = guidance.encode(rgb)
        with torch.no_grad():
            noised = self.noised(guidance, z.detach(), progress, generator)
            gradient = self.gradient(guidance, denoise, noised, generator)
            gradient = torch.nan_to_num(gradient * WEIGHTINGS[self.weighting](guidance.signal(noised.t)).to(z))
        return mse_loss(z, gradient) + self.auxiliary(guidance, z.detach(), generator)

    def noised(self, guidance: Guidance, z: Tensor, progress: float, generator: torch.Generator) -> Noised:
        """Draw t and ε, on the generator's device."""
        steps = len(guidance.alphas_cumprod)
        high = self.t_max + (self.t_max_end - self.t_max) * progress
        u = torch.rand(len(z), generator=generator, device=generator.device)
        low, high = round(self.t_min * steps), round(high * steps)
        t = (low + (u * (high - low + 1)).long()).clamp(max=steps - 1).to(z.device)
        noise = torch.randn(z.shape, generator=generator, device=generator.device).to(z)
        return Noised(z, guidance.add_noise(z, noise, t), t, noise, progress)

    def gradient(self, guidance: Guidance, denoise: Denoiser, noised: Noised, generator: torch.Generator) -> Tensor:
        """∇_z before its weight, (B, C, H, W)."""
        return denoise(noised.z_t, noised.t, self.scale) - noised.noise

    def auxiliary(self, guidance: Guidance, z: Tensor, generator: torch.Generator) -> Tensor | float:
        """A loss of the rule's own parameters, where it has some."""
        return 0.0


class AsynchronousDistillation(ScoreDistillation):
    """ASD: ε is replaced by the frozen model's own estimate at a later t + Δt, Δt ~ U(0, η (t − t_min T)).

    Args:
        eta: η. kwargs: see `ScoreDistillation`.
    """

    def __init__(self, eta: float = 0.1, scale: float = 7.5, **kwargs):
        super().__init__(scale=scale, **kwargs)
        self.eta = eta

    def gradient(self, guidance: Guidance, denoise: Denoiser, noised: Noised, generator: torch.Generator) -> Tensor:
        steps = len(guidance.alphas_cumprod)
        u = torch.rand(len(noised.t), generator=generator, device=generator.device).to(noised.z)
        shift = (u * self.eta * (noised.t - self.t_min * steps).clamp(min=0)).long()
        later = (noised.t + shift).clamp(max=steps - 1)
        z_later = guidance.add_noise(noised.z, noised.noise, later)
        return denoise(noised.z_t, noised.t, self.scale) - denoise(z_later, later, 1.0)


class ClassifierDistillation(ScoreDistillation):
    """CSD: only the classifier's part, s (ε_c − ε_u)."""

    def gradient(self, guidance: Guidance, denoise: Denoiser, noised: Noised, generator: torch.Generator) -> Tensor:
        return self.scale * (denoise(noised.z_t, noised.t, 1.0) - denoise(noised.z_t, noised.t, 0.0))


class VariationalDistillation(ScoreDistillation):
    """VSD: ε is replaced by the estimate of a small network that learns, beside the scene, to denoise its renders.

    Args:
        channels: of z. width: of the network, three convolutions that know t.
        kwargs: see `ScoreDistillation`.
    """

    def __init__(self, channels: int = 3, width: int = 32, scale: float = 7.5, **kwargs):
        super().__init__(scale=scale, **kwargs)
        self.channels, self.width = channels, width
        self.embed_t = nn.Linear(8, width)
        self.inner = nn.Conv2d(channels, width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, channels, 3, padding=1)

    def own_noise(self, z_t: Tensor, t: Tensor, steps: int) -> Tensor:
        """The network's ε̂ (B, C, H, W)."""
        phase = (t.float() / steps)[:, None] * torch.pi * torch.arange(1, 5, device=t.device)
        hidden = self.inner(z_t) + self.embed_t(torch.cat([phase.sin(), phase.cos()], 1))[..., None, None]
        return self.outer(nn.functional.silu(self.middle(nn.functional.silu(hidden))))

    def gradient(self, guidance: Guidance, denoise: Denoiser, noised: Noised, generator: torch.Generator) -> Tensor:
        own = self.own_noise(noised.z_t, noised.t, len(guidance.alphas_cumprod))
        return denoise(noised.z_t, noised.t, self.scale) - own

    def auxiliary(self, guidance: Guidance, z: Tensor, generator: torch.Generator) -> Tensor:
        noised = self.noised(guidance, z, 0.0, generator)
        own = self.own_noise(noised.z_t, noised.t, len(guidance.alphas_cumprod))
        return (own - noised.noise).square().mean()
