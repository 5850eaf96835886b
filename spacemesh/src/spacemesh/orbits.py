"""Cycles of a permutation, without a loop over its elements: faces are orbits of `next`, umbrellas orbits of `succ`."""

from __future__ import annotations

import torch
from torch import Tensor


def orbits(permutation: Tensor) -> Tensor:
    """The orbit of each element, numbered from 0 in order of their smallest elements.

    Pointer doubling: after k rounds an element knows the smallest of its next 2^k.

    Args:
        permutation: int64, shape (H,), each of 0..H-1 once.
    Returns:
        int64, shape (H,).
    """
    least, jump = torch.arange(len(permutation), device=permutation.device), permutation
    for _ in range(max(len(permutation) - 1, 0).bit_length()):
        least, jump = torch.minimum(least, least[jump]), jump[jump]
    return torch.unique(least, return_inverse=True)[1]


def places(permutation: Tensor, orbit: Tensor) -> Tensor:
    """How many steps each element is from the smallest one of its orbit, shape (H,)."""
    count = int(orbit.max()) + 1 if len(orbit) else 0
    index = torch.arange(len(permutation), device=permutation.device)
    first = index.new_full((count,), len(permutation)).scatter_reduce(0, orbit, index, "amin")
    at_first = index == first[orbit]
    jump, steps = torch.where(at_first, index, permutation), (~at_first).long()
    for _ in range(max(len(permutation) - 1, 0).bit_length()):
        steps, jump = steps + steps[jump], jump[jump]
    size = torch.bincount(orbit, minlength=count)
    return (size[orbit] - steps) % size[orbit]
