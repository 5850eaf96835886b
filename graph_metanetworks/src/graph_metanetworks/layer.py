"""The layer of a graph metanet, in the form that trains fast; the paper's equation is in `reference_layer.py`.

e'   = ReLU(A v_source + B v_target + C e)       one linear map of (v_source, v_target, e), A and B once per node
v_i <- v_i + MLP(v_i, mean of e' over incoming edges, mean of e' over outgoing edges)
e   <- e + Lin(e')
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .connectivity import Connectivity


class GraphMetanetLayer(nn.Module):
    """Pre-norm and residual. Both directions of an edge are aggregated, or early neurons never see later layers."""

    def __init__(self, width: int):
        super().__init__()
        self.node_norm, self.edge_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.source = nn.Linear(width, width, bias=False)
        self.target = nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(width, width)
        self.node_hidden = nn.Linear(3 * width, 2 * width)
        self.node_out = nn.Linear(2 * width, width)
        self.edge_out = nn.Linear(width, width)

    def forward(self, v: Tensor, e: Tensor, wires: Connectivity) -> tuple[Tensor, Tensor]:
        """v: (..., N, h). e: (..., E, h). Returns the same shapes."""
        x = self.node_norm(v)
        mixed = wires.combine(self.source(x), self.target(x), self.edge(self.edge_norm(e))).relu_()
        gathered = torch.cat([x, wires.to_targets(mixed), wires.to_sources(mixed)], -1)
        v = v + self.node_out(nn.functional.silu(self.node_hidden(gathered)))
        return v, e + self.edge_out(mixed)
