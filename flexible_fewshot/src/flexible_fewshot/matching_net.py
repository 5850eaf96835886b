"""MatchingNet (Vinyals et al. 2016): a query's label is attended to over the support."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MatchingHead(nn.Module):
    """p(+ | q) = Σ over positive i of softmax_i(α cos(q, x_i)), with α learnt; returned as log p(+) - log p(-)."""

    def __init__(self, scale: float = 10.0):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """support (E, n, D), labels (E, n), query (E, Q, D) -> logits (E, Q)."""
        similarity = F.normalize(query, dim=-1) @ F.normalize(support, dim=-1).mT  # (E, Q, n)
        attention = self.log_scale.exp() * similarity
        positive = labels.bool()[:, None]
        kinds = [attention.masked_fill(~kind, -torch.inf).logsumexp(-1) for kind in (positive, ~positive)]
        return kinds[0] - kinds[1]
