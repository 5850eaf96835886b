"""TAFE-Net (Wang et al. 2019): a meta-network sees the support and emits parameters of features and classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .readouts import prototypes


class TaskAwareHead(nn.Module):
    """Features relu(s(t) ∘ (W h)) with shared W, and a classifier w(t)·features + b(t); t embeds [p⁺, p⁻].

    The weights of the task-aware layer are factorised: W is shared, the meta-network emits the scales s(t) alone.
    """

    def __init__(self, features: int, hidden: int = 128):
        super().__init__()
        self.task = nn.Sequential(nn.Linear(2 * features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.shared = nn.Linear(features, features)
        self.scale = nn.Linear(hidden, features)
        self.classifier = nn.Linear(hidden, features + 1)

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """support (E, n, D), labels (E, n), query (E, Q, D) -> logits (E, Q)."""
        task = self.task(torch.cat(prototypes(support, labels), -1))  # (E, hidden)
        aware = (self.shared(query) * (1 + self.scale(task))[:, None]).relu()
        emitted = self.classifier(task)
        return torch.einsum("eqd,ed->eq", aware, emitted[:, :-1]) + emitted[:, -1:]
