"""Which neighbour follows which around a vertex: scores, Sinkhorn's softening and the loss on it.

At vertex i the target is σ_i(j) = k when a face runs j → i → k.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .neighbourhoods import Bucket

TRAINING_ITERATIONS, DECODING_ITERATIONS = 5, 10


def permutation_scores(root: Tensor, prev: Tensor, next: Tensor) -> Tensor:
    """S_ab = Σ_l r_l p_al n_bl, the triple product of the vertex and two of its neighbours.

    Args:
        root: r of the vertex, shape (..., kp). prev, next: p and n of its d neighbours, shape (..., d, kp).
    Returns:
        S, shape (..., d, d): how much neighbour b wants to follow neighbour a.
    Raises:
        ValueError: shapes that do not belong together.
    """
    if prev.shape != next.shape or root.shape != prev.shape[:-2] + prev.shape[-1:]:
        raise ValueError(
            "root, prev and next must be (..., k), (..., d, k) and (..., d, k), "
            f"got {tuple(root.shape)}, {tuple(prev.shape)} and {tuple(next.shape)}"
        )
    return (root.unsqueeze(-2) * prev) @ next.mT


def no_fixed_point(degree: int, device: torch.device | None = None) -> Tensor:
    """Where a single cycle of d elements may map to, bool (d, d): off the diagonal, but for d = 1."""
    return ~torch.eye(degree, dtype=torch.bool, device=device) | (degree == 1)


def sinkhorn_log(scores: Tensor, iterations: int, mask: Tensor | None = None) -> Tensor:
    """log P of the soft permutation exp(S), rows and columns normalised in turn, in log space.

    Columns are normalised last: they sum to one exactly, rows nearly.

    Args:
        scores: S, shape (..., d, d). iterations: pairs of normalisations, at least 1. mask: where P may be positive,
            broadcast to S; each row and column needs one such place.
    Returns:
        log P, -inf where masked.
    Raises:
        ValueError: scores that are not square, or no iteration.
    """
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2]:
        raise ValueError(f"scores must be (..., d, d), got {tuple(scores.shape)}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    log_p = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    for _ in range(iterations):
        log_p = log_p - log_p.logsumexp(-1, keepdim=True)
        log_p = log_p - log_p.logsumexp(-2, keepdim=True)
    return log_p


def log_permutation(bucket: Bucket, root: Tensor, prev: Tensor, next: Tensor, iterations: int) -> Tensor:
    """log P at all vertices of one degree, shape (n, d, d).

    Args:
        root, prev, next: of all vertices, shape (V, kp).
    """
    scores = permutation_scores(root[bucket.vertices], prev[bucket.heads], next[bucket.heads])
    return sinkhorn_log(scores, iterations, no_fixed_point(bucket.degree, scores.device))


def permutation_loss(
    of_degree: Sequence[Bucket], succ: Tensor, root: Tensor, prev: Tensor, next: Tensor, iterations: int
) -> Tensor:
    """Mean over halfedges of -log P_{j,σ(j)}, at the true neighbours.

    Args:
        of_degree: buckets of the true halfedges. succ: the halfedge that truly follows each, (H,).
        root, prev, next: (V, kp). iterations: of Sinkhorn.
    Raises:
        ValueError: no halfedges.
    """
    if not of_degree:
        raise ValueError("no halfedges to compare with")
    total = root.new_zeros(())
    for bucket in of_degree:
        if bucket.degree == 1:
            continue  # P = 1
        target = succ[bucket.halfedges] - bucket.halfedges[:, :1]  # halfedges of a vertex are consecutive
        log_p = log_permutation(bucket, root, prev, next, iterations)
        total = total - log_p.gather(-1, target.unsqueeze(-1)).sum()
    return total / len(succ)
