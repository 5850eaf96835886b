"""How features travel along edges: by index arrays for any batch, by dense blocks for nets of one architecture.

Both compute the same three things: A v_source + B v_target + C e per edge, and the mean of edge features over the
incoming or the outgoing edges of each node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .parameter_graph import ParameterGraph
from .scatter import scatter_mean


class Connectivity(Protocol):
    """v: (..., N, h); e: (..., E, h)."""

    def combine(self, at_source: Tensor, at_target: Tensor, at_edge: Tensor) -> Tensor: ...

    def to_targets(self, edges: Tensor) -> Tensor: ...

    def to_sources(self, edges: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class IndexConnectivity:
    """Gathers and scatters by source and target ids, (E,). nodes: N."""

    source: Tensor
    target: Tensor
    nodes: int
    backend: str = "native"

    def combine(self, at_source: Tensor, at_target: Tensor, at_edge: Tensor) -> Tensor:
        gathered = at_source.index_select(-2, self.source)
        return gathered.add_(at_target.index_select(-2, self.target)).add_(at_edge)

    def to_targets(self, edges: Tensor) -> Tensor:
        return scatter_mean(edges, self.target, self.nodes, self.backend)

    def to_sources(self, edges: Tensor) -> Tensor:
        return scatter_mean(edges, self.source, self.nodes, self.backend)


@dataclass(frozen=True, eq=False)
class DenseBlock:
    """One weight tensor: edges start .. stop are targets (R,) × sources (C,) × taps, or the pairs of two lists."""

    start: int
    stop: int
    targets: Tensor
    sources: Tensor
    shape: tuple[int, int, int] | None


class BlockConnectivity:
    """Broadcasts over weight tensors: no index array as long as E. Blocks that are not dense are gathered.

    All nets have one architecture; v: (..., N, h), e: (..., E, h) in the graph's order.
    """

    def __init__(self, graph: ParameterGraph, device: torch.device | str = "cpu"):
        self.nodes = graph.num_nodes
        self.blocks = [_dense_block(block, device) for block in graph.blocks]
        self.sizes = [block.stop - block.start for block in self.blocks]
        self.incoming = self._counts([b.targets for b in self.blocks], [_per(b, 0) for b in self.blocks], device)
        self.outgoing = self._counts([b.sources for b in self.blocks], [_per(b, 1) for b in self.blocks], device)

    def _counts(self, ids, each, device) -> Tensor:
        counts = torch.zeros(self.nodes, device=device)
        for nodes, number in zip(ids, each, strict=True):
            counts.index_add_(0, nodes, torch.full((len(nodes),), float(number), device=device))
        return counts.clamp(min=1)[:, None]

    def combine(self, at_source: Tensor, at_target: Tensor, at_edge: Tensor) -> Tensor:
        parts = []
        for block, edge in zip(self.blocks, at_edge.split(self.sizes, -2), strict=True):
            source = at_source.index_select(-2, block.sources)
            target = at_target.index_select(-2, block.targets)
            if block.shape is None:
                parts.append((edge + source).add_(target))
                continue
            tensor = edge.unflatten(-2, block.shape)  # (..., R, C, taps, h)
            whole = (tensor + source[..., None, :, None, :]).add_(target[..., :, None, None, :])
            parts.append(whole.flatten(-4, -2))
        return torch.cat(parts, -2)

    def to_targets(self, edges: Tensor) -> Tensor:
        return self._gather(edges, (-3, -2), "targets") / self.incoming.to(edges.dtype)

    def to_sources(self, edges: Tensor) -> Tensor:
        return self._gather(edges, (-4, -2), "sources") / self.outgoing.to(edges.dtype)

    def _gather(self, edges: Tensor, axes: tuple[int, int], end: str) -> Tensor:
        sums, ids = [], []
        for block, part in zip(self.blocks, edges.split(self.sizes, -2), strict=True):
            sums.append(part if block.shape is None else part.unflatten(-2, block.shape).sum(axes))
            ids.append(getattr(block, end))
        total = edges.new_zeros(*edges.shape[:-2], self.nodes, edges.shape[-1])
        return total.index_add(-2, torch.cat(ids), torch.cat(sums, -2))


def _dense_block(block, device) -> DenseBlock:
    if block.dense:
        targets, sources = block.dst[:, 0, 0], block.src[0, :, 0]
        return DenseBlock(block.start, block.stop, targets.long().to(device), sources.long().to(device), block.shape)
    targets, sources = (ids.reshape(-1).long().to(device) for ids in (block.dst, block.src))
    return DenseBlock(block.start, block.stop, targets, sources, None)


def _per(block: DenseBlock, end: int) -> int:
    """Edges of a block at each of its targets (0) or sources (1)."""
    if block.shape is None:
        return 1
    rows, columns, taps = block.shape
    return (columns if end == 0 else rows) * taps
