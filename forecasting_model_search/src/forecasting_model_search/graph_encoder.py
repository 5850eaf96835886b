"""The permutation-invariant graph metanetwork (GMN): message passing over a network's own graph of parameters.

With [a, b, e] the ends of an edge and the edge, Linear([a, b, e]) = A a + B b + C e: only C e costs as much as there
are edges. All edges into one layer fill a tensor (B, targets, fan-in), so networks of equal architecture need no
gathering of edges (dense path). `ScatterGraphEncoder` computes the same over lists of edges, of mixed architectures at
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from .encoders import WeightEncoder
from .parameter_graph import EDGE_TYPES, NODE_TYPES, Joint, ParameterGraph
from .weights import Stack


@dataclass(frozen=True)
class FanIn:
    """All edges into one node set. targets: number of the first and how many. source: (T or 1, F) node at the other
    end.

    joints: whose edges lie beside one another in the F slots.
    """

    start: int
    count: int
    source: Tensor
    joints: tuple[Joint, ...]


@lru_cache(maxsize=64)
def fan_ins(graph: ParameterGraph) -> tuple[FanIn, ...]:
    """The fan-in of every node set that has one."""
    found = []
    for number, targets in enumerate(graph.node_sets):
        joints = tuple(joint for joint in graph.joints if joint.target == number)
        if not joints:
            continue
        columns = []
        for joint in joints:
            source, places = graph.node_sets[joint.source], joint.shape[2]
            if joint.one_to_one:
                nodes = (source.start + torch.arange(joint.shape[0]))[:, None].repeat(1, places)
            else:
                nodes = (source.start + torch.arange(joint.shape[1])).repeat_interleave(places)[None]
            columns.append(nodes)
        tall = max(len(c) for c in columns)
        found.append(FanIn(targets.start, targets.size, torch.cat([c.expand(tall, -1) for c in columns], 1), joints))
    return tuple(found)


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

    def node_features(self, graph: ParameterGraph) -> Tensor:
        """(N, h): layer, order where there is one, type."""
        features = []
        for s in graph.node_sets:
            order = torch.arange(s.size) / max(1, s.size - 1) if s.ordered else -torch.ones(s.size)
            scalars = torch.stack([torch.full((s.size,), float(s.layer)), order], 1).to(self.node_wave.weight)
            kind = self.node_type.weight[s.type].expand(s.size, -1)
            features.append(self.node_in(torch.cat([self.node_wave(scalars).sin(), kind], 1)))
        return torch.cat(features)

    def edge_constants(self, joint: Joint, log_scale: Tensor) -> Tensor:
        """What all targets share of their edges, (B, slots, h): layer, type, kernel position, scale of the tensor."""
        places = torch.full((joint.shape[2], 3), -1.0)
        if joint.kernel:
            grid = torch.meshgrid(*(torch.linspace(0, 1, k) for k in joint.kernel), indexing="ij")
            places[:, : len(grid)] = torch.stack([g.flatten() for g in grid], 1)
        count = len(log_scale)
        layer = torch.full((count, joint.shape[2], 1), float(joint.layer))
        scale = log_scale[:, None, None].expand(-1, joint.shape[2], 1)
        scalars = torch.cat([layer.to(scale), scale, places.to(scale).expand(count, -1, -1)], 2)
        kind = self.edge_type.weight[joint.type].expand(count, joint.shape[2], -1)
        constant = self.edge_in(torch.cat([self.edge_wave(scalars).sin(), kind], 2))  # (B, K, h)
        return constant.repeat(1, joint.shape[1], 1)

    def edge_features(self, stack: Stack, fan: FanIn) -> Tensor:
        """(B, T, F, h)."""
        values, constants = [], []
        for joint in fan.joints:
            given = stack.graph.values(stack.weights, joint).to(self.value_wave.weight)
            scale = given.square().flatten(1).mean(1).sqrt().clamp_min(1e-8)
            values.append((given / scale[:, None, None, None]).flatten(2))
            constants.append(self.edge_constants(joint, scale.log()))
        waves = self.value_wave(torch.cat(values, 2)[..., None]).sin()
        return self.value_in(waves) + torch.cat(constants, 1)[:, None]

    def encode(self, stack: Stack) -> Tensor:
        """The dense path: one graph, B networks."""
        fans = fan_ins(stack.graph)
        edges = [self.edge_features(stack, fan) for fan in fans]
        nodes = self.node_features(stack.graph).expand(len(stack), -1, -1)  # (B, N, h)
        for block in self.blocks:
            edges, nodes = self._dense_block(block, fans, edges, nodes)
        pooled = [self.pool_in(self.final(self.norm(e))).relu() for e in edges]
        total = sum(p.shape[1] * p.shape[2] for p in pooled)
        mean = sum(p.sum((1, 2)) for p in pooled) / total
        if not self.spread:
            return self.readout(mean)
        square = sum(p.square().sum((1, 2)) for p in pooled) / total
        return self.readout(torch.cat([mean, (square - mean.square()).clamp_min(1e-8).sqrt()], 1))

    def _dense_block(self, block, fans, edges, nodes):
        normed = block.node_norm(nodes)
        at_source, at_target = block.from_source(normed), block.from_target(normed)
        at_message = None if block.last else block.message_source(normed)
        changes, means, reached = [], [], 0
        for fan, e in zip(fans, edges, strict=True):
            targets = at_target[:, fan.start : fan.start + fan.count, None]
            changed = block.edge_change(e, at_source[:, fan.source], targets)  # (B, T, F, h)
            changes.append(e + block.edge_out(silu(changed)))
            if not block.last:
                message = (block.message_edge(changed) + at_message[:, fan.source]).relu()
                means += [torch.zeros_like(normed[:, reached : fan.start]), message.mean(2)]
                reached = fan.start + fan.count
        if not block.last:
            means = torch.cat([*means, torch.zeros_like(normed[:, reached:])], 1)
            nodes = nodes + block.node_change(normed, means)
        return changes, nodes


class ScatterGraphEncoder(GraphEncoder):
    """The same function over one list of all edges of all networks, whatever their architectures."""

    def encode_all(self, stacks):
        edges, nodes, source, target, owner, start, networks = [], [], [], [], [], 0, 0
        for stack in stacks:
            count, graph, here = len(stack), stack.graph, stack.rows.device
            offsets = start + graph.nodes * torch.arange(count, device=here)[:, None]  # (B, 1)
            nodes.append(self.node_features(graph).repeat(count, 1))
            for fan in fan_ins(graph):
                ends = fan.source.expand(fan.count, -1)  # (T, F)
                targets = (fan.start + torch.arange(fan.count)).repeat_interleave(ends.shape[1])
                edges.append(self.edge_features(stack, fan).flatten(0, 2))
                source.append((ends.flatten().to(here) + offsets).flatten())
                target.append((targets.to(here) + offsets).flatten())
                owner.append((networks + torch.arange(count, device=here)).repeat_interleave(ends.numel()))
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
