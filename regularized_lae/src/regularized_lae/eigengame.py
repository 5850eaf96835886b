"""EigenGame: PCA as a Nash equilibrium (Gemp et al., ICLR 2021), a reference that the paper predates."""

from __future__ import annotations

import torch
from torch import Tensor

from .covariance import Covariance


def eigengame_direction(weights: Tensor, covariance: Covariance) -> Tensor:
    """Riemannian gradient of every player's utility, added to W times the rate (algorithm 1 there).

    Player i maximises v_iᵀCv_i - Σ_{j<i} (v_iᵀCv_j)²/(v_jᵀCv_j) on the sphere; `to_sphere` after each step keeps it
    there.

    Args:
        weights: unit vectors v_i in rows, shape (..., k, d).
    Returns:
        Shape (..., k, d); each row is orthogonal to its v_i.
    """
    projected = covariance.rows_times(weights)  # v_iᵀ C
    moment = projected @ weights.mT
    parents = moment.tril(-1) / moment.diagonal(dim1=-2, dim2=-1)[..., None, :]
    gradient = 2 * (projected - parents @ projected)
    return gradient - (gradient * weights).sum(-1, keepdim=True) * weights


def to_sphere(weights: Tensor) -> Tensor:
    """Every row at length 1; (..., k, d)."""
    return torch.nn.functional.normalize(weights, dim=-1)
