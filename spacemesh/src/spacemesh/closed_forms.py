"""Graphs with a hub, in few dimensions whatever their size: what a spacetime can do and a Euclidean space cannot.

Points of a ball of radius r that are pairwise further than r apart number at most 5 in the plane, 12 in three
dimensions and 24 in four, so no Euclidean threshold graph there has a hub with more neighbours that are not adjacent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def circle(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Points on the unit circle, (m, 2)."""
    angle = 2 * math.pi * torch.arange(count, dtype=dtype) / count
    return torch.stack([angle.cos(), angle.sin()], -1)


def wheel(rim: int) -> tuple[Tensor, Tensor, float]:
    """A rim of m >= 4 vertices and an apex, the last: 2 + 1 dimensions.

    The rim at t = 0 on the unit circle, τ between first and second neighbours; the apex at s = 0 with t² = 1.
    """
    refuse_small(rim, 4)
    space = torch.cat([circle(rim), torch.zeros(1, 2, dtype=torch.float64)])
    time = torch.zeros(rim + 1, 1, dtype=torch.float64)
    time[-1] = 1.0
    return space, time, _between(rim)


def bipyramid(rim: int) -> tuple[Tensor, Tensor, float]:
    """A rim of m >= 4 vertices and two apices, the last: 3 + 1 dimensions.

    The apices at heights ±h with h² = τ, so that they are 4τ apart, and at the same t with t² = 1 + h².
    """
    refuse_small(rim, 4)
    tau = _between(rim)
    height = math.sqrt(tau)
    space = torch.zeros(rim + 2, 3, dtype=torch.float64)
    space[:rim, :2] = circle(rim)
    space[rim, 2], space[rim + 1, 2] = height, -height
    time = torch.zeros(rim + 2, 1, dtype=torch.float64)
    time[rim:] = math.sqrt(1 + tau)
    return space, time, tau


def complete_bipartite(side: int) -> tuple[Tensor, Tensor, float]:
    """K_{m,m}, m >= 2: 4 + 1 dimensions. Two circles in orthogonal planes, the second at t² = 2."""
    refuse_small(side, 2)
    space = torch.zeros(2 * side, 4, dtype=torch.float64)
    space[:side, :2] = space[side:, 2:] = circle(side)
    time = torch.zeros(2 * side, 1, dtype=torch.float64)
    time[side:] = math.sqrt(2)
    return space, time, 2 * math.sin(math.pi / side) ** 2


def _between(rim: int) -> float:
    """Half way between the squared distances of first and second neighbours on the unit circle."""
    return 2 * (math.sin(math.pi / rim) ** 2 + math.sin(2 * math.pi / rim) ** 2)


def refuse_small(count: int, least: int) -> None:
    """Raise ValueError below the smallest size of the form."""
    if count < least:
        raise ValueError(f"expected at least {least} vertices, got {count}")
