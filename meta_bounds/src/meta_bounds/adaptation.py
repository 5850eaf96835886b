"""Adapting a network to a task: the inner loop of MAML, and of ANIL where the last layer alone moves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .network import Weights, forward

Loss = Callable[[Tensor, Tensor], Tensor]


def squared_error(predicted: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of the squared error summed over outputs. (..., n, c) -> (...)"""
    return (predicted - targets).square().sum(-1).mean(-1)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of the cross-entropy with one-hot targets. (..., n, c) -> (...)"""
    return -(logits.log_softmax(-1) * targets).sum(-1).mean(-1)


LOSSES: dict[str, Loss] = {"squared_error": squared_error, "cross_entropy": cross_entropy}


def for_every_task(weights: Weights) -> Weights:
    """Room for a dimension of tasks after that of runs: (R, ...) -> (R, 1, ...)."""
    return [w[:, None] for w in weights]


def adapt(
    weights: Weights, x: Tensor, y: Tensor, loss: Loss, steps: int, rate: float, layers: int, differentiable: bool
) -> Weights:
    """Gradient descent on the support of every task, from shared weights.

    Args:
        weights: of the runs, (R, 1, in, out) and (R, 1, 1, out).
        x, y: support, (R, T, k, inputs) and (R, T, k, outputs).
        loss: per task.
        steps, rate: of the descent.
        layers: how many of the last layers move; all for MAML, 1 for ANIL.
        differentiable: keep the graph, so that an outer loss sees through the steps.
    Returns:
        Weights in which those that moved are (R, T, in, out).
    """
    fixed, moving = weights[: len(weights) - 2 * layers], weights[len(weights) - 2 * layers :]
    if not differentiable:
        fixed, moving = [w.detach() for w in fixed], [w.detach().requires_grad_() for w in moving]
    with torch.enable_grad():
        inputs = forward(fixed, x, last_linear=False)
        moving = [w.expand(-1, x.shape[1], -1, -1) for w in moving]
        for _ in range(steps):
            total = loss(forward(moving, inputs), y).sum()
            gradients = torch.autograd.grad(total, moving, create_graph=differentiable)
            moving = [w - rate * g for w, g in zip(moving, gradients, strict=True)]
            if not differentiable:
                moving = [w.detach().requires_grad_() for w in moving]
    return fixed + moving


def train_alone(weights: Weights, x: Tensor, y: Tensor, loss: Loss, steps: int, rate: float) -> Weights:
    """Adam on each task's support alone, from the given weights: what one has without training tasks. See `adapt`."""
    own = [nn.Parameter(w.detach().expand(-1, x.shape[1], -1, -1).clone()) for w in weights]
    optimizer = torch.optim.Adam(own, lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            loss(forward(own, x), y).sum().backward()
            optimizer.step()
    return [w.detach() for w in own]
