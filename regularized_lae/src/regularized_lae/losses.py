"""The objectives of the paper: reconstruction, L2 regularised, nested dropout.

W1 is the encoder, (..., k, d); W2 the decoder, (..., d, k); leading dimensions are a stack of independent autoencoders,
and every loss returns one number each, shape (...). All are sums over features and means over samples, without a factor
½.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .covariance import Covariance


def reconstruction(encoder: Tensor, decoder: Tensor, covariance: Covariance) -> Tensor:
    """‖X - X W1ᵀ W2ᵀ‖²_F / n = tr[(I - W2W1) C (I - W2W1)ᵀ]. Shape (...)."""
    projected = covariance.rows_times(encoder)  # W1 C, (..., k, d)
    latent_moment = projected @ encoder.mT  # G = W1 C W1ᵀ, (..., k, k)
    return (
        covariance.trace()
        - 2 * (projected * decoder.mT).sum((-1, -2))
        + (latent_moment * (decoder.mT @ decoder)).sum((-1, -2))
    )


def l2_penalty(encoder: Tensor, decoder: Tensor, lam: Tensor | float) -> Tensor:
    """Σ_i λ_i (‖row i of W1‖² + ‖column i of W2‖²). Shape (...).

    Args:
        lam: λ, not √λ; one number, or shape (..., k).
    """
    per_unit = encoder.square().sum(-1) + decoder.square().sum(-2)  # (..., k)
    return (lam * per_unit).sum(-1)


def l2_uniform(encoder: Tensor, decoder: Tensor, covariance: Covariance, lam: float) -> Tensor:
    """Reconstruction + λ(‖W1‖² + ‖W2‖²): its optimum is the principal subspace in any rotation. Shape (...)."""
    return reconstruction(encoder, decoder, covariance) + l2_penalty(encoder, decoder, lam)


def l2_nonuniform(encoder: Tensor, decoder: Tensor, covariance: Covariance, lam: Tensor) -> Tensor:
    """Reconstruction + ‖Λ^½ W1‖² + ‖W2 Λ^½‖²: its optimum is the ordered principal axes. Shape (...).

    Args:
        lam: λ_1 < ... < λ_k, shape (k,) or (..., k); `penalties.check_penalties` tells whether they recover the axes.
    """
    return reconstruction(encoder, decoder, covariance) + l2_penalty(encoder, decoder, lam)


def nested_dropout(encoder: Tensor, decoder: Tensor, samples: Tensor, kept: Tensor) -> Tensor:
    """Reconstruction when sample n keeps only its first `kept[n]` latents (Rippel et al. 2014). Shape (...).

    Args:
        samples: centred X, shape (n, d).
        kept: number of latents that survive, 1..k, one *per sample*, shape (n,); draw it with `sample_kept`.
    Raises:
        ValueError: `kept` is not one number per sample.
    """
    if kept.shape != samples.shape[:1]:
        raise ValueError(f"kept must hold one number for each of {len(samples)} samples, got {tuple(kept.shape)}")
    latents = encoder.shape[-2]
    mask = torch.arange(latents, device=samples.device) < kept[:, None]  # (n, k)
    codes = (samples @ encoder.mT) * mask  # (..., n, k)
    return (samples - codes @ decoder.mT).square().sum((-1, -2)) / len(samples)


def sample_kept(survival: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """How many latents each sample keeps: kept > i with probability p_i. Shape (samples,), values 1..k.

    Args:
        survival: p_i = P(latent i is kept), 1 = p_0 >= p_1 >= ... > 0, shape (k,).
    """
    draw = torch.rand(samples, 1, generator=generator, device=survival.device, dtype=survival.dtype)
    return (draw < survival).sum(-1)


def nested_dropout_expectation(encoder: Tensor, decoder: Tensor, covariance: Covariance, survival: Tensor) -> Tensor:
    """Deterministic nested dropout: the exact expectation of `nested_dropout` over the masks. Shape (...).

    tr C - 2 tr(C W2 D W1) + tr(C W1ᵀ[(W2ᵀW2)∘M]W1) with D = diag(p), M_ij = p_max(i,j). With p = 1 it is
    `reconstruction`.

    Args:
        survival: p_0 >= p_1 >= ... > 0, the probability that latent i is kept, shape (k,) or (..., k).
    """
    return expectation_of_product(covariance.rows_times(encoder), covariance.trace(), encoder, decoder, survival)


def expectation_of_product(
    projected: Tensor, trace: Tensor, encoder: Tensor, decoder: Tensor, survival: Tensor
) -> Tensor:
    """`nested_dropout_expectation` for who has the costly product `projected` = W1 C, (..., k, d), already."""
    latent_moment = projected @ encoder.mT  # G, (..., k, k)
    both_kept = torch.minimum(survival[..., :, None], survival[..., None, :])  # M: p falls with i
    return (
        trace
        - 2 * (survival * (projected * decoder.mT).sum(-1)).sum(-1)
        + (latent_moment * (decoder.mT @ decoder) * both_kept).sum((-1, -2))
    )


def geometric_survival(latents: int, rho: float = 0.9) -> Tensor:
    """p_i = ρ^i, i = 0..k-1: the paper's geometric prior, with the left-over mass on keeping all. Shape (k,), float64.

    Raises:
        ValueError: ρ is not in (0, 1): at 1 no latent is ever dropped and their order is lost.
    """
    if not 0 < rho < 1:
        raise ValueError(f"rho must be between 0 and 1, both excluded, got {rho}")
    return rho ** torch.arange(latents, dtype=torch.float64)


def even_survival(latents: int) -> Tensor:
    """p_i = (k - i)/k: all cuts equally likely, so that all gaps are equal (ours). Shape (k,), float64."""
    return 1 - torch.arange(latents, dtype=torch.float64) / latents
