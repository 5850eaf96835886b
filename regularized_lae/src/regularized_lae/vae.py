"""The linear VAE, a baseline of the paper, ordered by its diagonal posterior (Lucas et al., NeurIPS 2019).

Encoder N(W1 x, diag(v)) with one learned v for all x, decoder N(W2 z, σ²I) with a learned σ², prior N(0, I).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .covariance import Covariance
from .losses import reconstruction


def negative_elbo(
    encoder: Tensor, decoder: Tensor, log_variance: Tensor, log_noise: Tensor, covariance: Covariance
) -> Tensor:
    """-ELBO in nats per sample, the expectation over z taken exactly; shape (...).

    Args:
        encoder: W1, (..., k, d). decoder: W2, (..., d, k).
        log_variance: log v, (..., k). log_noise: log σ², (...).
    """
    dim, latents = decoder.shape[-2:]
    variance = log_variance.exp()
    spread = (variance * decoder.square().sum(-2)).sum(-1)  # E‖W2 (z - W1 x)‖²
    error = (reconstruction(encoder, decoder, covariance) + spread) * (-log_noise).exp()
    code_power = (covariance.rows_times(encoder) * encoder).sum((-1, -2))  # E‖W1 x‖²
    divergence = code_power + (variance - log_variance).sum(-1) - latents
    return (error + dim * (log_noise + math.log(2 * math.pi)) + divergence) / 2


@dataclass(frozen=True)
class VAEOptimum:
    """W1 (k, d), W2 (d, k), v (k,), σ² (), and value, which is both -ELBO and the -log-likelihood of pPCA, ()."""

    encoder: Tensor
    decoder: Tensor
    variance: Tensor
    noise: Tensor
    value: Tensor


def vae_optimum(eigenvalues: Tensor, axes: Tensor, latents: int) -> VAEOptimum:
    """The maximum-likelihood pPCA (Tipping & Bishop 1999) in the one rotation where a diagonal posterior is exact.

    Args:
        eigenvalues: s, shape (d,). axes: U in columns, shape (d, d). latents: k < d.
    Raises:
        ValueError: k >= d leaves no variance for the noise.
    """
    dim = len(eigenvalues)
    if not 1 <= latents < dim:
        raise ValueError(f"a linear VAE needs 1 <= latents < {dim}, got {latents}")
    top, noise = eigenvalues[:latents], eigenvalues[latents:].mean()
    decoder = axes[:, :latents] * (top - noise).sqrt()
    encoder = decoder.mT / top[:, None]  # M = W2ᵀW2 + σ²I = diag(s_1..s_k)
    log_det = top.log().sum() + (dim - latents) * noise.log()
    value = (dim * math.log(2 * math.pi) + log_det + dim) / 2
    return VAEOptimum(encoder, decoder, noise / top, noise, value)
