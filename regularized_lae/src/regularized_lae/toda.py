"""The turn of RAG alone is the Toda flow, which sorts and diagonalises (our reading of it)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def toda_flow(moment: Tensor, time: float) -> Tensor:
    """G(t) of Ġ = [Γ, G], which G = W1CW1ᵀ follows when only Γ of `rag.rag_gamma` moves the weights.

    In closed form G(t) = Qᵀ G(0) Q with exp(t G(0)/2) = Q R, diag R > 0: a QR iteration in continuous time. The
    spectrum is kept, every leading partial trace rises, at rate ‖G[:i, i:]‖²_F, and G becomes diagonal with its
    eigenvalues in falling order.

    Args:
        moment: G(0), symmetric, shape (k, k).
        time: t >= 0.
    Returns:
        G(t), shape (k, k).
    Raises:
        ValueError: G(0) is not square, or t is negative.
    """
    if moment.ndim != 2 or moment.shape[0] != moment.shape[1]:
        raise ValueError(f"moment must be (k, k), got {tuple(moment.shape)}")
    if time < 0:
        raise ValueError(f"time must not be negative, got {time}")
    parts = max(1, math.ceil(time * float(torch.linalg.matrix_norm(moment, 2)) / 8))  # keeps exp within e⁴ of scale
    for _ in range(parts):
        q, r = torch.linalg.qr(torch.linalg.matrix_exp(moment * (time / parts / 2)))
        q = q * torch.sign(torch.diagonal(r))
        moment = q.mT @ moment @ q
    return moment
