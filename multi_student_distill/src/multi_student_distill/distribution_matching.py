"""Distribution matching (DMD, DMD2): move one-step samples along s_fake - s_real without a graph through either.

∇KL ≈ E[w_t α_t (s_fake - s_real) ∂G/∂θ] with w_t = (σ_t² / α_t) / mean|x - μ_T| becomes, for each sample,

    g = (μ_fake(x_t) - μ_T(x_t)) / mean|x - μ_T(x_t)|,    L_DM = ½ MSE(x, sg(x - g))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .edm import like

MATCH_LOW, MATCH_HIGH = 20, 980  # both included, of the 1000 levels


def distribution_matching_gradient(x: Tensor, x0_real: Tensor, x0_fake: Tensor) -> Tensor:
    """g, shape of x; where the denominator is 0, g is 0.

    Args:
        x: generated samples (N, ...). x0_real, x0_fake: what teacher and fake score make of the noised x.
    Raises:
        ValueError: three shapes that differ.
    """
    if not x.shape == x0_real.shape == x0_fake.shape:
        shapes = ", ".join(str(tuple(t.shape)) for t in (x, x0_real, x0_fake))
        raise ValueError(f"x, x0_real and x0_fake must have one shape, got {shapes}")
    scale = like((x - x0_real).abs().flatten(1).mean(1), x)
    return ((x0_fake - x0_real) / scale).nan_to_num(0.0, 0.0, 0.0)


def distribution_matching_loss(x: Tensor, x0_real: Tensor, x0_fake: Tensor) -> Tensor:
    """½ MSE(x, sg(x - g)): its gradient in x is g / numel."""
    with torch.no_grad():
        target = x - distribution_matching_gradient(x, x0_real, x0_fake)
    return 0.5 * (x - target).square().mean()


def matched_loss(
    teacher: nn.Module, fake: nn.Module, x: Tensor, labels: Tensor, levels: Tensor, noise: Tensor
) -> Tensor:
    """L_DM of samples x, noised at the given levels (indices, (N,))."""
    with torch.no_grad():
        sigma = teacher.levels[levels]
        noised = x + like(sigma, x) * noise
        real, fake_mean = teacher(noised, sigma, labels), fake(noised, sigma, labels)
    return distribution_matching_loss(x, real, fake_mean)


def denoising_loss(denoised: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """mean[λ(σ) (μ_fake(x + σε) - x)²]: how the fake score follows the student; x is detached here."""
    return (like(weight, x) * (denoised - x.detach()).square()).mean()
