"""The diffusion that everything here lives in: EDM (Karras et al., 2022), x_σ = x + σ ε.

EDM denoiser   D(x; σ, y) = c_skip x + c_out F(c_in x; c_noise, y)
one step       G(z, y) = D(σ_max z; σ_max, y), z ~ N(0, I): the denoiser evaluated once, at the largest σ
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

SIGMA_MIN, SIGMA_MAX, RHO, LEVELS = 0.002, 80.0, 7.0, 1000
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]


def like(values: Tensor, x: Tensor) -> Tensor:
    """Values (N,) shaped to be broadcast over x (N, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def karras_sigmas(count: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO) -> Tensor:
    """σ_i = (σ_max^{1/ρ} + i/(n-1) (σ_min^{1/ρ} - σ_max^{1/ρ}))^ρ, from σ_max down to σ_min, shape (n,).

    Raises:
        ValueError: fewer than two, or not 0 < σ_min < σ_max.
    """
    if count < 2 or not 0 < sigma_min < sigma_max:
        raise ValueError(f"need n >= 2 and 0 < sigma_min < sigma_max, got {count}, {sigma_min} and {sigma_max}")
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return ((high + torch.linspace(0, 1, count, dtype=torch.float64) * (low - high)) ** rho).float()


class EDMDenoiser(nn.Module):
    """D(x; σ, y), and at which σ it generates in one step.

    Args:
        net: F(x, c_noise, class_labels), called with x (N, ...), c_noise (N,) and labels (N,); with `features=True` it
            also returns its bottleneck.
        sigma_data: σ_d, the standard deviation of the data.
    Raises:
        ValueError: sigma_data is not positive.
    """

    levels: Tensor
    start_scale = SIGMA_MAX

    def __init__(self, net: nn.Module, sigma_data: float = 0.5):
        super().__init__()
        if not sigma_data > 0:
            raise ValueError(f"sigma_data must be positive, got {sigma_data}")
        self.net, self.sigma_data = net, sigma_data
        self.register_buffer("levels", karras_sigmas(LEVELS).flip(0), persistent=False)

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor) -> Tensor:
        """x (N, ...), sigma (N,) or (), class_labels (N,) -> D (N, ...)."""
        return self._forward(x, sigma, class_labels, False)[0]

    def with_features(self, x: Tensor, sigma: Tensor, class_labels: Tensor) -> tuple[Tensor, Tensor]:
        """D and the network's bottleneck."""
        return self._forward(x, sigma, class_labels, True)

    def _forward(self, x: Tensor, sigma: Tensor, labels: Tensor, features: bool) -> tuple[Tensor, Tensor | None]:
        sigma = sigma.to(x.dtype).expand(len(x))
        s, d = like(sigma, x), self.sigma_data
        norm = (s.square() + d**2).sqrt()
        found = self.net(x / norm, sigma.log() / 4, labels, **({"features": True} if features else {}))
        raw, bottleneck = found if features else (found, None)
        return (d / norm) ** 2 * x + s * d / norm * raw.to(x.dtype), bottleneck

    def loss_weight(self, sigma: Tensor) -> Tensor:
        """λ(σ) = (σ² + σ_d²) / (σ σ_d)² = σ^{-2} + σ_d^{-2}."""
        return sigma.square().reciprocal() + self.sigma_data**-2


def one_step(denoiser: nn.Module, z: Tensor, labels: Tensor) -> Tensor:
    """G(z, y) = D(80 z; 80, y); for other diffusions, their own largest σ and scale of x there.

    Args:
        z: standard normal, (N, ...). labels: (N,) int64, or token ids (N, L).
    """
    return denoiser(denoiser.start_scale * z, denoiser.levels[-1], labels)


def edm_loss(denoiser: nn.Module, x: Tensor, labels: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """E λ(σ) |D(x + σ ε; σ, y) - x|², the mean over all entries: how a teacher is trained."""
    error = (denoiser(x + like(sigma, x) * noise, sigma, labels) - x).square()
    return (like(denoiser.loss_weight(sigma), x) * error).mean()


class LogNormalSigmas:
    """ln σ ~ N(mean, std²), EDM's training law."""

    def __init__(self, mean: float = -1.2, std: float = 1.2):
        self.mean, self.std = mean, std

    def __call__(self, normal: Tensor, uniform: Tensor, levels: Tensor) -> Tensor:
        """Standard normal (N,), uniform in [0, 1) (N,), the grid (1000,) ascending -> σ (N,)."""
        return (self.mean + self.std * normal).exp()


class GridSigmas:
    """Uniform over the ρ = 7 grid, which reaches the σ where one-step students are evaluated."""

    def __init__(self, low: int = 0, high: int = LEVELS - 1):
        self.low, self.high = low, high

    def __call__(self, normal: Tensor, uniform: Tensor, levels: Tensor) -> Tensor:
        return levels[self.low + (uniform * (self.high + 1 - self.low)).long()]


@torch.no_grad()
def edm_sampler(
    denoiser: Denoiser,
    z: Tensor,
    labels: Tensor,
    steps: int = 18,
    sigmas: Tensor | None = None,
    churn: float = 0.0,
    churn_min: float = 0.05,
    churn_max: float = 50.0,
    churn_noise: float = 1.003,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, int]:
    """Heun's method on dx/dσ = (x - D(x; σ)) / σ, from σ_max z to 0, with EDM's stochastic churn where asked for.

    Args:
        denoiser: D. z: standard normal (N, ...). labels: (N,).
        steps: n; the deterministic sampler takes 2n - 1 evaluations of D.
        sigmas: the grid, descending, (n,); by default `karras_sigmas(steps)`.
        churn: S_churn; EDM's ImageNet-64 teacher uses 256 steps and 40.
    Returns:
        Samples (N, ...) and the number of evaluations of D for each.
    """
    grid = karras_sigmas(steps) if sigmas is None else sigmas
    grid = [*grid.tolist(), 0.0]
    x, evaluations = grid[0] * z, 0
    for now, after in pairwise(grid):
        gamma = min(churn / (len(grid) - 1), math.sqrt(2) - 1) if churn_min <= now <= churn_max else 0.0
        if gamma:
            raised = now * (1 + gamma)
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
            x, now = x + math.sqrt(raised**2 - now**2) * churn_noise * noise, raised
        slope = (x - denoiser(x, x.new_full((len(x),), now), labels)) / now
        euler = x + (after - now) * slope
        evaluations += 1
        if after:
            second = (euler - denoiser(euler, x.new_full((len(x),), after), labels)) / after
            euler = x + (after - now) * (slope + second) / 2
            evaluations += 1
        x = euler
    return x, evaluations
