"""Vertices grouped by degree, so that a step on every neighbourhood is a few batched ones and no loop over vertices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bucket:
    """All vertices of one degree d.

    vertices: (n,). halfedges: those that leave each vertex, (n, d), in order of their heads. heads: (n, d).
    """

    degree: int
    vertices: Tensor
    halfedges: Tensor
    heads: Tensor


def halfedges_of(edges: Tensor, num_vertices: int) -> tuple[Tensor, Tensor]:
    """Both directions of all edges, sorted by (tail, head): tail (2E,), head (2E,)."""
    tail, head = torch.cat([edges, edges.flip(1)]).T
    order = torch.argsort(tail * num_vertices + head)
    return tail[order], head[order]


def buckets(tail: Tensor, head: Tensor, num_vertices: int) -> list[Bucket]:
    """The vertices by degree, those of degree 0 left out.

    Args:
        tail, head: halfedges sorted by (tail, head), shape (H,).
    """
    degree = torch.bincount(tail, minlength=num_vertices)
    first = degree.cumsum(0) - degree
    found = []
    for d in torch.unique(degree).tolist():
        if d:
            vertices = (degree == d).nonzero().flatten()
            halfedges = first[vertices, None] + torch.arange(d, device=tail.device)
            found.append(Bucket(d, vertices, halfedges, head[halfedges]))
    return found
