"""The two styles of graph. What they have in common is in `rules`; here is what they decide differently.

`paper` draws as the paper does: few nodes, more symmetric than the function. `exact` adds what the function depends on
(heads, groups, types of attention weights), so that the graph's automorphisms are the function's symmetries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .builder import GraphBuilder, compact
from .registry import UnsupportedModuleError
from .values import Activation, encode


@dataclass(frozen=True)
class DrawnAttention:
    """weights, biases: slots of q, k and v. values: nodes before the output projection; its nodes' and edges' types."""

    weights: tuple
    biases: tuple
    values: Tensor
    nodes: tuple[str, str]
    edges: tuple[str, str]


def project(builder: GraphBuilder, source: Tensor, target: Tensor, weight, bias, edges: tuple[str, str], node: str):
    """One of q, k, v: a weight block and a bias node of its own."""
    block = builder.connect(source[None, :, None], target[:, None, None], weight[..., None], edges[0], dense=True)
    slot = builder.matrix_slot(block, target, source, torch.zeros(len(source)).long(), weight.shape)
    if bias is None:
        return slot, None
    origin = builder.nodes(1, node, builder.layer_of(target))
    fan = builder.connect(origin.view(1, 1, 1), target.view(-1, 1, 1), bias.view(-1, 1, 1), edges[1], dense=True)
    return slot, builder.vector(fan, target, origin)


class PaperLayout:
    """As the paper's Section 3 and Appendix B draw networks."""

    name = "paper"
    include_buffers = False
    set_edges = ("lin_weight", "lin_weight", "lin_bias")

    def check_linear(self, builder: GraphBuilder, codes: Tensor) -> None:
        if bool((codes != 0).any()):
            raise UnsupportedModuleError(
                builder.path, "Linear", "the paper's style wants global pooling before it; use style='exact'"
            )

    def check_groups(self, builder: GraphBuilder, groups: int) -> None:
        if groups > 1:
            raise UnsupportedModuleError(
                builder.path, "convolution", f"the paper's style has no grouped ones ({groups}); use style='exact'"
            )

    def add(self, builder: GraphBuilder, a: Activation, b: Activation, sign: float) -> Activation:
        """A residual edge of value 1 from each node of the older operand to its partner in the newer one."""
        if sign != 1.0:
            raise UnsupportedModuleError(builder.path, "subtraction", "the paper's style has none; use style='exact'")
        old, new = (a, b) if int(compact(a.ids).max()) <= int(compact(b.ids).max()) else (b, a)
        sources, targets = torch.broadcast_tensors(compact(old.ids), compact(new.ids))
        pairs = torch.unique(torch.stack([sources.reshape(-1), targets.reshape(-1)]), dim=1)
        block = builder.connect(pairs[0], pairs[1], 1.0, "residual")
        slot = builder.entries(block, sources, targets)
        shape = torch.broadcast_shapes(a.ids.shape, b.ids.shape)
        return Activation(targets.expand(shape), new.sites.expand(shape), builder.emit(torch.addcmul, new, old, slot))

    def before_tensor(self, builder: GraphBuilder, x: Activation) -> Activation:
        return x

    def copy(self, builder: GraphBuilder, x: Activation) -> Activation:
        return x

    def group(self, builder: GraphBuilder, groups: Tensor) -> None:
        """Groups are not drawn."""

    def coordinates(self, builder: GraphBuilder, inputs: Tensor, places: Tensor, size: int) -> None:
        """Coordinates are not joined to places."""

    def attention(
        self, builder: GraphBuilder, sources: Sequence[Tensor], weights, biases, heads: int
    ) -> DrawnAttention:
        """q, k and v are parallel edges onto one set of d nodes."""
        target = builder.nodes(len(weights[0]), "attention_neuron", builder.layer_of(*sources) + 1)
        slots = [
            project(builder, source, target, weight, bias, ("lin_weight", "lin_bias"), "attention_bias")
            for source, weight, bias in zip(sources, weights, biases, strict=True)
        ]
        weight_slots, bias_slots = zip(*slots, strict=True)
        kinds = ("attention_neuron", "attention_bias"), ("lin_weight", "lin_bias")
        return DrawnAttention(weight_slots, bias_slots, target, *kinds)


class ExactLayout:
    """Automorphisms of the graph and permutation symmetries of the function are the same group."""

    name = "exact"
    include_buffers = True
    set_edges = ("set_identity", "set_pool", "set_bias")

    def check_linear(self, builder: GraphBuilder, codes: Tensor) -> None:
        """Flattened maps are fine: parallel edges carry their places."""

    def check_groups(self, builder: GraphBuilder, groups: int) -> None:
        """Grouped convolutions have edges inside their groups only."""

    def add(self, builder: GraphBuilder, a: Activation, b: Activation, sign: float) -> Activation:
        """New nodes with a residual edge from either operand."""
        from .rules.sums import combine, scaled_sum

        kind = "channel" if a.ids.ndim > 3 else "neuron"
        ids, slots = combine(builder, [a.ids, b.ids], kind, [("residual", 1.0), ("residual", sign)])
        shape = torch.broadcast_shapes(a.ids.shape, b.ids.shape)
        ref = builder.emit(scaled_sum, a, slots[0], b, slots[1])
        return Activation(ids.expand(shape), a.sites.expand(shape), ref)

    def before_tensor(self, builder: GraphBuilder, x: Activation) -> Activation:
        """Copies, where another consumer sees the neurons as they were, or one neuron stands at several places."""
        ids = compact(x.ids)
        distinct = len(torch.unique(ids)) == ids.numel()
        return x if distinct and not builder.shared else self.copy(builder, x)

    def copy(self, builder: GraphBuilder, x: Activation) -> Activation:
        """New nodes, each with an identity edge of value 1."""
        ids = compact(x.ids)
        new = builder.nodes(ids.numel(), "neuron", builder.layer_of(ids))
        flat = ids.reshape(-1)
        rank = _occurrence(flat)
        codes = encode(torch.stack([rank, *[torch.full_like(rank, -1)] * 2], -1)) if bool((rank > 0).any()) else None
        builder.connect(flat, new, 1.0, "copy", codes=codes)
        return Activation(new.view(ids.shape).expand(x.ids.shape), x.sites, x.ref)

    def group(self, builder: GraphBuilder, groups: Tensor) -> None:
        """A node for each group, joined to its neurons. groups: (G, members)."""
        nodes = builder.nodes(len(groups), "group", builder.layer_of(groups))
        builder.connect(nodes[:, None], groups, 1.0, "group")

    def coordinates(self, builder: GraphBuilder, inputs: Tensor, places: Tensor, size: int) -> None:
        """Which two of x, y, z a plane is indexed by."""
        of_plane = torch.tensor([[0, 1], [0, 2], [1, 2]])
        for order in (0, 1):
            source = inputs[of_plane[:, order]].view(3, 1).expand(3, size * size)
            code = encode(torch.tensor([order, -1, -1])).expand(3, size * size)
            builder.connect(source, places.view(3, -1), 1.0, "coordinate", codes=code)

    def attention(
        self, builder: GraphBuilder, sources: Sequence[Tensor], weights, biases, heads: int
    ) -> DrawnAttention:
        """Per head d_k nodes that queries and keys share, a head node, d_v value nodes; each projection its type."""
        layer = builder.layer_of(*sources) + 1
        query_key = builder.nodes(len(weights[0]), "query_key", layer)
        value = builder.nodes(len(weights[2]), "value", layer)
        head = builder.nodes(heads, "head", layer)
        slots = [
            project(builder, source, target, weight, bias, (f"{name}_weight", f"{name}_bias"), f"{name}_bias")
            for source, target, weight, bias, name in zip(
                sources, (query_key, query_key, value), weights, biases, "qkv", strict=True
            )
        ]
        builder.connect(query_key.view(heads, -1), head[:, None], 1.0, "head")
        builder.connect(head[:, None], value.view(heads, -1), 1.0, "head")
        weight_slots, bias_slots = zip(*slots, strict=True)
        return DrawnAttention(weight_slots, bias_slots, value, ("neuron", "o_bias"), ("o_weight", "o_bias"))


def _occurrence(flat: Tensor) -> Tensor:
    """0 for the first entry of its value, 1 for the second ..."""
    order = torch.argsort(flat, stable=True)
    counts = torch.unique_consecutive(flat[order], return_counts=True)[1]
    rank = torch.arange(len(flat)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(rank).scatter_(0, order, rank)


LAYOUTS = {layout.name: layout for layout in (PaperLayout(), ExactLayout())}
