"""A teacher without training error: the posterior mean of a mixture of isotropic Gaussians, in closed form.

D(x; σ, y) = Σ_m r_m (s² x + σ² μ_m) / (s² + σ²), with responsibilities r_m of x under N(μ_m, s² + σ²).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .edm import LEVELS, SIGMA_MAX, karras_sigmas, like


class MixtureDenoiser(nn.Module):
    """The exact denoiser of class-conditional mixtures with equal weights.

    Args:
        means: μ, (C, M, d): M components for each of C classes. std: s, of every component.
    Raises:
        ValueError: shapes or std that are none.
    """

    means: Tensor
    levels: Tensor
    start_scale = SIGMA_MAX

    def __init__(self, means: Tensor, std: float):
        super().__init__()
        if means.ndim != 3 or not std > 0:
            raise ValueError(f"means must be (C, M, d) and std positive, got {tuple(means.shape)} and {std}")
        self.std = std
        self.register_buffer("means", means)
        self.register_buffer("levels", karras_sigmas(LEVELS).flip(0).to(means.dtype), persistent=False)
        centred = means - means.mean((0, 1))
        self.sigma_data = float((centred.square().mean() + std**2).sqrt())

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor) -> Tensor:
        """x (N, d), sigma (N,) or (), labels (N,) -> E[x_0 | x, y] (N, d)."""
        variance, noise = self.std**2, like(sigma.expand(len(x)), x).square()
        means = self.means[class_labels]  # (N, M, d)
        distance = (x[:, None] - means).square().sum(-1)  # (N, M)
        r = (-distance / (2 * (variance + noise))).softmax(1)
        mean = torch.einsum("nm,nmd->nd", r, means)
        return (variance * x + noise * mean) / (variance + noise)

    def log_density(self, x: Tensor, sigma: Tensor, class_labels: Tensor) -> Tensor:
        """log p_σ(x | y), (N,)."""
        variance = self.std**2 + sigma.expand(len(x)).square()
        means = self.means[class_labels]
        distance = (x[:, None] - means).square().sum(-1)
        components = -distance / (2 * variance[:, None])
        scale = x.shape[1] / 2 * (2 * math.pi * variance).log() + math.log(means.shape[1])
        return components.logsumexp(1) - scale

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Exact samples (N, d) of the data."""
        chosen = torch.randint(self.means.shape[1], labels.shape, generator=generator)
        noise = torch.randn(len(labels), self.means.shape[2], generator=generator).to(self.means.dtype)
        return self.means[labels, chosen] + self.std * noise

    def loss_weight(self, sigma: Tensor) -> Tensor:
        """EDM's λ(σ)."""
        return sigma.square().reciprocal() + self.sigma_data**-2


def ring_means(classes: int = 8, components: int = 8, radius: float = 0.5, inner: float = 0.1) -> Tensor:
    """The paper's 2-D toy: classes on a circle, each a ring of Gaussians, (C, M, 2)."""
    centre = circle(classes, radius)
    return centre[:, None] + circle(components, inner)


def lissajous_means(classes: int = 8, components: int = 16, radius: float = 0.5, scale: float = 0.13) -> Tensor:
    """Every class its own Lissajous curve, so that a student cannot reuse one shape for all of them, (C, M, 2)."""
    angle = 2 * math.pi * torch.arange(components) / components
    frequencies = [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (1, 3), (3, 1), (3, 4)]
    curves = []
    for c in range(classes):
        a, b = frequencies[c % len(frequencies)]
        phase = math.pi / 2 * (1 + c // len(frequencies)) / (1 + c // len(frequencies) * 2)
        curves.append(scale * torch.stack([torch.sin(a * angle + phase), torch.sin(b * angle)], -1))
    return circle(classes, radius)[:, None] + torch.stack(curves)


def circle(count: int, radius: float) -> Tensor:
    """Equally spaced points, (count, 2)."""
    angle = 2 * math.pi * torch.arange(count) / count
    return radius * torch.stack([angle.cos(), angle.sin()], -1)
