"""How a parameter graph runs its network.

The program is a list of steps, each a function without parameters (`F.conv2d`, `torch.relu`, `Tensor.view` ...) with
the names of earlier results and with slots. A slot is a tensor argument that is put together from edges: it names edge
blocks and, by node ids and positions, which edge belongs to which entry. No weight reaches the arithmetic otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from .values import Ref

if TYPE_CHECKING:
    from .parameter_graph import ParameterGraph


@dataclass(frozen=True, eq=False)
class MatrixSlot:
    """The tensor with entry [row of target, column of (source, position)] = sum of the values of such edges.

    rows: target ids, (R,). columns: source ids, (C,). codes: position of each column, (C,). shape: of the result, R*C
    entries in this order. transposed: swap its first two axes at last.
    """

    blocks: tuple[int, ...]
    rows: Tensor
    columns: Tensor
    codes: Tensor
    shape: tuple[int, ...]
    transposed: bool = False

    def assemble(self, graph: ParameterGraph, values: Tensor) -> Tensor:
        rows, row_order = torch.sort(self.rows.long())
        matrix = values.new_zeros(len(self.rows) * len(self.columns))
        for block in self.blocks:
            chosen = graph.edges_of(block)
            source, target = graph.edge_src[chosen].long(), graph.edge_dst[chosen].long()
            keys, wanted = _column_keys(self.columns, self.codes, source, graph.block_codes(block))
            keys, order = torch.sort(keys, stable=True)
            column = order[torch.searchsorted(keys, wanted)]
            row = row_order[torch.searchsorted(rows, target)]
            matrix = matrix.index_add(0, row * len(self.columns) + column, values[chosen])
        tensor = matrix.reshape(self.shape)
        return tensor.transpose(0, 1) if self.transposed else tensor


@dataclass(frozen=True, eq=False)
class EntrySlot:
    """The tensor whose entries are the values of the edges with these ends and positions, each shaped like it."""

    block: int
    sources: Tensor
    targets: Tensor
    codes: Tensor

    def assemble(self, graph: ParameterGraph, values: Tensor) -> Tensor:
        chosen = graph.edges_of(self.block)
        edges = torch.stack(
            [graph.edge_src[chosen].long(), graph.edge_dst[chosen].long(), graph.block_codes(self.block)]
        )
        wanted = torch.stack([self.sources.reshape(-1), self.targets.reshape(-1), self.codes.reshape(-1)]).long()
        _, labels = torch.unique(torch.cat([edges, wanted], 1), dim=1, return_inverse=True)
        present, sought = labels[: edges.shape[1]], labels[edges.shape[1] :]
        keys, order = torch.sort(present, stable=True)
        return values[chosen][order[torch.searchsorted(keys, sought)]].reshape(self.sources.shape)


@dataclass(frozen=True, eq=False)
class Step:
    """`function(*args, **kwargs)`, in which a Ref stands for an earlier result and a slot for a tensor out of edges."""

    target: Ref
    function: Callable
    args: tuple
    kwargs: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Program:
    """Steps in order; inputs: what the arguments of `execute` are called; output: any nesting of Refs."""

    inputs: tuple[Ref, ...]
    steps: tuple[Step, ...]
    output: Any

    def run(self, graph: ParameterGraph, inputs: Sequence[Tensor], values: Tensor) -> Any:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"the network takes {len(self.inputs)} inputs, got {len(inputs)}")
        results = dict(zip(self.inputs, inputs, strict=True))

        def resolve(item):
            if isinstance(item, Ref):
                return results[item]
            return item.assemble(graph, values) if isinstance(item, MatrixSlot | EntrySlot) else item

        for step in self.steps:
            results[step.target] = step.function(*tree_map(resolve, step.args), **tree_map(resolve, step.kwargs))
        return tree_map(resolve, self.output)


def _column_keys(columns: Tensor, codes: Tensor, source: Tensor, source_codes: Tensor) -> tuple[Tensor, Tensor]:
    """One number for each (id, position) of the columns and of the edges; positions are ranked among the columns'."""
    distinct = torch.unique(codes)
    width = len(distinct) + 1
    column_keys = columns.long() * width + torch.searchsorted(distinct, codes.contiguous())
    return column_keys, source * width + torch.searchsorted(distinct, source_codes.contiguous())
