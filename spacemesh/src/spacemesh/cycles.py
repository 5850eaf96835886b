"""The single cycle of largest Σ log P around a vertex: an asymmetric travelling salesman problem of its degree.

A plain assignment is not enough: it may be several cycles, which would pinch the surface. Up to degree 7 all (d - 1)!
cycles are compared, up to 10 by Held & Karp's recursion; beyond, greedy arcs that do not close early, then Or-opt
moves.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import torch
from torch import Tensor

EXHAUSTIVE, EXACT = 7, 10  # largest degrees


def decode_cycles(log_p: Tensor) -> Tensor:
    """σ of largest Σ_a log P[a, σ(a)] among single cycles; beyond degree 10 a good one.

    Args:
        log_p: shape (n, d, d); anything but NaN. The diagonal is not looked at.
    Returns:
        int64, shape (n, d): the element after each.
    Raises:
        ValueError: not (n, d, d), d < 2, or NaN.
    """
    if log_p.ndim != 3 or log_p.shape[1] != log_p.shape[2] or log_p.shape[1] < 2:
        raise ValueError(f"log P must be (n, d, d) with d >= 2, got {tuple(log_p.shape)}")
    if bool(log_p.isnan().any()):
        raise ValueError("log P holds NaN")
    weights = log_p.detach().double().clamp(-1e30, 1e30)
    degree = log_p.shape[1]
    if degree <= EXHAUSTIVE:
        return exhaustive(weights)
    if degree <= EXACT:
        return held_karp(weights)
    return or_opt(weights, greedy(weights))


def cycle_score(weights: Tensor, succ: Tensor) -> Tensor:
    """Σ_a W[a, σ(a)], shape (n,)."""
    return weights.gather(-1, succ.unsqueeze(-1)).squeeze(-1).sum(-1)


@cache
def single_cycles(degree: int) -> Tensor:
    """All single cycles of d elements as successor tables, ((d - 1)!, d)."""
    tours = torch.tensor([(0, *rest) for rest in permutations(range(1, degree))])
    return torch.empty_like(tours).scatter_(1, tours, tours.roll(-1, 1))


def exhaustive(weights: Tensor, chunk: int = 2048) -> Tensor:
    """The best of all (d - 1)! cycles, (n, d)."""
    cycles = single_cycles(weights.shape[1])
    rows = torch.arange(weights.shape[1])
    best = [weights_[:, rows, cycles].sum(-1).argmax(1) for weights_ in weights.split(chunk)]
    return cycles[torch.cat(best)] if best else cycles[:0]


def held_karp(weights: Tensor) -> Tensor:
    """The best cycle by dynamic programming over subsets: O(2^d d²) for each, all vertices at once.

    best[S, j] is the largest sum of a path from element 0 through the set S, ending at j in S.
    """
    n, d, _ = weights.shape
    others, full = d - 1, (1 << (d - 1)) - 1
    best = weights.new_full((full + 1, n, others), -torch.inf)
    came_from = torch.zeros(full + 1, n, others, dtype=torch.long)
    for j in range(others):
        best[1 << j, :, j] = weights[:, 0, j + 1]
    between = weights[:, 1:, 1:]
    for subset in range(1, full + 1):
        if subset & (subset - 1) == 0:
            continue
        members = [j for j in range(others) if subset >> j & 1]
        before = torch.stack([best[subset ^ (1 << j)] for j in members])  # (m, n, d-1)
        value, which = (before + between[:, :, members].permute(2, 0, 1)).max(-1)
        best[subset][:, members], came_from[subset][:, members] = value.T, which.T
    last = (best[full] + weights[:, 1:, 0]).argmax(1)
    succ = torch.empty(n, d, dtype=torch.long)
    rows, subset = torch.arange(n), torch.full((n,), full)
    succ[rows, last + 1] = 0
    for _ in range(others - 1):
        before = came_from[subset, rows, last]
        succ[rows, before + 1] = last + 1
        subset, last = subset ^ (1 << last), before
    succ[rows, 0] = last + 1
    return succ


def greedy(weights: Tensor) -> Tensor:
    """Best arcs first, none that would close a cycle before the last, (n, d)."""
    n, d, _ = weights.shape
    left = weights.clone()
    left.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    succ, rows = torch.empty(n, d, dtype=torch.long), torch.arange(n)
    start = torch.arange(d).expand(n, d).clone()  # of the path that ends at each
    end = start.clone()  # of the path that starts at each
    for step in range(d):
        arc = left.view(n, -1).argmax(1)
        a, b = arc // d, arc % d
        succ[rows, a] = b
        first, last = start[rows, a], end[rows, b]
        start[rows, last], end[rows, first] = first, last
        left[rows, a, :] = -torch.inf
        left[rows, :, b] = -torch.inf
        closing = weights[rows, last, first] if step == d - 2 else -torch.inf
        left[rows, last, first] = closing
    return succ


def tour_of(succ: Tensor) -> Tensor:
    """The elements in order from element 0, (n, d)."""
    at = torch.zeros(len(succ), 1, dtype=torch.long)
    steps = [at]
    for _ in range(succ.shape[1] - 1):
        at = succ.gather(1, at)
        steps.append(at)
    return torch.cat(steps, 1)


def or_opt(weights: Tensor, succ: Tensor, longest: int = 3) -> Tensor:
    """Move runs of up to `longest` elements to where they raise the sum most, until none does."""
    n, d, _ = weights.shape
    tour, rows = tour_of(succ), torch.arange(n)[:, None]
    diagonal = torch.eye(d, dtype=torch.bool)  # -inf after Sinkhorn, and in no sum
    rounding = 1e-9 * (1 + weights.masked_fill(diagonal, 0.0).abs().clamp(max=1e15).amax((1, 2)))
    for _ in range(4 * d):
        gains, moves = [], []
        for length in range(1, min(longest, d - 2) + 1):
            gain = _gains(weights, tour, length)  # (n, d, d - length)
            value, where = gain.view(n, -1).max(1)
            gains.append(value)
            moves.append((where // gain.shape[2], where % gain.shape[2]))
        gain, which = torch.stack(gains, 1).max(1)
        better = gain > rounding
        if not bool(better.any()):
            break
        for length, (start, after) in enumerate(moves, 1):
            chosen = better & (which == length - 1)
            rolled = tour[rows, (torch.arange(d) + start[:, None]) % d]  # the run comes first
            run, rest = rolled[:, :length], rolled[:, length:]
            keys = torch.cat(
                [(after[:, None] + 0.5).expand(n, length), torch.arange(float(d - length)).expand(n, -1)], 1
            )
            moved = torch.cat([run, rest], 1).gather(1, keys.argsort(dim=1, stable=True))
            tour = torch.where(chosen[:, None], moved, tour)
    return torch.empty_like(tour).scatter_(1, tour, tour.roll(-1, 1))


def _gains(weights: Tensor, tour: Tensor, length: int) -> Tensor:
    """What moving the run that starts at each place to after each element of the rest gains, (n, d, d - length)."""
    n, d = tour.shape
    index = (torch.arange(d)[:, None] + torch.arange(d)) % d  # row s: the tour from place s on
    rolled = tour[:, index]  # (n, d, d)
    first, last = rolled[..., 0], rolled[..., length - 1]
    rest = rolled[..., length:]  # (n, d, r)
    following = torch.cat([rest[..., 1:], rest[..., :1]], -1)

    def weight(a: Tensor, b: Tensor) -> Tensor:
        flat = a * d + b
        return weights.view(n, -1).gather(1, flat.reshape(n, -1)).view(flat.shape)

    removed = weight(rest[..., -1], first) + weight(last, rest[..., 0]) - weight(rest[..., -1], rest[..., 0])  # (n, d)
    added = weight(rest, first[..., None].expand_as(rest)) + weight(last[..., None].expand_as(rest), following)
    gain = added - weight(rest, following) - removed[..., None]
    gain[..., -1] = 0.0  # where it was
    return gain
