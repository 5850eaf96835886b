"""The mean of rows that share an index: torch's own, PyTorch Geometric's and torch-scatter's behind one function."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def native(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """`index_add`, then a division by the counts."""
    sums = rows.new_zeros(*rows.shape[:-2], size, rows.shape[-1]).index_add(-2, index, rows)
    counts = torch.bincount(index, minlength=size).clamp(min=1).to(rows)
    return sums / counts[:, None]


def pyg(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """`torch_geometric.utils.scatter` (the extra `pyg`)."""
    from torch_geometric.utils import scatter

    return scatter(rows, index, dim=-2, dim_size=size, reduce="mean")


def compiled(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """`torch_scatter.scatter_mean` (the extra `compiled`)."""
    from torch_scatter import scatter_mean

    return scatter_mean(rows, index, dim=-2, dim_size=size)


BACKENDS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {"native": native, "pyg": pyg, "compiled": compiled}


def scatter_mean(rows: Tensor, index: Tensor, size: int, backend: str = "native") -> Tensor:
    """out[..., i, :] = mean of rows[..., k, :] over all k with index[k] = i; 0 where there is none.

    Args:
        rows: (..., K, h). index: (K,), in 0 .. size - 1. backend: native, pyg or compiled.
    Raises:
        ValueError: an unknown backend, or shapes that do not fit.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown scatter backend {backend!r}, choose from {', '.join(BACKENDS)}")
    if rows.ndim < 2 or index.shape != rows.shape[-2:-1]:
        raise ValueError(f"rows (..., K, h) and index (K,) expected, got {tuple(rows.shape)} and {tuple(index.shape)}")
    return BACKENDS[backend](rows, index, size)
