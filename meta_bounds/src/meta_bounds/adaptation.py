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
    split = len(weights) - 2 * layers
    if differentiable:
        return _descend(weights[:split], weights[split:], x, y, loss, steps, rate, create_graph=True)
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
    ):  # a test or prediction runs without gradients, this needs them
        copies = [w.detach().clone() for w in weights]
        return _descend(copies[:split], copies[split:], x.clone(), y.clone(), loss, steps, rate, create_graph=False)


def _descend(
    fixed: Weights, moving: Weights, x: Tensor, y: Tensor, loss: Loss, steps: int, rate: float, create_graph: bool
) -> Weights:
    inputs = forward(fixed, x, last_linear=False)
    moving = [w.expand(-1, x.shape[1], -1, -1) for w in moving]
    for _ in range(steps):
        if not create_graph:
            moving = [w.detach().requires_grad_() for w in moving]
        total = loss(forward(moving, inputs), y).sum()
        gradients = torch.autograd.grad(total, moving, create_graph=create_graph)
        moving = [w - rate * g for w, g in zip(moving, gradients, strict=True)]
    return fixed + moving


def train_alone(weights: Weights, x: Tensor, y: Tensor, loss: Loss, steps: int, rate: float) -> Weights:
    """Adam on each task's support alone, from the given weights: what one has without training tasks. See `adapt`."""
    with torch.inference_mode(False), torch.enable_grad():  # see `adapt`
        x, y = x.clone(), y.clone()
        own = [nn.Parameter(w.detach().expand(-1, x.shape[1], -1, -1).clone()) for w in weights]
        optimizer = torch.optim.Adam(own, lr=rate)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(forward(own, x), y).sum().backward()
            optimizer.step()
    return [w.detach() for w in own]
