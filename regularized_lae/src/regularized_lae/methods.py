"""The paper's methods as points of one family, so that all of them train in the same matrix products.

loss = nested_dropout_expectation(survival) + l2_penalty(lam), its gradient turned by `rotate`·Γ and balanced by
`balance`·∂¼‖Q‖²:

    method             survival p      penalty λ      rotate   balance
    uniform L2         1               λ              0        0
    non-uniform L2     1               λ_1 < ... λ_k  0        0
    nested dropout     ρ^i             0              0        0
    RAG                1               0              1        0
    RAG + balance      1               0              1        1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .losses import geometric_survival
from .penalties import check_penalties


@dataclass(frozen=True)
class Method:
    """One row of the table above. survival: p, shape (k,). lam: λ, shape (k,). rotate: 0 or 1. balance: β >= 0."""

    survival: Tensor
    lam: Tensor
    rotate: float = 0.0
    balance: float = 0.0


def uniform_l2(lam: Tensor) -> Method:
    """Uniform L2 at the mean weight: mean(√λ)², as the paper's code takes it from the non-uniform list."""
    return Method(torch.ones_like(lam), lam.sqrt().mean().square().expand(len(lam)))


def nonuniform_l2(lam: Tensor) -> Method:
    """Non-uniform L2 with weights λ_1 < ... < λ_k."""
    check_penalties(lam)
    return Method(torch.ones_like(lam), lam)


def nested_dropout(lam: Tensor) -> Method:
    """Deterministic nested dropout, ρ = 0.9 (needs of λ only its length k)."""
    return Method(geometric_survival(len(lam)).to(lam), torch.zeros_like(lam))


def rag(lam: Tensor) -> Method:
    """The rotation augmented gradient, no regulariser (needs of λ only its length k)."""
    return Method(torch.ones_like(lam), torch.zeros_like(lam), rotate=1.0)


def rag_balanced(lam: Tensor) -> Method:
    """RAG with the balance term β = 1 (ours)."""
    return Method(torch.ones_like(lam), torch.zeros_like(lam), rotate=1.0, balance=1.0)


METHODS: dict[str, Callable[[Tensor], Method]] = {
    "uniform": uniform_l2,
    "nonuniform": nonuniform_l2,
    "nested": nested_dropout,
    "rag": rag,
    "rag_balanced": rag_balanced,
}


def method(name: str, lam: Tensor) -> Method:
    """The method of that name for the penalties λ, shape (k,).

    Raises:
        ValueError: no method has that name; the message lists them.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}, choose from {', '.join(METHODS)}")
    return METHODS[name](lam)


def stack_methods(methods: list[Method]) -> Method:
    """Methods side by side for a stack of B runs: survival and lam (B, k), rotate and balance (B, 1, 1)."""
    return Method(
        survival=torch.stack([m.survival for m in methods]),
        lam=torch.stack([m.lam for m in methods]),
        rotate=torch.tensor([m.rotate for m in methods], dtype=methods[0].lam.dtype)[:, None, None],
        balance=torch.tensor([m.balance for m in methods], dtype=methods[0].lam.dtype)[:, None, None],
    )
