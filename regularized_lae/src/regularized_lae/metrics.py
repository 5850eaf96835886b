"""How far a decoder is from the principal axes and from their span, as the paper measures it; 0 is there."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def unit_columns(decoder: Tensor) -> Tensor:
    """Decoder columns at length 1, a collapsed (zero) column staying zero; (..., d, k)."""
    return decoder / (torch.linalg.vector_norm(decoder, dim=-2, keepdim=True) + 1e-8)


def squared_cosines(decoder: Tensor, axes: Tensor) -> Tensor:
    """(u_iᵀ v_j)² between the top-k principal axes u_i and the decoder's unit columns v_j.

    Args:
        decoder: W2, shape (..., d, k).
        axes: principal axes in columns, in order, shape (d, m) with m >= k; the first k are used.
    Returns:
        Shape (..., k, k), i in rows.
    """
    latents = decoder.shape[-1]
    return (axes[:, :latents].mT @ unit_columns(decoder)).square()


def axis_alignment(decoder: Tensor, axes: Tensor) -> Tensor:
    """1 - (1/k) Σ_i max_j (u_iᵀv_j)², the paper's measure; shape (...).

    It ignores order, and one column may serve two axes.
    """
    return 1 - squared_cosines(decoder, axes).amax(-1).mean(-1)


def ordered_alignment(decoder: Tensor, axes: Tensor) -> Tensor:
    """1 - (1/k) Σ_i (u_iᵀv_i)²: column i must be axis i; shape (...)."""
    return 1 - squared_cosines(decoder, axes).diagonal(dim1=-2, dim2=-1).mean(-1)


def matched_alignment(decoder: Tensor, axes: Tensor) -> float:
    """1 - (1/k) Σ_i (u_iᵀv_π(i))² for the best permutation π (Hungarian method): any order, each column once.

    Args:
        decoder: one decoder, shape (d, k).
    """
    scores = squared_cosines(decoder, axes).detach().cpu().numpy()
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return float(1 - scores[rows, columns].mean())


def subspace_distance(decoder: Tensor, axes: Tensor) -> Tensor:
    """1 - tr(U_kU_kᵀPPᵀ)/k, P an orthonormal basis of the decoder's columns; shape (...), in float32 exact to 1e-7."""
    latents = decoder.shape[-1]
    basis = torch.linalg.qr(unit_columns(decoder)).Q
    return 1 - (axes[:, :latents].mT @ basis).square().sum((-1, -2)) / latents


def transpose_error(encoder: Tensor, decoder: Tensor) -> Tensor:
    """‖W1 - W2ᵀ‖²_F / k, zero at every stationary point of the L2 losses (the transpose theorem); shape (...)."""
    return (encoder - decoder.mT).square().sum((-1, -2)) / decoder.shape[-1]


def haar_alignment(latents: int, samples: int = 2000, generator: torch.Generator | None = None) -> float:
    """Expected `axis_alignment` of the right subspace in a random rotation: uniform L2 stays there (Monte Carlo)."""
    gaussian = torch.randn(samples, latents, latents, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(gaussian).Q  # column signs do not matter below
    return float(axis_alignment(rotation, torch.eye(latents, dtype=torch.float64)).mean())
