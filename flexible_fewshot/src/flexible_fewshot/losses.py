"""The losses of training: contrast between two views, and prototypes of an episode."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_view_loss(z: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The paper's L1 = -mean_i log [exp(z_i·z'_i / τ) / Σ_j exp(z_i·z'_j / τ)]: negatives from the other view only.

    Args:
        z, other: (n, d), projections of two views, row by row; normalised here.
        temperature: τ.
    Returns:
        A scalar.
    Raises:
        ValueError: shapes differ, or τ is not positive.
    """
    _check(z, other, temperature)
    logits = F.normalize(z, dim=-1) @ F.normalize(other, dim=-1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(z), device=z.device))


def nt_xent_loss(z: Tensor, other: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss: the positive of each of the 2n views against its 2n - 2 negatives of both views.

    Args:
        z, other: (n, d), projections of two views, row by row; normalised here. The loss is symmetric in them.
        temperature: τ.
    Returns:
        A scalar.
    Raises:
        ValueError: shapes differ, or τ is not positive.
    """
    _check(z, other, temperature)
    n = len(z)
    both = F.normalize(torch.cat([z, other]), dim=-1)
    logits = both @ both.T / temperature
    logits.fill_diagonal_(-torch.inf)  # no view is contrasted with itself
    positives = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(logits, positives)


CONTRASTS = {"cross": cross_view_loss, "ntxent": nt_xent_loss}


def _check(z: Tensor, other: Tensor, temperature: float) -> None:
    if z.ndim != 2 or z.shape != other.shape:
        raise ValueError(f"both views must be (n, d) alike, got {tuple(z.shape)} and {tuple(other.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
