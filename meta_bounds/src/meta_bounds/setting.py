"""The paper's setting and what it refuses: n samples of each of M training tasks, k of a novel one, a packing of J.

Everything of the method computes in float64 and broadcasts: any number may be a tensor over a grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Number = float | int | Tensor | Sequence


def float64(value: Number) -> Tensor:
    """A float64 tensor; grids may come as numbers, sequences, arrays or tensors."""
    return torch.as_tensor(value, dtype=torch.float64)


def positive(**named: Number) -> list[Tensor]:
    """The values as float64 tensors.

    Raises:
        ValueError: one is not positive and finite; the message names it.
    """
    return [_checked(name, value, strict=True) for name, value in named.items()]


def not_negative(**named: Number) -> list[Tensor]:
    """The values as float64 tensors.

    Raises:
        ValueError: one is negative or not finite; the message names it.
    """
    return [_checked(name, value, strict=False) for name, value in named.items()]


def counts(least: int, **named: Number) -> list[Tensor]:
    """Whole numbers of at least `least`, as float64 tensors.

    Raises:
        ValueError: one is smaller or not whole; the message names it.
    """
    checked = []
    for name, value in named.items():
        tensor = float64(value)
        wrong = ~(torch.isfinite(tensor) & (tensor >= least) & (tensor == tensor.round()))
        if wrong.any():
            raise ValueError(f"{name} must be a whole number of at least {least}, got {_first(tensor, wrong)}")
        checked.append(tensor)
    return checked


def check_packing_holds(M: Tensor, J: Tensor) -> None:
    """A random ordering of the packing must hold M training tasks and the novel one: M + 1 <= J.

    Raises:
        ValueError: it does not.
    """
    M, J = torch.broadcast_tensors(M, J)
    wrong = M + 1 > J
    if wrong.any():
        raise ValueError(
            f"M + 1 tasks are drawn from the packing, so M + 1 <= J is needed, got M = {_first(M, wrong)} and "
            f"J = {_first(J, wrong)}: take fewer tasks or a larger packing"
        )


def covariance_matrix(value: Number, d: int, name: str) -> Tensor:
    """A symmetric positive definite matrix (d, d); a single number s becomes s I.

    Raises:
        ValueError: wrong shape, not symmetric, or not positive definite.
    """
    matrix = float64(value)
    if matrix.ndim == 0:
        matrix = matrix * torch.eye(d, dtype=torch.float64)
    if matrix.shape != (d, d):
        raise ValueError(f"{name} must be a number or ({d}, {d}), got {tuple(matrix.shape)}")
    if not torch.isfinite(matrix).all() or not torch.allclose(matrix, matrix.mT):
        raise ValueError(f"{name} must be finite and symmetric, got {matrix.tolist()}")
    smallest = float(torch.linalg.eigvalsh(matrix)[0])
    if smallest <= 0:
        raise ValueError(f"{name} must be positive definite, its smallest eigenvalue is {smallest:.3g}")
    return matrix


def _checked(name: str, value: Number, strict: bool) -> Tensor:
    tensor = float64(value)
    wrong = ~(torch.isfinite(tensor) & ((tensor > 0) if strict else (tensor >= 0)))
    if wrong.any():
        expected = "positive" if strict else "not negative"
        raise ValueError(f"{name} must be {expected} and finite, got {_first(tensor, wrong)}")
    return tensor


def _first(tensor: Tensor, wrong: Tensor) -> str:
    return f"{tensor[wrong][0].item():g}"
