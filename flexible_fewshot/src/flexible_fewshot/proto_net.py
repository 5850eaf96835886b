"""ProtoNet (Snell et al. 2017): a query goes to the nearest mean of a class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .readouts import prototypes


class PrototypeHead(nn.Module):
    """α (d(q, p⁻) - d(q, p⁺)): the logit of softmax(-α d) over the two prototypes.

    distance: `euclidean` (squared, divided by the number of features) or `cosine` (1 - cos). scale: α at first; it is
    learnt.

    Raises:
        ValueError: no such distance.
    """

    def __init__(self, distance: str = "euclidean", scale: float = 10.0):
        super().__init__()
        if distance not in ("euclidean", "cosine"):
            raise ValueError(f"unknown distance {distance!r}, choose from euclidean, cosine")
        self.distance = distance
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """support (E, n, D), labels (E, n), query (E, Q, D) -> logits (E, Q)."""
        positive, negative = prototypes(support, labels)
        return self.log_scale.exp() * (self._to(query, negative) - self._to(query, positive))

    def _to(self, query: Tensor, prototype: Tensor) -> Tensor:
        if self.distance == "cosine":
            return 1 - F.cosine_similarity(query, prototype[:, None], dim=-1)
        return (query - prototype[:, None]).square().mean(-1)
