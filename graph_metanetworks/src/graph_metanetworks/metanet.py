"""Graph metanets: encoder, layers, and heads for a number per net or a number per parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .batch import NetBatch, block_connectivity
from .encoder import GraphEncoder
from .layer import GraphMetanetLayer


class GraphMetanet(nn.Module):
    """Reads networks of any architectures; permuting a net's neurons permutes its outputs.

    width: h. depth: layers. dense_from: edges of a network from which its weight tensors are read as dense blocks,
    which needs less memory; below, and for several architectures, index arrays are faster. backend: of their scatter.
    checkpointing: trade time for memory. relative: show every weight in units of its layer's root mean square, too,
    for networks whose layers differ in scale, such as SIRENs.
    """

    def __init__(
        self,
        width: int = 32,
        depth: int = 3,
        dense_from: int = 100_000,
        backend: str = "native",
        checkpointing: bool = False,
        relative: bool = False,
    ):
        super().__init__()
        self.width, self.backend, self.checkpointing = width, backend, checkpointing
        self.dense_from = dense_from
        self.encoder = GraphEncoder(width, relative=relative)
        self.layers = nn.ModuleList(GraphMetanetLayer(width) for _ in range(depth))
        self.node_norm, self.edge_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, batch: NetBatch) -> tuple[list[Tensor], list[Tensor]]:
        """Node features (B_g, N_g, h) and edge features (B_g, E_g, h), by group of the batch."""
        dtype = self.encoder.node.weight.dtype
        nodes, edges = [], []
        for (graph, _), values in zip(batch.groups, batch.values(dtype), strict=True):
            nodes.append(self.encoder.nodes(graph).expand(len(values), -1, -1))
            edges.append(self.encoder.edges(graph) + self.encoder.edge_values(graph, values))
        if len(batch.groups) == 1 and batch.groups[0][0].num_edges >= self.dense_from:
            wires = block_connectivity(batch.groups[0][0], edges[0].device)
            v, e = self._layers(nodes[0], edges[0], wires)
            return [v], [e]
        shapes = [(x.shape[:2], y.shape[:2]) for x, y in zip(nodes, edges, strict=True)]
        wires, _, _ = batch.union(self.backend)
        v, e = self._layers(
            torch.cat([x.flatten(0, 1) for x in nodes]), torch.cat([y.flatten(0, 1) for y in edges]), wires
        )
        sizes = [x.numel() for x, _ in shapes], [y.numel() for _, y in shapes]
        v_parts, e_parts = v.split(sizes[0]), e.split(sizes[1])
        return (
            [part.unflatten(0, x) for part, (x, _) in zip(v_parts, shapes, strict=True)],
            [part.unflatten(0, y) for part, (_, y) in zip(e_parts, shapes, strict=True)],
        )

    def _layers(self, v: Tensor, e: Tensor, wires) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            if self.checkpointing and self.training:
                v, e = checkpoint(layer, v, e, wires, use_reentrant=False)
            else:
                v, e = layer(v, e, wires)
        return self.node_norm(v), self.edge_norm(e)


class InvariantHead(nn.Module):
    """Means over edges and over nodes after Lin + ReLU, then an MLP: a vector per net."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.edge, self.node = nn.Linear(width, width), nn.Linear(width, width)
        self.readout = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, outputs))

    def forward(self, batch: NetBatch, nodes: list[Tensor], edges: list[Tensor]) -> Tensor:
        """(B, outputs), in the order of the batch."""
        rows = [
            torch.cat([self.edge(e).relu().mean(1), self.node(v).relu().mean(1)], -1)
            for v, e in zip(nodes, edges, strict=True)
        ]
        return batch.restore(self.readout(torch.cat(rows)))


class EdgeHead(nn.Module):
    """A change for every parameter: θ̃ = θ + γ · out(e), γ learned; tied edges are averaged."""

    def __init__(self, width: int, scale: float = 0.01):
        super().__init__()
        self.out = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, batch: NetBatch, edges: list[Tensor]) -> list[Tensor]:
        """New flat parameters (B_g, P_g), by group."""
        pairs = zip(batch.groups, edges, strict=True)
        return [flat + self.scale * graph.mean_of_edges(self.out(e)[..., 0]) for (graph, flat), e in pairs]


class InvariantMetanet(nn.Module):
    """`GraphMetanet` with an `InvariantHead`: NetBatch -> (B, outputs)."""

    def __init__(self, outputs: int = 1, width: int = 32, depth: int = 3, **options):
        super().__init__()
        self.body = GraphMetanet(width, depth, **options)
        self.head = InvariantHead(width, outputs)

    def forward(self, batch: NetBatch) -> Tensor:
        return self.head(batch, *self.body(batch))


class EditingMetanet(nn.Module):
    """`GraphMetanet` with an `EdgeHead`: NetBatch -> edited flat parameters by group."""

    def __init__(self, width: int = 32, depth: int = 3, **options):
        super().__init__()
        self.body = GraphMetanet(width, depth, **options)
        self.head = EdgeHead(width)

    def forward(self, batch: NetBatch) -> list[Tensor]:
        return self.head(batch, self.body(batch)[1])
