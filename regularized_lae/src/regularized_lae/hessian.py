"""Exact curvature at the optimum: why the axes are recovered only eventually (the theorems on ill-conditioning).

The Hessians of the regularised losses at their optima fall apart, in the eigenbasis of C, into blocks of one unit, of a
unit and an unused eigenvector, and of two units; so the whole spectrum of 2kd eigenvalues costs O(kd). The blocks were
derived for this package and are tested against automatic differentiation. Gradient descent needs steps in proportion to
the condition number (Nesterov's momentum: to its square root).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .losses import geometric_survival
from .penalties import check_penalties, collapsed_units, relative_penalties


def hessian_spectrum_l2(eigenvalues: Tensor, lam: Tensor) -> Tensor:
    """All eigenvalues of the Hessian of `l2_nonuniform` at its optimum, ascending.

    Args:
        eigenvalues: s_1 > ... > s_d of C, shape (d,).
        lam: λ_1 < ... < λ_k < s_k, shape (k,).
    Returns:
        Shape (2kd,).
    Raises:
        ValueError: λ is not increasing, or some λ_i >= s_i: a collapsed unit has no isolated optimum.
    """
    s, lam = eigenvalues.double(), lam.double()
    check_penalties(lam)
    if lost := collapsed_units(s, lam):
        raise ValueError(f"the formula needs lam_i < s_i for every unit; units {lost}, counted from 0, have collapsed")
    k = len(lam)
    a2 = 1 - lam / s[:k]  # a_i²
    one = torch.cat([2 * (s[:k] - lam), 2 * lam])
    si, sj = s[:k, None].expand(k, len(s) - k), s[None, k:].expand(k, len(s) - k)
    unused = _symmetric([[sj * a2[:, None] + lam[:, None], -sj], [-sj, si]])
    i, j = torch.triu_indices(k, k, 1)
    both = (a2[i] * a2[j]).sqrt()
    zero = torch.zeros_like(both)
    pair = _symmetric(
        [
            [s[j] * a2[i] + lam[i], -lam[j], zero, s[j] * both],
            [-lam[j], s[i], s[i] * both, zero],
            [zero, s[i] * both, s[i] * a2[j] + lam[j], -lam[i]],
            [s[j] * both, zero, -lam[i], s[j]],
        ]
    )
    return 2 * torch.cat([one, unused, pair]).sort().values


def hessian_spectrum_nd(eigenvalues: Tensor, survival: Tensor) -> Tensor:
    """All eigenvalues of the Hessian of `nested_dropout_expectation` at its scale-1 optimum, ascending.

    k of them are zero: the scales of the units are free.

    Args:
        eigenvalues: s, shape (d,). survival: p_1 > ... > p_k, shape (k,).
    Returns:
        Shape (2kd,).
    """
    s, p = eigenvalues.double(), survival.double()
    k = len(p)
    one = torch.cat([2 * p * s[:k], torch.zeros(k, dtype=s.dtype)])
    si, sj = s[:k, None].expand(k, len(s) - k), s[None, k:].expand(k, len(s) - k)
    unused = _symmetric([[sj, -sj], [-sj, si]], scale=p[:, None])
    i, j = torch.triu_indices(k, k, 1)
    gap = p[i] - p[j]
    zero = torch.zeros_like(gap)
    pair = _symmetric(
        [
            [p[i] * s[j], -gap * s[j], zero, p[j] * s[j]],
            [-gap * s[j], p[i] * s[i], p[j] * s[i], zero],
            [zero, p[j] * s[i], p[j] * s[i], zero],
            [p[j] * s[j], zero, zero, p[j] * s[j]],
        ]
    )
    return 2 * torch.cat([one, unused, pair]).sort().values


def rag_rates(eigenvalues: Tensor, latents: int, balance: float = 0.0) -> Tensor:
    """Decay rates of all modes of the RAG flow at W1 = W2ᵀ = U_kᵀ, ascending.

    They are minus the eigenvalues of its Jacobian, all of which are real. A pair of latents decays at ½(s_i - s_j), the
    reconstruction at up to 4 s_1. k(k+1)/2 modes, those that change Q, do not decay at all; with `balance` β they decay
    at 4β.

    Args:
        eigenvalues: s, shape (d,).
    Returns:
        Shape (2kd,).
    """
    s = eigenvalues.double()
    k = latents
    reconstruction = 4 * s[:k].repeat(k)
    stalled = torch.full((k * (k + 1) // 2,), 4 * balance, dtype=s.dtype)
    i, j = torch.triu_indices(k, k, 1)
    turning = (s[i] - s[j]) / 2
    si, sj = s[:k, None].expand(k, len(s) - k), s[None, k:].expand(k, len(s) - k)
    unused = 2 * _symmetric([[sj, -sj], [-sj, si]])
    return torch.cat([reconstruction, stalled, turning, unused]).sort().values


def condition_number(spectrum: Tensor, flat: int = 0) -> float:
    """Largest over smallest eigenvalue, leaving out the `flat` smallest ones, which are zero by symmetry.

    flat is 0 for `hessian_spectrum_l2`, k for `hessian_spectrum_nd`, k(k+1)/2 for `rag_rates` without balance.
    """
    spectrum = spectrum.sort().values
    return float(spectrum[-1] / spectrum[flat])


def conditions(eigenvalues: Tensor, latents: int) -> dict[str, float]:
    """Exact condition numbers at the optimum: non-uniform L2, deterministic nested dropout, RAG.

    Args:
        eigenvalues: s_1 > ... > s_d, shape (d,). latents: k; penalties and survival are the defaults for it.
    """
    return {
        "nonuniform": condition_number(hessian_spectrum_l2(eigenvalues, relative_penalties(eigenvalues, latents))),
        "nested": condition_number(hessian_spectrum_nd(eigenvalues, geometric_survival(latents)), flat=latents),
        "rag": condition_number(rag_rates(eigenvalues, latents), flat=latents * (latents + 1) // 2),
    }


def shrinking_spectrum(latents: int) -> Tensor:
    """2k eigenvalues evenly spaced from 1 to 0.1: the gaps shrink as k grows. Shape (2k,)."""
    return torch.linspace(1, 0.1, 2 * latents, dtype=torch.float64)


def l2_rotation_bound(eigenvalues: Tensor, lam: Tensor) -> Tensor:
    """Upper bounds on the smallest eigenvalue of `hessian_spectrum_l2`, one for each pair of units i < j.

    2(λ_j - λ_i)(a_i² - a_j²)/(a_i² + a_j²) with a_i² = 1 - λ_i/s_i is the curvature along the pair's rotation. Both
    factors are gaps, and k - 1 neighbours share each range: the smallest is O(1/k²), the condition number grows as k².
    Shape (k(k-1)/2,).
    """
    lam = lam.double()
    a2 = 1 - lam / eigenvalues.double()[: len(lam)]
    i, j = torch.triu_indices(len(lam), len(lam), 1)
    return 2 * (lam[j] - lam[i]) * (a2[i] - a2[j]) / (a2[i] + a2[j])


def nd_rotation_bound(eigenvalues: Tensor, survival: Tensor) -> Tensor:
    """The same for the non-zero part of `hessian_spectrum_nd`: ½(p_i - p_j)(s_i - s_j), exponential in k for ρ^i."""
    s, p = eigenvalues.double(), survival.double()
    i, j = torch.triu_indices(len(p), len(p), 1)
    return (p[i] - p[j]) * (s[i] - s[j]) / 2


def _symmetric(block: list[list[Tensor]], scale: Tensor | float = 1.0) -> Tensor:
    """Eigenvalues of symmetric blocks given by entries of one shape; flat."""
    matrices = torch.stack([torch.stack(row, -1) for row in block], -2)
    return (torch.linalg.eigvalsh(matrices) * (scale[..., None] if isinstance(scale, Tensor) else scale)).flatten()
