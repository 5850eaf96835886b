"""Theorem 1, a small Gauss length makes the loss monotone, as a check that can be run on every example.

Let l(α) = |z(α) - y|², and let the path turn by less than π/2. With v = dz/dα,

    l'(α) = 2 v(α)·(z(1) - y) - 2 ∫_α^1 v(α)·v(s) ds,

and the integrand is not negative, since the angle between two tangents is at most the turning between them. So with
z(1) = y the loss never rises (the paper's theorem). With z(1) ≠ y it rises by at most 2 |z(1) - y| times the length of
the stretch (derived here), which is what is checked. π/2 is sharp, and the condition sufficient only. It sums over
examples, and holds for paths with corners when the turning counts them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from .curves import Curve, sample_curve
from .gauss import gauss_length, total_turning
from .monotonicity import min_delta


class Theorem1(NamedTuple):
    """What the theorem needs and says, for each example, (...,).

    gauss_length, turning: of the path, without and with corners. final_loss: |z(1) - y|². rise: min_delta of the
    loss. allowed: 2 |z(1) - y| times the path's length, by how much it may rise if the theorem applies.
    """

    gauss_length: Tensor
    turning: Tensor
    final_loss: Tensor
    rise: Tensor
    allowed: Tensor

    @property
    def applies(self) -> Tensor:
        """Whether the path turns by less than π/2, corners included, as far as the grid shows them."""
        return self.turning < math.pi / 2

    def violated(self, tolerance: float = 0.0) -> Tensor:
        """Whether the loss rises by more than it may although the theorem applies: never, but for rounding."""
        return self.applies & (self.rise > self.allowed + tolerance)


def theorem1(curve: Curve, targets: Tensor, alphas: Tensor) -> Theorem1:
    """Turning of the output paths and rise of the squared error along them.

    Args:
        curve: z(α), a scalar tensor -> (..., k). targets: y, (..., k). alphas: the grid, (A,), from 0 to 1.
    Raises:
        ValueError: targets of another shape, and all that `gauss_length` raises.
    """
    points = sample_curve(curve, alphas)
    if points.shape[1:] != targets.shape:
        raise ValueError(f"outputs are {tuple(points.shape[1:])}, targets {tuple(targets.shape)}: one shape is needed")
    losses = (points - targets).square().sum(-1)
    length = points.diff(dim=0).norm(dim=-1).sum(0)
    return Theorem1(
        gauss_length=gauss_length(curve, alphas),
        turning=total_turning(curve, alphas),
        final_loss=losses[-1],
        rise=min_delta(losses),
        allowed=2 * losses[-1].sqrt() * length,
    )
