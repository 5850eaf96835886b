"""Multi-fidelity expected improvement: each candidate is held against the best score at its own next budget."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def expected_improvement(mean: Tensor, std: Tensor, best: Tensor | float) -> Tensor:
    """EI = (μ − best) Φ(z) + σ ϕ(z), z = (μ − best) / σ; 0 where σ = 0. For scores to maximise.

    Args:
        mean, std: (n,). best: a number, or (n,).
    """
    gain = mean - best
    safe = std.clamp_min(1e-300) if std.dtype == torch.float64 else std.clamp_min(1e-30)
    z = gain / safe
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    return torch.where(std > 0, gain * below + std * density, torch.zeros_like(gain))


def best_at(budgets: Tensor, curves: Mapping[int, Mapping[int, float]]) -> Tensor:
    """ymax_j for each budget j: the best score among configurations that reached j; if none did, the best of all.

    Args:
        budgets: (n,) epochs. curves: configuration -> epoch -> score.
    Returns:
        (n,) in float64.
    Raises:
        ValueError: nothing was observed yet.
    """
    found = [score for curve in curves.values() for score in curve.values()]
    if not found:
        raise ValueError("nothing was observed yet, so there is nothing to improve on")
    best: dict[int, float] = {}
    for curve in curves.values():
        for epoch, score in curve.items():
            best[epoch] = max(score, best.get(epoch, -math.inf))
    return torch.tensor([best.get(int(j), max(found)) for j in budgets], dtype=torch.float64)
