"""Two-dimensional slices of the loss: the plane through three networks, or along two directions, and paths seen in it.

Inner products run over parameters alone, in float64: running statistics are no coordinates of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .batches import as_batches, first_item
from .batchnorm import Inputs
from .distance import norm
from .evaluate import State, evaluate, objective_of
from .interpolation import Metric, architecture, calibration_batches
from .states import Endpoint, matching_states, refuse_identical


@dataclass(frozen=True)
class Plane:
    """origin + x u + y v, with u and v orthonormal; all three are parameters by name."""

    origin: State
    u: State
    v: State

    def project(self, trajectory: Sequence[Endpoint]) -> Tensor:
        """Coordinates (x, y) of networks' shadows in the plane: n networks -> (n, 2), float64."""
        shadows = []
        for network in trajectory:
            origin, state = matching_states(self.origin, network)
            moved = {name: state[name] - value for name, value in origin.items()}
            shadows.append([dot(moved, self.u), dot(moved, self.v)])
        return torch.tensor(shadows, dtype=torch.float64)


def plane(a: Endpoint, b: Endpoint, c: Endpoint) -> Plane:
    """The plane through three networks: A is the origin, C lies on the first axis, B has y > 0.

    u = (C - A) / |C - A|; v is what B - A has across u, normalised.

    Raises:
        ValueError: they do not match, two are equal, or the three lie on one line.
    """
    a, b, c = matching_states(a, b, c)
    for pair in ((a, b), (a, c), (b, c)):
        refuse_identical(*pair)
    u = scaled({name: c[name].double() - value.double() for name, value in a.items()})
    rest = {name: b[name].double() - value.double() for name, value in a.items()}
    length = norm(rest)
    along = dot(rest, u)
    across = {name: value - along * u[name] for name, value in rest.items()}
    if norm(across) <= 1e-6 * length:
        raise ValueError("the three networks lie on one line: they span no plane")
    v = scaled(across)
    return Plane(a, *({name: w[name].to(a[name].dtype) for name in a} for w in (u, v)))


def filter_normalised(reference: Endpoint, generator: torch.Generator) -> State:
    """A random direction in which every filter is as long as that of `reference` (Li et al., 2018).

    A filter is a row of a weight of two or more dimensions; vectors (biases, gains) stay 0, as usual, since scaling
    them with the filters would count them as long as a whole one.
    """
    (state,) = matching_states(reference)
    direction = {}
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
        if value.ndim < 2:
            direction[name] = torch.zeros_like(value)
            continue
        lengths = [w.flatten(1).norm(dim=1).view(-1, *[1] * (w.ndim - 1)) for w in (value, noise)]
        direction[name] = noise * lengths[0] / lengths[1]
    return direction


def loss_plane(
    model: nn.Module,
    around: Plane,
    x: Tensor,
    y: Tensor,
    *,
    data: Any,
    metric: Metric,
    inputs: Inputs = first_item,
    calibration: Any = None,
) -> Tensor:
    """Mean losses at origin + x u + y v on a grid: (X,), (Y,) -> (X, Y), float64.

    Args:
        model: the architecture. around: a plane of its parameters, which need not be orthonormal here.
        data, metric, inputs, calibration: see `interpolation.interpolate`.
    Raises:
        ValueError: the plane does not belong to the model, and all that `interpolate` raises about data.
    """
    model = architecture(model)
    states = matching_states(around.origin, around.u, around.v, model=model)
    grid = torch.cartesian_prod(x.double(), y.double())
    weights = torch.cat([torch.ones(len(grid), 1, dtype=torch.float64), grid], 1)
    batches = as_batches(data)
    (values,) = evaluate(
        model,
        states,
        weights,
        [batches],
        objective_of(metric, inputs),
        calibration=calibration_batches(calibration, batches),
        inputs=inputs,
    )
    return values.view(len(x), len(y), *values.shape[1:])


def grid_around(points: Tensor, count: int, margin: float = 0.3) -> tuple[Tensor, Tensor]:
    """Evenly spaced x and y, `count` each, that cover points (n, 2) with a margin in parts of their extent."""
    low, high = points.min(0).values, points.max(0).values
    pad = margin * (high - low).clamp(min=1e-12)
    x, y = (
        torch.linspace(float(a), float(b), count, dtype=torch.float64)
        for a, b in zip(low - pad, high + pad, strict=True)
    )
    return x, y


def dot(first: State, second: State) -> float:
    """Inner product over all parameters, in float64."""
    return float(sum((value.double() * second[name].double()).sum() for name, value in first.items()))


def scaled(state: State) -> State:
    """The same direction with length 1."""
    length = norm(state)
    return {name: value / length for name, value in state.items()}
