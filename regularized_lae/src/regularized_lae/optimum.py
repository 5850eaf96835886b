"""Closed-form optima of the regularised objectives (the paper's landscape theorems)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .penalties import check_penalties


@dataclass(frozen=True)
class Optimum:
    """A global minimum, unique up to the sign of each component (and, for nested dropout, its scale).

    encoder: W1, shape (k, d). decoder: W2, shape (d, k). value: the objective there, a scalar.
    """

    encoder: Tensor
    decoder: Tensor
    value: Tensor


def l2_optimum(eigenvalues: Tensor, axes: Tensor, lam: Tensor) -> Optimum:
    """Minimum of `l2_nonuniform`: W2 = W1ᵀ = U_k diag(a), a_i² = max(0, 1 - λ_i/s_i).

    With equal λ it is one of the O(k) many minima of `l2_uniform`.

    Args:
        eigenvalues: s_1 >= ... >= s_d of C, shape (d,).
        axes: U, eigenvectors in columns, shape (d, d).
        lam: λ_1 <= ... <= λ_k, shape (k,). Units with λ_i >= s_i are zero.
    """
    latents = len(lam)
    top = eigenvalues[:latents]
    scale = (1 - lam / top).clamp(min=0).sqrt()  # a
    decoder = axes[:, :latents] * scale
    lost = torch.where(lam < top, 2 * lam - lam**2 / top, top)
    return Optimum(decoder.mT.contiguous(), decoder, lost.sum() + eigenvalues[latents:].sum())


def nested_dropout_optimum(eigenvalues: Tensor, axes: Tensor, survival: Tensor) -> Optimum:
    """The scale-1 minimum of `nested_dropout_expectation`: W2 = U_k, W1 = U_kᵀ.

    W2 diag(q), diag(q)⁻¹ W1 is a minimum for every q without zeros.

    Args:
        eigenvalues: s, shape (d,). axes: U in columns, shape (d, d). survival: p, shape (k,).
    """
    decoder = axes[:, : len(survival)]
    kept = (survival * eigenvalues[: len(survival)]).sum()
    return Optimum(decoder.mT.contiguous(), decoder, eigenvalues.sum() - kept)


def recovers_axes(eigenvalues: Tensor, lam: Tensor) -> bool:
    """Whether 0 < λ_1 < ... < λ_k < s_k, the paper's condition for recovering the axes.

    Raises:
        ValueError: λ is not positive and strictly increasing.
    """
    check_penalties(lam)
    return bool(lam[-1] < eigenvalues[len(lam) - 1])
