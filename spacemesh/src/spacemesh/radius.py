"""A baseline that knows the answer: edges by one Euclidean radius, the best for each mesh."""

from __future__ import annotations

import torch
from torch import Tensor

from .metrics import EdgeScores, scores


def oracle_radius(positions: Tensor, edges: Tensor) -> tuple[float, EdgeScores]:
    """The radius of largest F1 against the true edges, and its scores: an upper bound on any choice of radius.

    Args:
        positions: (V, 3). edges: the true ones, (E, 2), i < j.
    """
    count = len(positions)
    i, j = torch.triu_indices(count, count, 1)
    distance = (positions[i] - positions[j]).norm(dim=1)
    true = torch.isin(i * count + j, edges[:, 0] * count + edges[:, 1])
    distance, order = torch.sort(distance)
    hits = true[order].cumsum(0)
    found = torch.arange(1, len(hits) + 1)
    best = int((2 * hits / (found + len(edges))).argmax())
    return float(distance[best]), scores(int(found[best]), len(edges), int(hits[best]))
