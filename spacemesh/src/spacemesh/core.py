"""The 2-core of a graph: what is left when vertices with one neighbour go, again and again.

A vertex of degree 1 cannot be in a polygon mesh: a face would have to turn back on its edge.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def two_core(edges: Tensor, num_vertices: int) -> tuple[Tensor, int]:
    """The edges of the 2-core, and how many edges hung outside it.

    Each vertex keeps the sum of its living neighbours' numbers: with one left, the sum is that neighbour. Linear in V
    + E.

    Args:
        edges: pairs i < j, shape (E, 2).
    Returns:
        Edges (E', 2) in the same order, and E - E'.
    """
    i, j = edges.numpy().T
    degree = np.bincount(np.concatenate([i, j]), minlength=num_vertices)
    sum_of = np.zeros(num_vertices, dtype=np.int64)
    np.add.at(sum_of, i, j)
    np.add.at(sum_of, j, i)
    leaves = np.flatnonzero(degree == 1)
    while len(leaves):
        neighbours = sum_of[leaves]
        degree[leaves] = 0
        np.subtract.at(degree, neighbours, 1)
        np.subtract.at(sum_of, neighbours, leaves)
        touched = np.unique(neighbours)
        degree[touched] = np.maximum(degree[touched], 0)  # both ends of a lone edge are leaves
        leaves = touched[degree[touched] == 1]
    kept = torch.from_numpy((degree[i] > 0) & (degree[j] > 0))
    return edges[kept], len(edges) - int(kept.sum())
