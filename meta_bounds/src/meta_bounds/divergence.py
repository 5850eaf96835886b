"""Kullback-Leibler divergences between the tasks of a packing, in bits: Fano's inequality divides them by log2 J."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .setting import Number, float64, positive


def linear_kl_bits(points: Tensor, gram: Tensor, variance: Number) -> Tensor:
    """KL(P_i || P_j) = (θ_i - θ_j)' X'X (θ_i - θ_j) / (2 σ² ln 2) bits, for all rows of y ~ N(Xθ, σ²I) together.

    Args:
        points: θ, shape (J, d).
        gram: X'X, shape (d, d); divide it by the number of rows for the divergence of one sample.
        variance: σ².
    Returns:
        (J, J), symmetric with a zero diagonal.
    Raises:
        ValueError: shapes that do not fit, or a variance that is not positive.
    """
    points, gram = float64(points), float64(gram)
    (variance,) = positive(variance=variance)
    if points.ndim != 2 or gram.shape != (points.shape[1],) * 2:
        raise ValueError(f"points must be (J, d) and gram (d, d), got {tuple(points.shape)} and {tuple(gram.shape)}")
    difference = points[:, None] - points  # (J, J, d)
    return torch.einsum("ija,ab,ijb->ij", difference, gram, difference) / (2 * variance * math.log(2))


def discrete_kl_bits(tables: Tensor) -> Tensor:
    """KL(P_i || P_j) in bits between J distributions on A letters; infinite where P_j lacks a letter of P_i.

    Args:
        tables: probabilities, shape (J, A), rows summing to 1.
    Returns:
        (J, J).
    Raises:
        ValueError: a row is no distribution.
    """
    tables = float64(tables)
    if tables.ndim != 2 or (tables < 0).any() or not torch.allclose(tables.sum(1), float64(1)):
        raise ValueError(f"tables must be (J, A) with rows of probabilities that sum to 1, got {tables.tolist()}")
    entropy = torch.xlogy(tables, tables).sum(1)  # (J,)
    cross = torch.xlogy(tables[:, None], tables[None]).sum(-1)  # (J, J)
    return (entropy[:, None] - cross) / math.log(2)


def mean_kl(kl: Tensor) -> Tensor:
    """K = (1/J²) Σ_ij KL(P_i || P_j), the diagonal's zeros counted, as Corollary 1 has it.

    Args:
        kl: in bits, shape (J, J).
    Returns:
        A scalar, in bits.
    Raises:
        ValueError: another shape.
    """
    if kl.ndim != 2 or kl.shape[0] != kl.shape[1]:
        raise ValueError(f"kl must be (J, J), got {tuple(kl.shape)}")
    return kl.mean()
