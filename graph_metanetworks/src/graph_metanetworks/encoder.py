"""First features of nodes and edges: types, layers, order and positions, which an architecture has once, and values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .parameter_graph import ParameterGraph
from .vocabulary import ACTIVATIONS, EDGE_TYPES, NODE_TYPES

SMALLEST_SCALE = 1e-4  # of the weights of a layer that are shown in units of it


class Fourier(nn.Module):
    """sin and cos of a scalar at fixed random frequencies, N(0, scale²). (...,) -> (..., 2 count)."""

    def __init__(self, count: int = 4, scale: float = 3.0, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("frequencies", scale * torch.randn(count, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        angles = x[..., None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], -1)


class ValueFeatures(nn.Module):
    """Features of an edge value w and of s = w √fan-in, which does not shrink with width.

    w, s, |w|, |s|, log(1 + s²), so that means over edges are first and second moments, and sin(Lin(w, s)). With
    `relative` also r = w / scale and |r|, and sin(Lin(w, s, r)).
    """

    def __init__(self, waves: int = 6, relative: bool = False):
        super().__init__()
        self.relative = relative
        self.lift = nn.Linear(2 + relative, waves)
        self.size = waves + 5 + 2 * relative

    def forward(self, values: Tensor, fan_in: Tensor, scale: Tensor | None = None) -> Tensor:
        """values, scale: (..., E). fan_in: (E,). Returns (..., E, size)."""
        forms = [values, values * fan_in.sqrt()]
        if self.relative:
            forms.append(values / scale.clamp(min=SMALLEST_SCALE))
        w = torch.stack(forms, -1)
        return torch.cat([w, w.abs(), w[..., 1:2].square().log1p(), self.lift(w).sin()], -1)


class GraphEncoder(nn.Module):
    """Embeddings and Fourier features, concatenated and mapped to width h; the architecture apart from values.

    relative: show every value in units of its layer's root mean square, too.
    """

    def __init__(self, width: int, embedding: int = 8, relative: bool = False):
        super().__init__()
        self.node_type = nn.Embedding(len(NODE_TYPES), embedding)
        self.activation = nn.Embedding(len(ACTIVATIONS), embedding)
        self.edge_type = nn.Embedding(len(EDGE_TYPES), embedding)
        self.scalar = Fourier()
        waves = 2 * len(self.scalar.frequencies)
        self.node = nn.Linear(2 * embedding + 2 * waves + 1, width)
        self.edge = nn.Linear(embedding + 4 * waves + 4, width)
        self.values = ValueFeatures(relative=relative)
        self.value = nn.Linear(self.values.size, width, bias=False)

    def nodes(self, graph: ParameterGraph) -> Tensor:
        """(N, h)."""
        device, dtype = self.node.weight.device, self.node.weight.dtype
        layer, index = (part.to(device, dtype) / 8 for part in (graph.node_layer, graph.node_index))
        parts = [
            self.node_type(graph.node_type.long().to(device)),
            self.activation(graph.node_activation.long().to(device)),
            self.scalar(layer),
            self.scalar(index),
            (index >= 0).to(dtype)[:, None],
        ]
        return self.node(torch.cat(parts, -1))

    def edges(self, graph: ParameterGraph) -> Tensor:
        """(E, h), without values."""
        device, dtype = self.edge.weight.device, self.edge.weight.dtype
        layer = graph.edge_layer.to(device, dtype) / 8
        position = graph.edge_pos.to(device, dtype) / 4
        fan = graph.edge_fan_in.to(device, dtype).log()
        parts = [
            self.edge_type(graph.edge_type.long().to(device)),
            self.scalar(layer),
            self.scalar(position).flatten(-2),
            (position < 0).to(dtype),
            fan[:, None],
        ]
        return self.edge(torch.cat(parts, -1))

    def edge_values(self, graph: ParameterGraph, values: Tensor) -> Tensor:
        """(B, E) -> (B, E, h)."""
        scale = graph.kind_scales(values) if self.values.relative else None
        return self.value(self.values(values, graph.edge_fan_in.to(values), scale))
