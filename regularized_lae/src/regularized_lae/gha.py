"""Sanger's generalised Hebbian algorithm (1989), to which the paper relates RAG."""

from __future__ import annotations

from torch import Tensor

from .covariance import Covariance


def gha_direction(weights: Tensor, covariance: Covariance) -> Tensor:
    """W C - tril(W C Wᵀ) W, added to W times the rate; it rests at W = U_kᵀ, in order.

    No loss has this gradient. With A the strict upper triangle of G = W C Wᵀ it is [WC - GW] + ½(A - Aᵀ)W + ½(A + Aᵀ)W:
    RAG keeps the first two.

    Args:
        weights: W, one component a row, shape (..., k, d); start it orthonormal.
    Returns:
        Shape (..., k, d).
    """
    projected = covariance.rows_times(weights)
    return projected - (projected @ weights.mT).tril() @ weights
