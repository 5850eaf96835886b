"""The linear layer of DeepSets: every linear map of a set that commutes with its permutations (Zaheer et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def equivariant_linear_function(x: Tensor, identity: Tensor, pool: Tensor, bias: Tensor | None) -> Tensor:
    """x W1ᵀ + mean over the set of x W2ᵀ + b. x: (..., set, in); W1, W2: (out, in); b: (out,)."""
    y = x @ identity.T + x.mean(-2, keepdim=True) @ pool.T
    return y if bias is None else y + bias


class EquivariantLinear(nn.Module):
    """W1 on each element, W2 on the mean of all; the two matrices are all that equivariance leaves free."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.identity = nn.Parameter(torch.empty(out_features, in_features))
        self.pool = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        for weight in (self.identity, self.pool):
            nn.init.kaiming_uniform_(weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return equivariant_linear_function(x, self.identity, self.pool, self.bias)
