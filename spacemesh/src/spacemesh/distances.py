"""What the paper's spacetime is compared with: Lorentz-model hyperbolic distance and the inner product.

The Euclidean distance is `spacetime.spacetime_sqdist` without time. Each maps embeddings (..., V, k) to (..., V, V),
small for neighbours, so that one threshold and one loss serve all.
"""

from __future__ import annotations

import torch
from torch import Tensor


def euclidean_sqdist(x: Tensor) -> Tensor:
    """|x_i - x_j|²."""
    square = x.square().sum(-1)
    return square.unsqueeze(-1) + square.unsqueeze(-2) - 2 * x @ x.mT


def hyperbolic_distance(x: Tensor) -> Tensor:
    """arcosh(-⟨x_i, x_j⟩) on the hyperboloid, whose time coordinate sqrt(1 + |x|²) is implied.

    -⟨x, y⟩ = x₀ y₀ - x·y, at least 1; the clamp keeps rounding, and the slope at 0, finite.
    """
    time = (1 + x.square().sum(-1)).sqrt()
    product = time.unsqueeze(-1) * time.unsqueeze(-2) - x @ x.mT
    return torch.acosh(product.clamp_min(1 + 1e-6))


def negative_inner_product(x: Tensor) -> Tensor:
    """-⟨x_i, x_j⟩: neighbours point the same way."""
    return -(x @ x.mT)
