"""Packings: finite sets of task parameters, pairwise at least 2δ apart, from which nature deals the tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from .setting import float64, positive


@dataclass(frozen=True)
class Packing:
    """J parameters in the d-dimensional space of tasks.

    points: θ, shape (J, d), J >= 2, no two alike.

    Raises:
        ValueError: fewer than two points, another shape, a point that is not finite, or two that are the same.
    """

    points: Tensor

    def __post_init__(self):
        points = float64(self.points)
        object.__setattr__(self, "points", points)
        if points.ndim != 2 or len(points) < 2 or not torch.isfinite(points).all():
            raise ValueError(f"a packing needs at least 2 finite points, (J, d), got shape {tuple(points.shape)}")
        if self.delta == 0:
            raise ValueError("a packing needs points that differ, two of these are the same")

    @property
    def J(self) -> int:
        return len(self.points)

    @property
    def d(self) -> int:
        return self.points.shape[1]

    @property
    def delta(self) -> float:
        """δ, half the smallest distance."""
        return float(torch.pdist(self.points).min()) / 2

    @property
    def radius(self) -> float:
        """Largest norm."""
        return float(self.points.norm(dim=1).max())

    def scaled(self, factor: float) -> Packing:
        """The same shape, `factor` times as large: δ grows alike, divergences with its square.

        Raises:
            ValueError: the factor is not positive.
        """
        return Packing(self.points * float(positive(factor=factor)[0]))


def hexagon(radius: float = 1.0) -> Packing:
    """Centre and six corners in the plane: J = 7, d = 2, δ = radius / 2.

    Raises:
        ValueError: the radius is not positive.
    """
    angle = torch.arange(6, dtype=torch.float64) * math.pi / 3
    corners = torch.stack([angle.cos(), angle.sin()], -1)
    return Packing(float(positive(radius=radius)[0]) * torch.cat([torch.zeros(1, 2), corners]))


def hypercube(d: int, radius: float = 1.0) -> Packing:
    """The 2^d corners of a cube with corners at norm `radius`: δ = radius / √d.

    Raises:
        ValueError: d is not from 1 to 12, or the radius is not positive.
    """
    if not 1 <= d <= 12:
        raise ValueError(f"a hypercube of 2^d points is made for d from 1 to 12, got {d}")
    corners = torch.tensor(list(product([-1.0, 1.0], repeat=d)), dtype=torch.float64)
    return Packing(float(positive(radius=radius)[0]) * corners / math.sqrt(d))


def greedy_packing(d: int, generator: torch.Generator, separation: float = 0.5, candidates: int = 20_000) -> Packing:
    """Uniform draws from the unit ball, each kept if it is at least `separation` from all kept before.

    Once no point of the ball can be added, balls of that radius around the points cover it, so J > (1/separation)^d by
    volume when d >= 2. That is certain in the limit only: look at J.

    Args:
        d: dimension.
        generator: source of the draws.
        separation: smallest distance, 2δ; Theorem 3 takes 1/2.
        candidates: draws in all.
    Raises:
        ValueError: d below 1, fewer than 2 candidates, or a separation outside (0, 2].
    """
    if d < 1 or candidates < 2 or not 0 < separation <= 2:
        raise ValueError(f"need d >= 1, candidates >= 2, 0 < separation <= 2, got {d}, {candidates}, {separation}")
    direction = torch.randn(candidates, d, generator=generator, dtype=torch.float64)
    norm = torch.rand(candidates, 1, generator=generator, dtype=torch.float64) ** (1 / d)
    remaining = norm * torch.nn.functional.normalize(direction, dim=1)
    kept = []
    while len(remaining):
        kept.append(remaining[0])
        remaining = remaining[(remaining - kept[-1]).norm(dim=1) >= separation]
    return Packing(torch.stack(kept))
