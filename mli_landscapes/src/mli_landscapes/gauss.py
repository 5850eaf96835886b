"""How much a curve turns: the Gauss length, ∫ |du/dα| dα of the unit tangent u = v / |v|, v = dz/dα.

0 for a straight line, π for a half circle, whatever its size, speed and position. Two measures, which differ where a
curve has corners, as every path of ReLU networks has:

- `gauss_length` integrates the curvature that autodiff sees, between the corners: the paper's measure;
- `total_turning` adds up the angles between successive tangents, corners included, and grows with the refinement of
  the grid towards the whole. Theorem 1 holds for this one (theorem1.py).

On smooth curves they agree.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp

from .curves import Curve, hold_at


def velocity(curve: Curve, alpha: Tensor) -> Tensor:
    """dz/dα by forward-mode AD, shape of z.

    Raises:
        ValueError: the curve has no forward-mode derivative.
    """
    try:
        return jvp(curve, (alpha,), (torch.ones_like(alpha),))[1]
    except (NotImplementedError, RuntimeError) as error:
        if "forward AD" not in str(error) and "forward-mode" not in str(error):
            raise
        raise ValueError(
            "this curve has no forward-mode derivative (nn.LSTM on a CPU has none): sample it and use polygon_turning"
        ) from error


@torch.no_grad()
def gauss_length(curve: Curve, alphas: Tensor) -> Tensor:
    """∫ |du/dα| dα by the trapezoidal rule, the derivatives by autodiff; corners are not seen.

    With a = d²z/dα², |du/dα| is the part of a across v, over |v|.

    Args:
        curve: z(α), a scalar tensor -> (..., k). alphas: the grid, (A,), rising.
    Returns:
        (...,): one length a curve, in radians. Points where v = 0 have no tangent and are passed over.
    Raises:
        ValueError: a curve that rests everywhere, or fewer than two points.
    """
    total, last, last_rate = None, None, None
    for alpha in checked_grid(alphas):
        hold_at(curve, alpha)
        v, a = jvp(lambda x: velocity(curve, x), (alpha,), (torch.ones_like(alpha),))
        speed = v.norm(dim=-1)
        u = v / speed[..., None]
        rate = (a - u * (u * a).sum(-1, keepdim=True)).norm(dim=-1) / speed  # (...,)
        moving = speed > 0
        if total is None:
            total = torch.zeros_like(rate)
            last, last_rate = torch.full_like(rate, torch.nan), torch.zeros_like(rate)
        pair = moving & ~last.isnan()
        total = total + torch.where(pair, (alpha - last) * (rate + last_rate) / 2, 0)
        last, last_rate = torch.where(moving, alpha.to(last), last), torch.where(moving, rate, last_rate)
    refuse_rest(last.isnan())
    return total


@torch.no_grad()
def total_turning(curve: Curve, alphas: Tensor) -> Tensor:
    """Sum of the angles between successive unit tangents, corners included; refinement never lowers it.

    Args:
        curve: z(α), a scalar tensor -> (..., k). alphas: the grid, (A,), rising.
    Returns:
        (...,): one turning a curve, in radians. Points where v = 0 have no tangent and are passed over.
    Raises:
        ValueError: a curve that rests everywhere, or fewer than two points.
    """
    total, last = None, None
    for alpha in checked_grid(alphas):
        hold_at(curve, alpha)
        v = velocity(curve, alpha)
        total = torch.zeros(v.shape[:-1], dtype=v.dtype) if total is None else total
        total, last = turn(total, last, v)
    refuse_rest(~(last.norm(dim=-1) > 0))
    return total


def polygon_turning(points: Tensor) -> Tensor:
    """Total turning of the polygon through points of a curve, (A, ..., k) -> (...,).

    It needs no derivative and never exceeds the turning of the curve, to which it grows as the grid is refined.

    Raises:
        ValueError: fewer than three points, or points that are all equal.
    """
    if len(points) < 3:
        raise ValueError(f"a polygon turns at three points or more, got {len(points)}")
    total, last = torch.zeros(points.shape[1:-1], dtype=points.dtype), None
    for leg in points.diff(dim=0):
        total, last = turn(total, last, leg)
    refuse_rest(~(last.norm(dim=-1) > 0))
    return total


def turn(total: Tensor, last: Tensor | None, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Add the angle from the last direction that was not 0 to this one, unless this one is 0."""
    total = total.to(direction.device)
    if last is None:
        return total, direction
    moving = (direction.norm(dim=-1) > 0) & (last.norm(dim=-1) > 0)
    total = total + torch.where(moving, angle(last, direction), 0)
    return total, torch.where((direction.norm(dim=-1) > 0)[..., None], direction, last)


def angle(first: Tensor, second: Tensor) -> Tensor:
    """Angle between vectors (..., k), in [0, π]; accurate near 0 and π, where the arc cosine is not."""
    u, w = torch.nn.functional.normalize(first, dim=-1), torch.nn.functional.normalize(second, dim=-1)
    return 2 * torch.atan2((u - w).norm(dim=-1), (u + w).norm(dim=-1))


def checked_grid(alphas: Tensor) -> Tensor:
    """The grid of a curve, as it is.

    Raises:
        ValueError: fewer than two points, or they do not rise.
    """
    if alphas.ndim != 1 or len(alphas) < 2 or not (alphas.diff() > 0).all():
        raise ValueError(f"a curve needs at least two rising values of alpha, got shape {tuple(alphas.shape)}")
    return alphas


def refuse_rest(at_rest: Tensor) -> None:
    """Raises ValueError for curves that do not move at any grid point."""
    if at_rest.any():
        raise ValueError(
            f"{int(at_rest.sum())} of {at_rest.numel()} curves do not move at any grid point: they have no direction; "
            "are the end points equal?"
        )
