"""Metrics `(model output, batch) -> losses` (..., B), for a network and for a stack of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, batch: Any) -> Tensor:
    """-log p(target) of each row: logits (..., B, C), targets `batch[1]` (B,) -> (..., B)."""
    targets = batch[1].expand(logits.shape[:-1])
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)


def error_rate(logits: Tensor, batch: Any) -> Tensor:
    """1 where the largest logit is not the target's, else 0: logits (..., B, C) -> (..., B)."""
    return (logits.argmax(-1) != batch[1]).to(logits.dtype)


def squared_error(outputs: Tensor, batch: Any) -> Tensor:
    """|z - y|² of each row, summed over its values: outputs (..., B, k), targets `batch[1]` (B, k) -> (..., B)."""
    return (outputs - batch[1]).square().sum(-1)


def reconstruction_error(outputs: Tensor, batch: Any) -> Tensor:
    """|z - x|² of each row, summed over pixels: outputs (..., B, d), inputs `batch[0]` (B, ...) -> (..., B)."""
    return (outputs - batch[0].flatten(1)).square().sum(-1)


def next_token_nll(logits: Tensor, batch: Any) -> Tensor:
    """Mean -log p(next token) of each window: logits (..., B, T, V), targets `batch[1]` (B, T) -> (..., B)."""
    targets = batch[1].expand(logits.shape[:-1])
    losses = functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    return losses.view(targets.shape).mean(-1)
