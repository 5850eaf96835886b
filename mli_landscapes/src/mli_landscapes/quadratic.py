"""Gradient descent on a quadratic bowl, where the interpolated loss has a closed form (derived here).

L(θ) = ½ Σ h_i θ_i². T steps of size η multiply coordinate i by c_i = (1 - η h_i)^T, so on the way from θ_0 to θ_T
L(α) = ½ Σ h_i θ_{0,i}² (1 - α + α c_i)². A coordinate that overshot (c_i < 0) passes its minimum at
α = 1 / (1 - c_i) and rises from there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class QuadraticPath(NamedTuple):
    """Losses along the line, (A,); contraction c_i, (d,); the α after which coordinate i rises, (d,), inf if never."""

    losses: Tensor
    contraction: Tensor
    rises_after: Tensor


def quadratic_path(curvature: Tensor, start: Tensor, rate: float, steps: int, alphas: Tensor) -> QuadraticPath:
    """The loss between the start of gradient descent on a quadratic bowl and where it is after `steps`.

    Args:
        curvature: h, eigenvalues of the Hessian, (d,), >= 0.
        start: θ_0 in the eigenbasis, (d,).
        rate: η > 0. steps: T >= 1. alphas: (A,).
    Raises:
        ValueError: shapes differ, a negative curvature, or no step.
    """
    if curvature.ndim != 1 or curvature.shape != start.shape:
        raise ValueError(
            f"curvature and start must be (d,) with one d, got {tuple(curvature.shape)} and {tuple(start.shape)}"
        )
    if (curvature < 0).any():
        raise ValueError(f"a bowl has no negative curvature, got {float(curvature.min())}")
    if steps < 1 or rate <= 0:
        raise ValueError(f"rate must be positive and steps at least 1, got {rate} and {steps}")
    contraction = (1 - rate * curvature) ** steps
    along = 1 - alphas[:, None] * (1 - contraction)  # (A, d)
    losses = 0.5 * (curvature * start.square() * along.square()).sum(1)
    rises_after = torch.where(contraction < 0, 1 / (1 - contraction), torch.inf)
    return QuadraticPath(losses, contraction, rises_after)
