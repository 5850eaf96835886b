"""The learned numbers that all vertices share, and the losses: cross-entropy on edges, Sinkhorn on faces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .decode import hole_logits
from .embedding import VertexEmbedding
from .halfedge import HalfedgeMesh
from .neighbourhoods import Bucket, buckets
from .permutation import TRAINING_ITERATIONS, permutation_loss
from .spacetime import spacetime_sqdist


@dataclass(frozen=True)
class Targets:
    """What the loss knows of a mesh, or of several side by side.

    edges: pairs i < j, (E, 2). tail, head, succ: halfedges, (H,). hole: whether each lies on a hole, bool, (H,).
    of_degree: the halfedges by degree of their tail.
    """

    edges: Tensor
    tail: Tensor
    head: Tensor
    succ: Tensor
    hole: Tensor
    of_degree: list[Bucket]

    @staticmethod
    def of(mesh: HalfedgeMesh) -> Targets:
        """The targets of one mesh."""
        return Targets(
            mesh.edges,
            mesh.tail,
            mesh.head,
            mesh.succ,
            mesh.hole_halfedges,
            buckets(mesh.tail, mesh.head, len(mesh.vertices)),
        )

    @staticmethod
    def side_by_side(meshes: list[HalfedgeMesh]) -> Targets:
        """The targets of several meshes whose vertices are numbered one after the other."""
        vertices, halfedges, parts = 0, 0, []
        for mesh in meshes:
            parts.append(
                (
                    mesh.edges + vertices,
                    mesh.tail + vertices,
                    mesh.head + vertices,
                    mesh.succ + halfedges,
                    mesh.hole_halfedges,
                )
            )
            vertices += len(mesh.vertices)
            halfedges += len(mesh.tail)
        edges, tail, head, succ, hole = (torch.cat(part) for part in zip(*parts, strict=True))
        return Targets(edges, tail, head, succ, hole, buckets(tail, head, vertices))

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        moved = [
            Bucket(b.degree, b.vertices.to(device), b.halfedges.to(device), b.heads.to(device)) for b in self.of_degree
        ]
        tensors = [t.to(device) for t in (self.edges, self.tail, self.head, self.succ, self.hole)]
        return Targets(*tensors, moved)


class Connectivity(nn.Module):
    """τ, β and the hole's bias b: an edge has the logit β (τ - D_ij), a halfedge on a hole ⟨u_i, v_j⟩ + b.

    Args:
        tau: initial threshold. beta: initial sharpness; below about 6 training from data stalls.
    """

    def __init__(self, tau: float = 1.0, beta: float = 6.0):
        super().__init__()
        self.tau = nn.Parameter(torch.tensor(float(tau)))
        self.log_beta = nn.Parameter(torch.tensor(math.log(beta)))
        self.hole_bias = nn.Parameter(torch.zeros(()))

    @property
    def beta(self) -> Tensor:
        """β, positive."""
        return self.log_beta.exp()

    def edge_logits(self, sqdist: Tensor) -> Tensor:
        """ℓ = β (τ - D)."""
        return self.beta * (self.tau - sqdist)

    def face_loss(self, embedding: VertexEmbedding, targets: Targets) -> Tensor:
        """-log P of the true successors, and where there are hole parts their cross-entropy, means over halfedges."""
        loss = permutation_loss(
            targets.of_degree, targets.succ, embedding.root, embedding.prev, embedding.next, TRAINING_ITERATIONS
        )
        if embedding.hole_tail.shape[-1]:
            logits = hole_logits(embedding, targets.tail, targets.head, self.hole_bias)
            loss = loss + nn.functional.binary_cross_entropy_with_logits(logits, targets.hole.to(logits))
        return loss

    def loss(self, embedding: VertexEmbedding, targets: Targets, face_weight: float = 1.0) -> Tensor:
        """L_edge + λ L_perm of one mesh, over all pairs of its vertices."""
        logits = self.edge_logits(spacetime_sqdist(embedding.space, embedding.time))
        return edge_loss(logits, targets.edges) + face_weight * self.face_loss(embedding, targets)


def edge_loss(logits: Tensor, edges: Tensor) -> Tensor:
    """Cross-entropy summed over all pairs i < j and divided by the number of edges.

    Args:
        logits: symmetric, (V, V); the diagonal is not looked at. edges: (E, 2).
    """
    everywhere = softplus(logits).triu(1).sum()
    return (everywhere - logits[edges[:, 0], edges[:, 1]].sum()) / len(edges)


def padded_edge_loss(logits: Tensor, sizes: Tensor, edges: Tensor, mesh: Tensor) -> Tensor:
    """The same over several meshes of different sizes.

    Args:
        logits: (B, V, V), of which the first `sizes[b]` rows and columns count. sizes: (B,).
        edges: within each mesh, (E, 2). mesh: of each edge, (E,).
    """
    inside = torch.arange(logits.shape[1], device=logits.device) < sizes[:, None]
    pairs = (inside[:, :, None] & inside[:, None, :]).triu(1)
    everywhere = softplus(logits).masked_fill(~pairs, 0.0).sum()
    return (everywhere - logits[mesh, edges[:, 0], edges[:, 1]].sum()) / len(edges)


def sampled_edge_loss(
    connectivity: Connectivity,
    embedding: VertexEmbedding,
    edges: Tensor,
    negatives: Tensor,
    weight: float,
    violators: Tensor,
) -> Tensor:
    """An estimate of `edge_loss` from all edges, random other pairs of a common weight and mined ones of weight 1.

    Args:
        edges: (E, 2). negatives: random pairs that are no edges, (N, 2). weight: how many pairs each stands for.
        violators: pairs that were taken for edges and are none, (M, 2).
    """
    on = connectivity.edge_logits(pair_sqdist(embedding, edges))
    off = connectivity.edge_logits(pair_sqdist(embedding, negatives))
    worst = connectivity.edge_logits(pair_sqdist(embedding, violators))
    return (softplus(-on).sum() + weight * softplus(off).sum() + softplus(worst).sum()) / len(edges)


def pair_sqdist(embedding: VertexEmbedding, pairs: Tensor) -> Tensor:
    """D of chosen pairs, (N,)."""
    i, j = pairs.T
    space = (embedding.space[i] - embedding.space[j]).square().sum(-1)
    return space - (embedding.time[i] - embedding.time[j]).square().sum(-1)
