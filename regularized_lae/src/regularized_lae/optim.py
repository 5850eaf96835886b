"""Optimizers around optimizers: what RAG and a stack of runs need beside torch.optim."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer


class OptimizerAround(Optimizer):
    """Does something around the step of another optimizer; parameter groups, state and checkpoints are the other's."""

    def __init__(self, optimizer: Optimizer):
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer = optimizer
        self._share()

    def _share(self) -> None:
        self.param_groups = self.optimizer.param_groups
        self.state = self.optimizer.state

    @staticmethod
    def evaluate(closure: Callable[[], Tensor] | None) -> Tensor | None:
        """What a closure returns, with gradients; None without one."""
        if closure is None:
            return None
        with torch.enable_grad():
            return closure()

    def state_dict(self) -> dict:
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        self.optimizer.load_state_dict(state_dict)
        self._share()


class PerRunRate(OptimizerAround):
    """Gives every run of a stack its own learning rate.

    A torch optimizer moves the weights by its rate times a direction that does not depend on the rate, so one step at
    rate 1, scaled run by run, is the step that each run would have made alone.

    Args:
        optimizer: SGD, Adam ... with lr = 1, which a scheduler may still scale for all runs alike. Every parameter is
            (B, ...), one slice a run.
        rates: learning rates, shape (B,).
    Raises:
        ValueError: a parameter has no slice for each rate.
    """

    def __init__(self, optimizer: Optimizer, rates: Tensor):
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            if len(parameter) != len(rates):
                raise ValueError(f"{len(rates)} rates for a parameter of shape {tuple(parameter.shape)}")
        super().__init__(optimizer)
        self.rates = rates

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; returns what the closure returned."""
        loss = self.evaluate(closure)
        parameters = [p for group in self.param_groups for p in group["params"]]
        before = [p.clone() for p in parameters]
        self.optimizer.step()
        for parameter, old in zip(parameters, before, strict=True):
            rates = self.rates.view(-1, *[1] * (parameter.ndim - 1))
            parameter.copy_(torch.lerp(old, parameter, rates))
        return loss


def keep_runs(optimizer: Optimizer, runs: Sequence[int]) -> None:
    """Drop all but these runs from the state of a stack's optimizer, after its parameters were narrowed alike."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim == parameter.ndim:  # not Adam's step count
                state[name] = value[runs]
