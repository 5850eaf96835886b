"""ANIL (Raghu et al. 2020): MAML whose inner loop changes the last layer only."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class InnerLoopHead(nn.Module):
    """From a learnt start (w0, b0), `steps` of gradient descent on the support's mean logistic loss, at rate `lr`.

    Training differentiates through all steps. With no step the logits are those of the start.

    Raises:
        ValueError: a negative number of steps, or no positive rate.
    """

    def __init__(self, features: int, steps: int = 5, lr: float = 0.5):
        super().__init__()
        if steps < 0 or lr <= 0:
            raise ValueError(f"the inner loop needs steps >= 0 and lr > 0, got {steps} and {lr}")
        self.steps, self.lr = steps, lr
        self.weight, self.bias = nn.Parameter(torch.zeros(features)), nn.Parameter(torch.zeros(()))

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """support (E, n, D), labels (E, n), query (E, Q, D) -> logits (E, Q)."""
        weight, bias = self.adapted(support, labels)
        return torch.einsum("eqd,ed->eq", query, weight) + bias[:, None]

    def adapted(self, support: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(E, D) and (E,): the last layer after the inner loop."""
        weight, bias = self.weight.expand(len(support), -1), self.bias.expand(len(support))
        for _ in range(self.steps):
            error = (torch.einsum("end,ed->en", support, weight) + bias[:, None]).sigmoid() - labels.to(support)
            weight = weight - self.lr * torch.einsum("en,end->ed", error, support) / support.shape[1]
            bias = bias - self.lr * error.mean(-1)
        return weight, bias
