"""Networks of several architectures in one batch: one topology per architecture, one gather for its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .connectivity import BlockConnectivity, Connectivity, IndexConnectivity
from .parameter_graph import ParameterGraph

_BLOCKS: WeakKeyDictionary[ParameterGraph, dict[str, BlockConnectivity]] = WeakKeyDictionary()


class NetBatch:
    """B networks. groups: one (graph, flat parameters (B_g, P)) per architecture; order: of the groups' nets, (B,).

    Nets are taken group by group inside a model; `restore` puts a result per net back into the order of the batch.
    """

    def __init__(self, groups: Sequence[tuple[ParameterGraph, Tensor]], order: Tensor | None = None):
        self.groups = list(groups)
        self.size = sum(len(flat) for _, flat in self.groups)
        self.order = torch.arange(self.size) if order is None else order

    def to(self, device, **kwargs) -> NetBatch:
        """Lightning moves a batch with this."""
        return NetBatch([(g, flat.to(device, **kwargs)) for g, flat in self.groups], self.order.to(device))

    def __len__(self) -> int:
        return self.size

    @property
    def num_edges(self) -> int:
        return sum(graph.num_edges * len(flat) for graph, flat in self.groups)

    def values(self, dtype: torch.dtype) -> list[Tensor]:
        """Edge values (B_g, E_g) by group."""
        return [graph.edge_values(flat.to(dtype)) for graph, flat in self.groups]

    def restore(self, rows: Tensor) -> Tensor:
        result = torch.empty_like(rows)
        result[self.order] = rows
        return result

    def union(self, backend: str = "native") -> tuple[IndexConnectivity, Tensor, Tensor]:
        """All nets as one graph: connectivity, and which net each node, (ΣN,), and each edge, (ΣE,), belongs to."""
        sources, targets, node_net, edge_net = [], [], [], []
        offset = nets = 0
        for graph, flat in self.groups:
            count, device = len(flat), flat.device
            shift = offset + graph.num_nodes * torch.arange(count, device=device)[:, None]
            sources.append((graph.edge_src.long().to(device) + shift).reshape(-1))
            targets.append((graph.edge_dst.long().to(device) + shift).reshape(-1))
            numbers = torch.arange(nets, nets + count, device=device)
            node_net.append(numbers.repeat_interleave(graph.num_nodes))
            edge_net.append(numbers.repeat_interleave(graph.num_edges))
            offset, nets = offset + count * graph.num_nodes, nets + count
        wires = IndexConnectivity(torch.cat(sources), torch.cat(targets), offset, backend)
        return wires, torch.cat(node_net), torch.cat(edge_net)


def block_connectivity(graph: ParameterGraph, device: torch.device) -> Connectivity:
    """The topology of an architecture, made once."""
    cache = _BLOCKS.setdefault(graph, {})
    key = str(device)
    if key not in cache:
        with torch.inference_mode(False):  # a test may ask first, training must be able to use it
            cache[key] = BlockConnectivity(graph, device)
    return cache[key]


def collate(nets: Sequence[tuple[ParameterGraph, Tensor]]) -> NetBatch:
    """A batch of (graph, flat parameters (P,)); nets that share a graph *object* are stacked.

    Raises:
        ValueError: no nets.
    """
    if not nets:
        raise ValueError("a batch needs at least one network, got none")
    by_graph: dict[ParameterGraph, list[int]] = {}
    for i, (graph, _) in enumerate(nets):
        by_graph.setdefault(graph, []).append(i)
    groups = [(graph, torch.stack([nets[i][1] for i in members])) for graph, members in by_graph.items()]
    return NetBatch(groups, torch.tensor([i for members in by_graph.values() for i in members]))


def edge_budget_batches(edges: Sequence[int], budget: int, order: Sequence[int]) -> Iterator[list[int]]:
    """Splits `order` into consecutive batches of at most `budget` edges; a net above the budget is a batch alone.

    Args:
        edges: of each net. order: indices of nets, each once.
    Raises:
        ValueError: the budget is not positive.
    """
    if budget < 1:
        raise ValueError(f"an edge budget of at least 1 expected, got {budget}")
    batch: list[int] = []
    total = 0
    for i in order:
        if batch and total + edges[i] > budget:
            yield batch
            batch, total = [], 0
        batch.append(i)
        total += edges[i]
    if batch:
        yield batch
