"""Σ_θ and σ² of a hierarchy from its data, by expectation maximisation: real tasks do not come with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .estimators import trace
from .hierarchical import HBLR, inverse_spd
from .setting import Number


@dataclass(frozen=True)
class Variances:
    """task_cov: Σ_θ, (d, d). noise: σ²."""

    task_cov: Tensor
    noise: float


def isotropic(second_moment: Tensor, M: int) -> Tensor:
    """Σ_θ = s I, the paper's model: s is the mean of the diagonal. (d, d) -> (d, d)"""
    d = len(second_moment)
    return trace(second_moment) / d * torch.eye(d, dtype=second_moment.dtype)


def shrunk(second_moment: Tensor, M: int) -> Tensor:
    """A full Σ_θ, drawn to the isotropic one with the weight of one more task, which keeps it definite for any M."""
    return (M * second_moment + isotropic(second_moment, M)) / (M + 1)


def wide_model(task_cov: Tensor, noise: float, novel_variance: Number | None = None) -> HBLR:
    """HBLR with τ ~ N(0, 10^8 s I), s the mean of Σ_θ's diagonal: flat in effect, yet defined where no task has data.

    Args:
        task_cov: Σ_θ, (d, d).
        noise: σ² of the training tasks.
        novel_variance: that of the novel task, if it is another.
    """
    d = len(task_cov)
    wide = 1e8 * float(trace(task_cov)) / d
    novel_variance = noise if novel_variance is None else novel_variance
    return HBLR(d, task_cov, noise, novel_variance, torch.zeros(d, dtype=torch.float64), wide)


def estimate_variances(
    grams: Tensor,
    moments: Tensor,
    energies: Tensor,
    rows: Tensor,
    spread: Callable[[Tensor, int], Tensor] = isotropic,
    iterations: int = 500,
    tolerance: float = 1e-5,
) -> Variances:
    """Restricted maximum likelihood of Σ_θ and one σ² for all tasks, τ as good as flat. Derived here.

    Each step takes the posterior of every θ_i and of τ, then Σ_θ from E(θ_i - τ)(θ_i - τ)' and σ² = Σ E|y_i - X_i
    θ_i|²/N.

    Args:
        grams, moments, energies, rows: X'X (M, d, d), X'y (M, d), y'y (M,) and n_i (M,) of at least two tasks.
        spread: from that second moment and M to Σ_θ: `isotropic` or `shrunk`.
        iterations: most steps.
        tolerance: relative change of σ² and of the trace of Σ_θ at which to stop.
    Raises:
        ValueError: fewer than two tasks, or data without any noise to estimate.
    """
    M, d = moments.shape
    if M < 2:
        raise ValueError(f"the spread of tasks needs at least 2 of them, got {M}")
    total = float(rows.sum())
    floor = 1e-9 * float(energies.sum()) / total  # tasks that are fitted exactly would take σ² to 0
    scale = float(trace(grams).sum() / (total * d))
    jitter = 1e-10 * scale * total * torch.eye(d, dtype=torch.float64)
    pooled = torch.linalg.solve(grams.sum(0) + jitter, moments.sum(0))
    residual = float(energies.sum() - pooled @ moments.sum(0)) / total
    if not residual > floor:
        raise ValueError("one linear function fits all tasks exactly: there is no variance to estimate")
    task_cov, noise = residual / (2 * scale * d) * torch.eye(d, dtype=torch.float64), residual / 2
    for _ in range(iterations):
        model = wide_model(task_cov, noise)
        summary = model.accumulate(grams, moments, M)
        tau_cov = inverse_spd(summary.precision)
        tau = tau_cov @ summary.information
        prior = torch.linalg.inv(task_cov)
        own = inverse_spd(grams / noise + prior)  # cov(θ_i | τ), (M, d, d)
        mean = (own @ (moments / noise + prior @ tau)[..., None])[..., 0]
        pull = own @ prior  # dE[θ_i | τ]/dτ
        from_tau = pull - torch.eye(d, dtype=torch.float64)
        away = mean - tau
        second_moment = (away.mT @ away + (own + from_tau @ tau_cov @ from_tau.mT).sum(0)) / M
        misfit = energies - 2 * (mean * moments).sum(-1) + torch.einsum("mi,mij,mj->m", mean, grams, mean)
        misfit = misfit.sum() + (grams * (own + pull @ tau_cov @ pull.mT)).sum()
        before = (float(trace(task_cov)), noise)
        task_cov = spread((second_moment + second_moment.mT) / 2, M)
        noise = max(float(misfit) / total, floor)
        change = (abs(float(trace(task_cov)) / before[0] - 1), abs(noise / before[1] - 1))
        if max(change) < tolerance:
            break
    return Variances(task_cov, noise)
