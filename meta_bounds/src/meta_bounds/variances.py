"""Σ_θ and σ² of a hierarchy from its data, by expectation maximisation: real tasks do not come with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .hierarchical import HBLR, inverse_spd


@dataclass(frozen=True)
class Variances:
    """task_cov: Σ_θ, (d, d). noise: σ²."""

    task_cov: Tensor
    noise: float


def estimate_variances(
    grams: Tensor, moments: Tensor, energies: Tensor, rows: Tensor, iterations: int = 500, tolerance: float = 1e-5
) -> Variances:
    """Restricted maximum likelihood of Σ_θ = s I and one σ² for all tasks, τ flat. Derived here.

    Each step takes the posterior of every θ_i and of τ, then s = mean E|θ_i - τ|²/d and σ² = Σ E|y_i - X_i θ_i|²/N.

    Args:
        grams, moments, energies, rows: X'X (M, d, d), X'y (M, d), y'y (M,) and n_i (M,) of at least two tasks.
        iterations: most steps.
        tolerance: relative change of both at which to stop.
    Raises:
        ValueError: fewer than two tasks, or data without any noise to estimate.
    """
    M, d = moments.shape
    if M < 2:
        raise ValueError(f"the spread of tasks needs at least 2 of them, got {M}")
    total = float(rows.sum())
    pooled = torch.linalg.lstsq(grams.sum(0), moments.sum(0)[:, None]).solution[:, 0]
    residual = float(energies.sum() - pooled @ moments.sum(0)) / total
    if not residual > 1e-12 * float(energies.sum() / total):
        raise ValueError("one linear function fits all tasks exactly: there is no variance to estimate")
    scale = float(grams.diagonal(dim1=-2, dim2=-1).sum() / (total * d))
    spread, noise = residual / (2 * scale * d), residual / 2
    for _ in range(iterations):
        model = HBLR(d, spread, noise, noise)
        summary = model.accumulate(grams, moments, M)
        tau_cov = inverse_spd(summary.precision)
        tau = tau_cov @ summary.information
        own = inverse_spd(grams / noise + torch.eye(d, dtype=torch.float64) / spread)  # cov(θ_i | τ), (M, d, d)
        pull = own / spread  # dE[θ_i | τ]/dτ
        mean = (own @ (moments / noise + tau / spread)[..., None])[..., 0]
        cov = own + pull @ tau_cov @ pull.mT
        from_tau = pull - torch.eye(d, dtype=torch.float64)
        squares = (mean - tau).square().sum() + (own + from_tau @ tau_cov @ from_tau.mT).diagonal(
            dim1=-2, dim2=-1
        ).sum()
        misfit = energies - 2 * (mean * moments).sum(-1) + torch.einsum("mi,mij,mj->m", mean, grams, mean)
        misfit = misfit.sum() + (grams * cov).sum()
        before, (spread, noise) = (spread, noise), (float(squares) / (M * d), float(misfit) / total)
        if max(abs(spread / before[0] - 1), abs(noise / before[1] - 1)) < tolerance:
            break
    return Variances(spread * torch.eye(d, dtype=torch.float64), noise)
