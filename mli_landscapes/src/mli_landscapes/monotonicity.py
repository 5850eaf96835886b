"""Δ-monotonicity of a loss along a path, and what else its shape tells: bumps, barrier, convexity.

A path has the MLI property when its loss never rises. All functions take values on a grid of the path, (A,) or (A, ...)
with the grid first, and treat the trailing dimensions one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Values = Tensor | np.ndarray | Sequence[float]


class Bump(NamedTuple):
    """A stretch of the path on which the loss stands above its running minimum.

    start: where the minimum before it lies. peak: where the loss stands highest above it. end: the last point above
    it; all three are values of alpha. height: loss at the peak minus that minimum.
    """

    start: float
    peak: float
    end: float
    height: float


class CurveShape(NamedTuple):
    """Other summaries of a curve L(alpha), for comparison with work that reports them.

    largest_step: the largest rise between neighbouring grid points (0 if none); never more than min_delta.
    smallest_curvature: the smallest second difference over the squared spacing; >= 0 for a convex curve.
    convex_share: share of interior points with a second difference >= 0.
    below_chord_share: share of interior points on or below the straight line from L(0) to L(1).
    """

    largest_step: Tensor
    smallest_curvature: Tensor
    convex_share: Tensor
    below_chord_share: Tensor


def as_curve(values: Values, points: int = 1) -> Tensor:
    """Values (A, ...) as a float tensor; float64 unless they are a floating tensor already.

    Raises:
        ValueError: fewer than `points` grid points.
    """
    if not isinstance(values, Tensor):
        values = torch.as_tensor(np.asarray(values, dtype=np.float64))
    values = values.detach() if values.is_floating_point() else values.double()
    if values.ndim == 0 or len(values) < points:
        raise ValueError(f"a curve needs at least {points} grid points, got values of shape {tuple(values.shape)}")
    return values


def min_delta(values: Values) -> Tensor:
    """The smallest Δ for which the path is Δ-monotonic: max over i < j of L_j - L_i, at least 0.

    It is the largest rise above the running minimum, so one pass over the grid finds it. 0 exactly if the loss never
    rises; a rise that starts at the last but one point counts.

    Args:
        values: losses, (A, ...).
    Returns:
        (...), same dtype; NaN where a value is NaN, infinite where the loss rises to infinity.
    Raises:
        ValueError: no grid point.
    """
    values = as_curve(values)
    lowest = torch.cummin(values, 0).values
    rise = torch.where(values == lowest, 0, values - lowest)  # inf - inf is no rise
    return torch.where(torch.isnan(values).any(0), torch.nan, rise.amax(0))


def diverged(values: Values) -> Tensor:
    """Whether some value of a curve is NaN or infinite, (...) bool: such a run is no evidence for or against MLI."""
    return ~torch.isfinite(as_curve(values)).all(0)


def is_monotonic(values: Values, delta: float = 0.0) -> Tensor:
    """Whether each path is Δ-monotonic, (...) bool.

    Raises:
        ValueError: a curve that is not finite has no answer; see `diverged`.
    """
    if diverged(values).any():
        raise ValueError("a curve with NaN or infinite losses is neither monotonic nor not: drop diverged runs first")
    return min_delta(values) <= delta


def bumps(values: Values, alphas: Values, tolerance: float = 0.0) -> list[Bump]:
    """All bumps of one curve that are higher than `tolerance`, in order.

    Args:
        values: losses, (A,). alphas: the grid, (A,), rising.
    Raises:
        ValueError: the two differ in length, or a value is not finite.
    """
    values, grid = as_curve(values), as_curve(alphas)
    if values.ndim != 1 or values.shape != grid.shape:
        raise ValueError(
            f"values and alphas must be (A,) with one A, got {tuple(values.shape)} and {tuple(grid.shape)}"
        )
    if diverged(values):
        raise ValueError("bumps of a curve with NaN or infinite losses")
    rise = values - torch.cummin(values, 0).values
    found: list[Bump] = []
    i = 0
    while i < len(rise):
        if rise[i] <= 0:
            i += 1
            continue
        start = i - 1
        while i < len(rise) and rise[i] > 0:
            i += 1
        peak = start + 1 + int(rise[start + 1 : i].argmax())
        if rise[peak] > tolerance:
            found.append(Bump(float(grid[start]), float(grid[peak]), float(grid[i - 1]), float(rise[peak])))
    return found


def barrier(values: Values) -> Tensor:
    """How far the path rises above its higher end: max L - max(L_0, L_1), (...), >= 0.

    The usual barrier between two optima; for a path down from an initialisation `min_delta` asks more.
    """
    values = as_curve(values, 2)
    return values.amax(0) - torch.maximum(values[0], values[-1])


def curve_shape(values: Values, alphas: Values) -> CurveShape:
    """Largest step, convexity and position against the chord; see `CurveShape`.

    Args:
        values: losses, (A, ...), A >= 3. alphas: the grid, (A,), evenly spaced.
    Raises:
        ValueError: fewer than three points, other lengths, or uneven spacing.
    """
    values, grid = as_curve(values, 3), as_curve(alphas, 3)
    steps = grid.diff()
    if len(values) != len(grid) or grid.ndim != 1:
        raise ValueError(f"values and alphas must share their grid, got {tuple(values.shape)} and {tuple(grid.shape)}")
    if not torch.allclose(steps, steps.mean(), rtol=1e-3):
        raise ValueError("second differences need an evenly spaced grid")
    second = values.diff(n=2, dim=0) / float(steps.mean()) ** 2
    along = ((grid - grid[0]) / (grid[-1] - grid[0])).to(values).view(-1, *[1] * (values.ndim - 1))
    chord = torch.lerp(values[:1], values[-1:], along)
    return CurveShape(
        largest_step=values.diff(dim=0).amax(0).clamp(min=0),
        smallest_curvature=second.amin(0),
        convex_share=(second >= 0).double().mean(0),
        below_chord_share=(values <= chord)[1:-1].double().mean(0),
    )
