"""LARS: layer-wise adaptive rates (You, Gitman and Ginsburg 2017), the optimizer of SimCLR's large batches."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


class LARS(Optimizer):
    """v <- μ v + η_layer (∇ + wd w), w <- w - lr v, with η_layer = trust |w| / |∇ + wd w|.

    Vectors (biases and the parameters of batch norm) are neither decayed nor adapted, as in SimCLR.

    Raises:
        ValueError: a setting is negative.
    """

    def __init__(
        self, params: Iterable, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 0.001
    ):
        if min(lr, momentum, weight_decay, trust) < 0:
            raise ValueError(f"LARS needs settings >= 0, got lr {lr}, {momentum}, {weight_decay}, {trust}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].mul_(group["momentum"]).add_(_direction(parameter, group))
                parameter.add_(state["momentum"], alpha=-group["lr"])
        return loss


def _direction(parameter: Tensor, group: dict) -> Tensor:
    if parameter.ndim < 2:
        return parameter.grad
    direction = parameter.grad + group["weight_decay"] * parameter
    norm, length = parameter.norm(), direction.norm()
    rate = torch.where(
        (norm > 0) & (length > 0), group["trust"] * norm / length.clamp(min=1e-30), torch.ones_like(norm)
    )
    return rate * direction
