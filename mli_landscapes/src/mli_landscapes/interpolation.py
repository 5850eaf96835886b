"""Loss along the straight line between two networks: θ_α = (1 - α) θ_0 + α θ_T."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from .batches import as_batches, first_item
from .batchnorm import Inputs
from .evaluate import Objective, evaluate, objective_of
from .monotonicity import Bump, barrier, bumps, diverged, is_monotonic, min_delta
from .states import Endpoint, matching_states, refuse_identical

Metric = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class InterpolationResult:
    """Losses along a line.

    alphas: (A,). values: mean losses, (A,), or (A, ...) where the metric returns several or the model is a stack.
    held_out: the same on other data, None if there were none.
    """

    alphas: Tensor
    values: Tensor
    held_out: Tensor | None = None

    @property
    def min_delta(self) -> Tensor:
        """Largest rise above the running minimum; 0 for a monotone path, NaN where the loss is not finite."""
        return min_delta(self.values)

    @property
    def barrier(self) -> Tensor:
        """max L - max(L_0, L_1)."""
        return barrier(self.values)

    @property
    def diverged(self) -> Tensor:
        """Whether some loss is NaN or infinite."""
        return diverged(self.values)

    @property
    def bumps(self) -> list[Bump]:
        """Stretches above the running minimum; of a single curve only."""
        return bumps(self.values, self.alphas)

    def is_monotonic(self, delta: float = 0.0) -> Tensor:
        """Whether the path is Δ-monotonic; raises ValueError where the loss is not finite."""
        return is_monotonic(self.values, delta)


def interpolate(
    start: Endpoint,
    end: Endpoint,
    *,
    data: Any,
    metric: Metric,
    alphas: int | Sequence[float] | Tensor = 50,
    model: nn.Module | None = None,
    inputs: Inputs = first_item,
    held_out: Any = None,
    calibration: Any = None,
    chunk_size: int | str = "auto",
) -> InterpolationResult:
    """Losses at points of the line from `start` to `end`. Both, and the model, stay as they are, to the bit.

    Args:
        start, end: θ_0 and θ_T: modules, or state dicts.
        data: a batch, or an iterable of batches such as a DataLoader (unshuffled and without augmentation, if the
            numbers are to repeat).
        metric: `(model output, batch) -> losses`, (B,) or a scalar mean. Leading dimensions, (K, B), are K curves.
        alphas: a number of evenly spaced points from 0 to 1, both included (the paper: 50), or the points themselves.
        model: the architecture, where neither end is a module.
        inputs: from a batch to the model's argument, or to a tuple of its arguments; the first item of the batch if
            not given.
        held_out: more data, for a second curve beside the first.
        calibration: batches on which batch-norm statistics are estimated at each point, those of `data` if not given;
            an empty list keeps the model's own.
        chunk_size: see `evaluate.evaluate`.
    Raises:
        ValueError: the ends are different architectures, equal, or not finite; fewer than two points; no data.
    """
    return interpolate_objective(
        start,
        end,
        objective_of(metric, inputs),
        data=data,
        alphas=alphas,
        model=model,
        inputs=inputs,
        held_out=held_out,
        calibration=calibration,
        chunk_size=chunk_size,
    )


def interpolate_objective(
    start: Endpoint,
    end: Endpoint,
    objective: Objective,
    *,
    data: Any,
    alphas: int | Sequence[float] | Tensor = 50,
    model: nn.Module | None = None,
    inputs: Inputs = first_item,
    held_out: Any = None,
    calibration: Any = None,
    chunk_size: int | str = 1,
) -> InterpolationResult:
    """`interpolate` for an objective `(model, batch) -> losses` that calls the model itself.

    The model is a module of the architecture; with another chunk_size than 1, only a function with its call.
    """
    model = architecture(model, end, start)
    states = matching_states(start, end, model=model)
    refuse_identical(*states)
    grid = alpha_grid(alphas)
    training = as_batches(data)
    sets = [training] if held_out is None else [training, as_batches(held_out)]
    values, *others = evaluate(
        model,
        states,
        torch.stack([1 - grid, grid], 1),
        sets,
        objective,
        calibration=calibration_batches(calibration, training),
        inputs=inputs,
        chunk_size=chunk_size,
    )
    return InterpolationResult(grid, values, others[0] if others else None)


def architecture(model: nn.Module | None, *endpoints: Endpoint) -> nn.Module:
    """The given model, or the first end point that is one.

    Raises:
        ValueError: there is none.
    """
    for candidate in (model, *endpoints):
        if isinstance(candidate, nn.Module):
            return candidate
    raise ValueError("both ends are state dicts: pass model=, a module of their architecture")


def calibration_batches(calibration: Any, data: Iterable) -> Iterable | None:
    """What batch norm is calibrated on: the data unless told otherwise, None for an empty choice."""
    if calibration is None:
        return data
    if isinstance(calibration, list | tuple) and not calibration:
        return None
    return as_batches(calibration)


def alpha_grid(alphas: int | Sequence[float] | Tensor) -> Tensor:
    """Points of a line, float64, (A,).

    Raises:
        ValueError: fewer than two, not rising, or not finite.
    """
    if isinstance(alphas, int):
        if alphas < 2:
            raise ValueError(f"a line needs at least two points, its ends; got alphas={alphas}")
        return torch.linspace(0, 1, alphas, dtype=torch.float64)
    grid = torch.as_tensor(alphas, dtype=torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or not (grid.diff() > 0).all() or not grid.isfinite().all():
        raise ValueError(f"alphas must be at least two rising finite numbers, got {grid.tolist()}")
    return grid


def interpolate_pairs(
    endpoints: Sequence[Endpoint], *, data: Any, metric: Metric, **options: Any
) -> dict[tuple[int, int], InterpolationResult]:
    """`interpolate` between every two of n networks; (i, j) with i < j -> result.

    Between initialisations and optima this is the paper's n-way comparison: monotone from any initialisation to any
    optimum, a barrier between optima.

    Args:
        endpoints: n networks. data, metric and further options: see `interpolate`.
    Raises:
        ValueError: fewer than two networks, and all that `interpolate` raises.
    """
    if len(endpoints) < 2:
        raise ValueError(f"pairs need at least two networks, got {len(endpoints)}")
    return {
        (i, j): interpolate(endpoints[i], endpoints[j], data=data, metric=metric, **options)
        for i, j in combinations(range(len(endpoints)), 2)
    }


def interpolate_layers(
    start: Endpoint, end: Endpoint, *, data: Any, metric: Metric, model: nn.Module | None = None, **options: Any
) -> dict[str, InterpolationResult]:
    """One layer at a time on its way from `start` to `end`, all others trained; layer name -> result.

    A layer is a module with parameters of its own. At α = 1 every curve is the trained network; layers that training
    did not move are left out.

    Args and Raises: see `interpolate`.
    """
    model = architecture(model, end, start)
    first, last = matching_states(start, end, model=model)
    layers = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        names = {prefix + name for name, _ in module.named_parameters(recurse=False)} & first.keys()
        if any(not torch.equal(first[name], last[name]) for name in names):
            mixed = {name: first[name] if name in names else value for name, value in last.items()}
            layers[path or "parameters"] = interpolate(mixed, last, data=data, metric=metric, model=model, **options)
    if not layers:
        refuse_identical(first, last)
    return layers
