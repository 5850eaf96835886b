"""The graph metanet layer of the paper as it stands, with a global feature u: the form that Proposition 3 speaks of.

    v_i <- MLP_2(v_i, mean over edges e = (j, i) of MLP_1(v_i, v_j, e, u), the same over outgoing edges, u)
    u   <- MLP_u(mean of v, mean of MLP_s(e), u)
    e   <- MLP_e(v_source, v_target, e, u)

Ours: means in place of sums, messages in both directions, and edges read the new v and u.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from .connectivity import IndexConnectivity


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class ReferenceLayer(nn.Module):
    """Sizes of node, edge and global features before and after, and of the messages; every MLP has one hidden layer."""

    def __init__(self, node: tuple[int, int], edge: tuple[int, int], world: tuple[int, int], message: int, hidden: int):
        super().__init__()
        ends = 2 * node[0] + edge[0] + world[0]
        self.incoming = mlp(ends, hidden, message)
        self.outgoing = mlp(ends, hidden, message)
        self.node = mlp(node[0] + 2 * message + world[0], hidden, node[1])
        self.summary = mlp(edge[0], hidden, message)
        self.world = mlp(node[1] + message + world[0], hidden, world[1])
        self.edge = mlp(2 * node[1] + edge[0] + world[1], hidden, edge[1])

    def forward(self, v: Tensor, e: Tensor, u: Tensor, wires: IndexConnectivity) -> tuple[Tensor, Tensor, Tensor]:
        """v: (N, ·). e: (E, ·). u: (·,), of one graph."""
        source, target = v[wires.source], v[wires.target]
        seen = torch.cat([source, target, e, u.expand(len(e), -1)], -1)
        gathered = [wires.to_targets(self.incoming(seen)), wires.to_sources(self.outgoing(seen))]
        v = self.node(torch.cat([v, *gathered, u.expand(len(v), -1)], -1))
        u = self.world(torch.cat([v.mean(0), self.summary(e).mean(0), u]))
        e = self.edge(torch.cat([v[wires.source], v[wires.target], e, u.expand(len(e), -1)], -1))
        return v, e, u
