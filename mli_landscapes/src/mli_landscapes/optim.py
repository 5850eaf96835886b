"""Optimizers that the paper's experiments need beside torch.optim: a learning rate for each network, and grafting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer


class PerNetworkRate(Optimizer):
    """Gives every network of a stack its own learning rate.

    The step of SGD, Adam and their like is the rate times a direction in which the rate does not occur. So one step at
    rate 1, scaled network by network, is the step that each would have made alone.

    Args:
        optimizer: any such optimizer with lr = 1 over parameters (J, ...). A schedule may scale its lr for all alike.
        rates: learning rates, (J,).
    Raises:
        ValueError: a parameter has not one slice for each rate, or a rate is not positive.
    """

    def __init__(self, optimizer: Optimizer, rates: Tensor):
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            if len(parameter) != len(rates):
                raise ValueError(f"{len(rates)} rates for a stacked parameter of shape {tuple(parameter.shape)}")
        if not (rates > 0).all():
            raise ValueError(f"learning rates must be positive, got {rates.tolist()}")
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer, self.rates = optimizer, rates
        self.param_groups, self.state = optimizer.param_groups, optimizer.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; returns what the closure returned."""
        loss = evaluated(closure)
        parameters = parameters_with_gradient(self.optimizer)
        before = [p.clone() for p in parameters]
        self.optimizer.step()
        for parameter, old in zip(parameters, before, strict=True):
            rates = self.rates.to(old).view(-1, *[1] * (old.ndim - 1))
            parameter.copy_(torch.lerp(old, parameter, rates))
        return loss

    def state_dict(self) -> dict:
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        self.optimizer.load_state_dict(state_dict)
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state


class Graft(Optimizer):
    """Step length of one optimizer, direction of another (Agarwal et al., 2020): tells what an optimizer's effect is.

    Both see the same gradients and weights, each keeps its own state, and neither's own step is taken:
    θ ← θ + |Δ_length| Δ_direction / |Δ_direction|, norms over all parameters of a network.

    Args:
        length, direction: optimizers over the same parameters, such as SGD and Adam.
        stacked: parameters are (J, ...), and every network of the stack has norms of its own.
    Raises:
        ValueError: the two do not share their parameters.
    """

    def __init__(self, length: Optimizer, direction: Optimizer, stacked: bool = False):
        both = [[p for group in o.param_groups for p in group["params"]] for o in (length, direction)]
        if [id(p) for p in both[0]] != [id(p) for p in both[1]]:
            raise ValueError("grafted optimizers must be over the same parameters in the same order")
        super().__init__(both[0], {})
        self.length, self.direction, self.stacked = length, direction, stacked
        self._share()

    def _share(self) -> None:
        self.param_groups = self.length.param_groups  # a schedule scales these: a direction has no rate

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; returns what the closure returned."""
        loss = evaluated(closure)
        parameters = parameters_with_gradient(self.length)
        before = [p.clone() for p in parameters]
        sizes, steps = [], []
        for optimizer in (self.length, self.direction):
            optimizer.step()
            steps = [p - old for p, old in zip(parameters, before, strict=True)]
            sizes.append(self._norm(steps))
            for parameter, old in zip(parameters, before, strict=True):
                parameter.copy_(old)
        factor = torch.where(sizes[1] > 0, sizes[0] / sizes[1], 0)
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.add_(step * factor.to(step).view(-1, *[1] * (step.ndim - 1)))
        return loss

    def _norm(self, steps: list[Tensor]) -> Tensor:
        """Norm over all tensors, (J,) of a stack, else (1,)."""
        rows = [step.reshape(len(step), -1) if self.stacked else step.flatten()[None] for step in steps]
        return sum(row.double().square().sum(1) for row in rows).sqrt()

    def state_dict(self) -> dict:
        return {"length": self.length.state_dict(), "direction": self.direction.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        self.length.load_state_dict(state_dict["length"])
        self.direction.load_state_dict(state_dict["direction"])
        self._share()


def evaluated(closure: Callable[[], Tensor] | None) -> Tensor | None:
    """What a closure returns, with gradients; None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def parameters_with_gradient(optimizer: Optimizer) -> list[Tensor]:
    """What the next step will move."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
