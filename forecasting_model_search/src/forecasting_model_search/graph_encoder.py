"""The permutation-invariant graph metanetwork (GMN): message passing over a network's own graph of parameters.

With [a, b, e] the ends of an edge and the edge, Linear([a, b, e]) = A a + B b + C e: only C e costs as much as there
are edges. Networks of equal architecture share one graph whose edges fill whole tensors (B, target, source, kernel),
so nothing is gathered (dense path). `ScatterGraphEncoder` computes the same over lists of edges, of mixed
architectures at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from .encoders import WeightEncoder
from .parameter_graph import EDGE_TYPES, NODE_TYPES, Joint, ParameterGraph
from .weights import Stack


class Block(nn.Module):
    """Pre-LayerNorm block. e' = ReLU(L[v_s, v_t, e]); m = mean over in-edges of ReLU(L[v_s, e']); v' = ReLU(L[v, m]).

    Each branch ends with SiLU, Linear and a residual sum; the last block updates edges only.
    """

    def __init__(self, width: int, last: bool):
        super().__init__()
        self.edge_norm, self.node_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.from_source, self.from_target = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.from_edge, self.edge_out = nn.Linear(width, width), nn.Linear(width, width)
        self.last = last
        if not last:
            self.message_source = nn.Linear(width, width, bias=False)
            self.message_edge = nn.Linear(width, width)
            self.node_in, self.node_out = nn.Linear(2 * width, width), nn.Linear(width, width)

    def edge_change(self, edges: Tensor, at_source: Tensor, at_target: Tensor) -> Tensor:
        """e' of edges (..., h), given A v_s and B v_t that broadcast against them."""
        return (self.from_edge(self.edge_norm(edges)) + at_source + at_target).relu()

    def node_change(self, nodes: Tensor, messages: Tensor) -> Tensor:
        return self.node_out(silu(self.node_in(torch.cat([nodes, messages], -1)).relu()))


class GraphEncoder(WeightEncoder):
    """(list of checkpoints) → (n, out). Invariant under permutations of hidden neurons and channels.

    Weights are divided by the standard deviation of their tensor, whose logarithm is a feature of the edge.

    Args:
        width: h, of the features. blocks: of message passing. out: size of the embedding. frequency: standard
            deviation of the frequencies in sin(Linear(value)). spread: read out the standard deviation over edges
            beside the mean.
    """

    def __init__(self, width: int = 8, blocks: int = 2, out: int = 32, frequency: float = 1.5, spread: bool = True):
        super().__init__()
        if width < 1 or blocks < 1 or out < 1:
            raise ValueError(f"width, blocks and out must be positive, got {width}, {blocks}, {out}")
        self.width, self.out, self.spread = width, out, spread
        self.value_wave = nn.Linear(1, width)
        self.edge_wave, self.node_wave = nn.Linear(5, width), nn.Linear(2, width)
        for wave in (self.value_wave, self.edge_wave, self.node_wave):
            nn.init.normal_(wave.weight, std=frequency)
        self.edge_type, self.node_type = nn.Embedding(len(EDGE_TYPES), width), nn.Embedding(len(NODE_TYPES), width)
        self.value_in = nn.Linear(width, width, bias=False)
        self.edge_in, self.node_in = nn.Linear(2 * width, width), nn.Linear(2 * width, width)
        self.blocks = nn.ModuleList(Block(width, last=i == blocks - 1) for i in range(blocks))
        self.norm, self.final = nn.LayerNorm(width), nn.Linear(width, width)
        self.pool_in = nn.Linear(width, width)
        self.readout = nn.Sequential(nn.Linear(width * (1 + spread), out), nn.ReLU(), nn.Linear(out, out), nn.Sigmoid())

    def node_features(self, graph: ParameterGraph) -> list[Tensor]:
        """(size, h) for each node set: layer, order where there is one, type."""
        features = []
        for s in graph.node_sets:
            order = torch.arange(s.size) / max(1, s.size - 1) if s.ordered else -torch.ones(s.size)
            scalars = torch.stack([torch.full((s.size,), float(s.layer)), order], 1).to(self.node_wave.weight)
            kind = self.node_type.weight[s.type].expand(s.size, -1)
            features.append(self.node_in(torch.cat([self.node_wave(scalars).sin(), kind], 1)))
        return features

    def edge_constants(self, joint: Joint, log_scale: Tensor) -> Tensor:
        """What all edges at one kernel position share, (B, 1, 1, K, h): layer, type, position, scale of the tensor."""
        places = torch.full((joint.shape[2], 3), -1.0)
        if joint.kernel:
            grid = torch.meshgrid(*(torch.linspace(0, 1, k) for k in joint.kernel), indexing="ij")
            places[:, : len(grid)] = torch.stack([g.flatten() for g in grid], 1)
        count = len(log_scale)
        layer = torch.full((count, joint.shape[2], 1), float(joint.layer))
        scale = log_scale[:, None, None].expand(-1, joint.shape[2], 1)
        scalars = torch.cat([layer.to(scale), scale, places.to(scale).expand(count, -1, -1)], 2)
        kind = self.edge_type.weight[joint.type].expand(count, joint.shape[2], -1)
        return self.edge_in(torch.cat([self.edge_wave(scalars).sin(), kind], 2))[:, None, None]

    def edge_features(self, stack: Stack, joint: Joint) -> Tensor:
        """(B, target, source, K, h)."""
        values = stack.graph.values(stack.weights, joint).to(self.value_wave.weight)
        scale = values.square().flatten(1).mean(1).sqrt().clamp_min(1e-8)
        values = values / scale[:, None, None, None]
        return self.value_in(self.value_wave(values[..., None]).sin()) + self.edge_constants(joint, scale.log())

    def encode(self, stack: Stack) -> Tensor:
        """The dense path: one graph, B networks."""
        graph, count = stack.graph, len(stack)
        edges = [self.edge_features(stack, joint) for joint in graph.joints]
        nodes = [v.expand(count, -1, -1) for v in self.node_features(graph)]
        for block in self.blocks:
            edges, nodes = self._dense_block(block, graph, edges, nodes)
        pooled = [self.pool_in(self.final(self.norm(e))).relu().flatten(1, 3) for e in edges]
        total = sum(p.shape[1] for p in pooled)
        mean = sum(p.sum(1) for p in pooled) / total
        if not self.spread:
            return self.readout(mean)
        square = sum(p.square().sum(1) for p in pooled) / total
        return self.readout(torch.cat([mean, (square - mean.square()).clamp_min(1e-8).sqrt()], 1))

    def _dense_block(self, block, graph, edges, nodes):
        normed = [block.node_norm(v) for v in nodes]
        new_edges, sums, counts = [], [0] * len(nodes), [0] * len(nodes)
        for joint, e in zip(graph.joints, edges, strict=True):
            source = (
                normed[joint.source][:, :, None, None] if joint.one_to_one else normed[joint.source][:, None, :, None]
            )
            target = normed[joint.target][:, :, None, None]
            changed = block.edge_change(e, block.from_source(source), block.from_target(target))
            new_edges.append(e + block.edge_out(silu(changed)))
            if not block.last:
                message = (block.message_edge(changed) + block.message_source(source)).relu()
                sums[joint.target] = sums[joint.target] + message.sum((2, 3))
                counts[joint.target] += joint.shape[1] * joint.shape[2]
        if not block.last:
            means = [s / c if c else torch.zeros_like(v) for s, c, v in zip(sums, counts, nodes, strict=True)]
            nodes = [v + block.node_change(n, m) for v, n, m in zip(nodes, normed, means, strict=True)]
        return new_edges, nodes


class ScatterGraphEncoder(GraphEncoder):
    """The same function over one list of all edges of all networks, whatever their architectures."""

    def encode_all(self, stacks):
        edges, nodes, source, target, owner, start, networks = [], [], [], [], [], 0, 0
        for stack in stacks:
            count, graph = len(stack), stack.graph
            here = stack.rows.device
            offsets = start + graph.nodes * torch.arange(count, device=here)[:, None]  # (B, 1)
            nodes.append(torch.cat(self.node_features(graph)).repeat(count, 1))
            for joint in graph.joints:
                first, second = (ends.to(here) for ends in graph.edge_ends(joint))
                edges.append(self.edge_features(stack, joint).flatten(0, 3))
                source.append((first + offsets).flatten())
                target.append((second + offsets).flatten())
                owner.append((networks + torch.arange(count, device=here)).repeat_interleave(joint.edges))
            start, networks = start + count * graph.nodes, networks + count
        e, v = torch.cat(edges), torch.cat(nodes)
        source, target, owner = torch.cat(source), torch.cat(target), torch.cat(owner)
        for block in self.blocks:
            e, v = self._scatter_block(block, e, v, source, target)
        pooled = self.pool_in(self.final(self.norm(e))).relu()
        mean = segment_mean(pooled, owner, networks)
        if not self.spread:
            return self.readout(mean)
        variance = segment_mean(pooled.square(), owner, networks) - mean.square()
        return self.readout(torch.cat([mean, variance.clamp_min(1e-8).sqrt()], 1))

    def _scatter_block(self, block, e, v, source, target):
        n = block.node_norm(v)
        changed = block.edge_change(e, block.from_source(n)[source], block.from_target(n)[target])
        e = e + block.edge_out(silu(changed))
        if not block.last:
            message = (block.message_edge(changed) + block.message_source(n)[source]).relu()
            v = v + block.node_change(n, segment_mean(message, target, len(v)))
        return e, v


def segment_mean(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """Mean of the rows of `values` (E, h) that belong to each of `count` owners; 0 where there are none."""
    total = values.new_zeros(count, values.shape[1]).index_add(0, owner, values)
    size = values.new_zeros(count).index_add(0, owner, values.new_ones(len(values)))
    return total / size.clamp_min(1)[:, None]
