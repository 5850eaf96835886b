"""The outputs of a network as its parameters move along a line: a curve z(α) for every example."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from .batches import first_item, to_device
from .batchnorm import Inputs, batchnorm_modules, recalibrate_batchnorm
from .stack import NetworkStack
from .states import Endpoint, matching_states

Curve = Callable[[Tensor], Tensor]


class OutputCurve:
    """z(α) = f((1 - α) θ_0 + α θ_T, x), a function of a scalar tensor that forward-mode AD can go through.

    Args:
        model: the architecture; a copy in eval mode is used.
        start, end: θ_0 and θ_T.
        batch: the examples, B rows.
        inputs: from a batch to the model's argument, or to a tuple of its arguments.
        calibration: batches for the statistics of batch norm. They are estimated at the α where a derivative is taken
            and held constant in it, as the paper's authors do; None keeps the model's own.
    Raises:
        ValueError: the end points do not match the model or each other.
    """

    def __init__(
        self,
        model: nn.Module,
        start: Endpoint,
        end: Endpoint,
        batch: Any,
        *,
        inputs: Inputs = first_item,
        calibration: Iterable | None = None,
    ):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        device = next(self.model.parameters()).device
        self.start, self.end = (
            {name: value.to(device) for name, value in state.items()}
            for state in matching_states(start, end, model=model)
        )
        self.batch, self.inputs = to_device(batch, device), inputs
        self.calibration = calibration if batchnorm_modules(self.model) else None

    def parameters(self, alpha: Tensor) -> dict[str, Tensor]:
        """The point θ_α."""
        return {name: value + alpha.to(value) * (self.end[name] - value) for name, value in self.start.items()}

    def __call__(self, alpha: Tensor) -> Tensor:
        """Outputs (B, k), flattened from the second dimension on; (J, B, k) of a stack. Statistics as last held."""
        arguments = self.inputs(self.batch)
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        with differentiable_attention():
            outputs = functional_call(self.model, self.parameters(alpha), arguments)
        return outputs.flatten(2 if isinstance(self.model, NetworkStack) else 1)

    @torch.no_grad()
    def hold(self, alpha: float) -> None:
        """Estimate the statistics of batch norm at α and keep them until the next call."""
        if self.calibration is None:
            return
        point = self.parameters(torch.tensor(alpha))
        for name, parameter in self.model.named_parameters():
            parameter.copy_(point[name])
        recalibrate_batchnorm(self.model, self.calibration, self.inputs)


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Attention by plain matrix products: its fused kernels have no forward-mode derivative."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@torch.no_grad()
def sample_curve(curve: Curve, alphas: Tensor) -> Tensor:
    """Points of a curve on a grid: (A, ...)."""
    points = []
    for alpha in alphas:
        hold_at(curve, alpha)
        points.append(curve(alpha))
    return torch.stack(points)


def hold_at(curve: Curve, alpha: Tensor) -> None:
    """Fix what a curve keeps constant in derivatives at α, if it keeps anything."""
    hold = getattr(curve, "hold", None)
    if hold is not None:
        hold(float(alpha))


def chord_deviation(points: Tensor, alphas: Tensor) -> Tensor:
    """How far a curve is from linear: ∫ |z(α) - (1 - α) z(0) - α z(1)|² dα, by the trapezoidal rule.

    Args:
        points: (A, ..., k) on a grid from 0 to 1. alphas: (A,).
    Returns:
        (...,): one value a curve; the paper's logit linearity is its mean over examples.
    """
    along = alphas.to(points).view(-1, *[1] * (points.ndim - 1))
    chord = points[:1] + along * (points[-1:] - points[:1])
    return torch.trapezoid((points - chord).square().sum(-1), alphas.to(points), dim=0)
