"""What makes a classifier of a support set's frozen features: nearest neighbour, nearest centroid, logistic regression.

Each has `logits(support, labels, query)`: support (E, n, D), labels (E, n), query (E, Q, D) -> (E, Q), positive for
class 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .sparse_logistic import SparseLogisticRegression, check_support


class Readout(Protocol):
    def logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class NearestNeighbor:
    """The label of the nearest support image: squared distance to the nearest negative minus that to the positive."""

    def logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        check_support(support, labels)
        distances = torch.cdist(query, support).square()  # (E, Q, n)
        positive = labels.bool()[:, None]
        nearest = [distances.masked_fill(~kind, torch.inf).amin(-1) for kind in (positive, ~positive)]
        return nearest[1] - nearest[0]


@dataclass(frozen=True)
class NearestCentroid:
    """|q - p⁻|² - |q - p⁺|², which is the linear rule w = 2 (p⁺ - p⁻), b = |p⁻|² - |p⁺|²."""

    def logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        check_support(support, labels)
        positive, negative = prototypes(support, labels)
        return (query - negative[:, None]).square().sum(-1) - (query - positive[:, None]).square().sum(-1)


@dataclass(frozen=True)
class LogisticReadout:
    """Logistic regression with L1 penalty λ = `lam`, see `sparse_logistic`."""

    lam: float = 1e-3

    def logits(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return SparseLogisticRegression(self.lam).fit(support, labels).logits(query)


READOUTS = {"nn": NearestNeighbor, "nc": NearestCentroid, "lr": LogisticReadout}


def prototypes(support: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """p⁺ and p⁻, (E, D) each: means of the positive and of the negative support features."""
    weights = labels.to(support)
    positive = (weights[..., None] * support).sum(1) / weights.sum(1, keepdim=True)
    negative = ((1 - weights)[..., None] * support).sum(1) / (1 - weights).sum(1, keepdim=True)
    return positive, negative
