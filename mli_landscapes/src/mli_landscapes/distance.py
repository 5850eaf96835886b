"""How far training moved the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .states import Endpoint, matching_states

NO_DISTANCE = "the relative distance from an initialisation of norm 0 is not defined"


def weight_distance(start: Endpoint, end: Endpoint) -> float:
    """|θ_T - θ_0| / |θ_0|: relative distance from initialisation.

    Over all parameters: buffers such as running statistics never count, tied weights count once. Two modules
    know their parameters; of two state dicts every floating entry counts, so hand over parameters only.

    Raises:
        ValueError: the two do not match, or θ_0 = 0.
    """
    first, last = matching_states(start, end)
    moved, initial = norm({name: last[name] - first[name] for name in first}), norm(first)
    if initial == 0:
        raise ValueError(NO_DISTANCE)
    return moved / initial


def norm(state: dict[str, Tensor]) -> float:
    """|θ|, accumulated in float64."""
    return float(torch.stack([value.double().square().sum() for value in state.values()]).sum().sqrt())


def stacked_weight_distance(start: dict[str, Tensor], end: dict[str, Tensor]) -> Tensor:
    """`weight_distance` of each network of a stack: parameters (J, ...) -> (J,). Raises as that does."""
    first, last = matching_states(start, end)
    moved = sum((last[name] - first[name]).double().square().reshape(len(first[name]), -1).sum(1) for name in first)
    initial = sum(first[name].double().square().reshape(len(first[name]), -1).sum(1) for name in first)
    if (initial == 0).any():
        raise ValueError(NO_DISTANCE)
    return (moved / initial).sqrt()
