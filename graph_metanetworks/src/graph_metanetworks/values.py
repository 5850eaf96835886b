"""What flows through a traced network while its graph is built: node ids in the place of numbers.

An activation of shape (1, C, H, W) is carried as an integer tensor of that very shape whose entries name nodes. View,
permute, chunk or concatenate are then the network's own calls, applied to ids instead of values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FIELD_BITS = 20  # of each of three coordinates in a position code
NO_POSITION = 0


@dataclass(frozen=True, eq=False)
class Activation:
    """ids: the node of every entry. sites: the position code of every entry. ref: its name in the program."""

    ids: Tensor
    sites: Tensor
    ref: Ref


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter or buffer used as a tensor: every entry's index into the flat parameter vector."""

    index: Tensor


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that is no parameter and is not learned."""

    tensor: Tensor


@dataclass(frozen=True, eq=False)
class Runtime:
    """A number (or tuple) that depends on the input's shape: its value while building, its name in the program."""

    value: Any
    ref: Ref


@dataclass(frozen=True)
class Ref:
    """The result of one step of the program."""

    name: int


def encode(coordinates: Tensor) -> Tensor:
    """Position codes of integer coordinates (..., 3) in which -1 means 'no such axis'; (...), int64. All -1 gives 0."""
    shifted = coordinates.long() + 1
    return (shifted[..., 0] << 2 * FIELD_BITS) + (shifted[..., 1] << FIELD_BITS) + shifted[..., 2]


def decode(codes: Tensor) -> Tensor:
    """The coordinates (..., 3) of position codes (...)."""
    mask = (1 << FIELD_BITS) - 1
    return torch.stack([codes >> 2 * FIELD_BITS, (codes >> FIELD_BITS) & mask, codes & mask], -1) - 1


def grid_codes(shape: tuple[int, ...]) -> Tensor:
    """Codes of all positions of a grid of one to three axes, shaped like the grid.

    Raises:
        ValueError: more than three axes.
    """
    if len(shape) > 3:
        raise ValueError(f"positions have one to three axes, got the grid {tuple(shape)}")
    if not shape:
        return torch.tensor(NO_POSITION)
    axes = torch.meshgrid(*[torch.arange(n) for n in shape], indexing="ij")
    missing = [torch.full(shape, -1)] * (3 - len(shape))
    return encode(torch.stack([*axes, *missing], -1))
