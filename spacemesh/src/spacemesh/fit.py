"""Fit the embedding of one mesh until it decodes to exactly that mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import coo_array, triu
from torch import Tensor, nn

from .connectivity import Connectivity, Targets, pair_sqdist, sampled_edge_loss
from .decode import Decoded, decode
from .embedding import EmbeddingSizes, VertexEmbedding, initial_vectors
from .halfedge import HalfedgeMesh
from .metrics import EdgeScores, edge_scores, same_mesh
from .spacetime import decode_edges, decode_edges_pruned, spectral_embedding

LARGEST_HUB = 256  # pairs of neighbours of larger ones are left to chance and to mining


@dataclass(frozen=True)
class FitSettings:
    """How to fit one mesh.

    sizes: of the embedding; with hole dimensions where the mesh has a boundary. steps: at most. rate: of Adam, and
    `large_rate` on a mesh whose negatives are sampled. spectral: begin at the graph's eigenvectors, not at noise.
    seed: of the noise. check_every: steps between checks.
    dense_limit: above as many vertices negatives are sampled, `negatives` for each edge, and violators mined.

    Raises:
        ValueError: no steps, or a rate that is not positive.
    """

    sizes: EmbeddingSizes = field(default_factory=EmbeddingSizes)
    steps: int = 500
    rate: float = 0.05
    large_rate: float = 0.01
    spectral: bool = True
    seed: int = 0
    check_every: int = 10
    dense_limit: int = 2500
    negatives: int = 4

    def __post_init__(self):
        if (
            min(self.steps, self.check_every, self.negatives, self.dense_limit) < 1
            or not min(self.rate, self.large_rate) > 0
        ):
            raise ValueError(f"steps, check_every, negatives, dense_limit and rates must be positive, got {self}")


@dataclass(frozen=True)
class FitResult:
    """An embedding and what it decodes to.

    exact: every face and every hole is recovered. steps: taken until then, or all. history: (step, scores of edges) of
    the checks.
    """

    embedding: VertexEmbedding
    connectivity: Connectivity
    decoded: Decoded
    exact: bool
    steps: int
    history: list[tuple[int, EdgeScores]]


def fit_mesh(
    mesh: HalfedgeMesh, settings: FitSettings | None = None, progress: Callable[[int, EdgeScores], None] | None = None
) -> FitResult:
    """Fit until the decoded mesh equals the given one, or for `settings.steps`.

    Args:
        mesh: V vertices. progress: called at every check.
    Raises:
        ValueError: the mesh has a boundary and the embedding no hole dimensions.
        NotRepresentable: from `mesh.check()`.
    """
    settings = settings or FitSettings()
    mesh.check()
    if bool(mesh.is_hole.any()) and not settings.sizes.hole:
        raise ValueError("the mesh has a boundary: give EmbeddingSizes(hole=2) or more")
    targets = Targets.of(mesh)
    vectors, connectivity = starting_point(mesh, settings)
    sampler = PairSampler(mesh, settings) if len(mesh.vertices) > settings.dense_limit else None
    rate = settings.large_rate if sampler else settings.rate
    optimizer = torch.optim.Adam([vectors, *connectivity.parameters()], lr=rate)
    history = []
    for step in range(settings.steps + 1):
        embedding = VertexEmbedding.of(vectors, settings.sizes)
        if step % settings.check_every == 0 or step == settings.steps:
            edges = found_edges(embedding, connectivity)
            scores = edge_scores(edges, mesh.edges, len(mesh.vertices))
            history.append((step, scores))
            if progress:
                progress(step, scores)
            if sampler:
                sampler.mine(edges)
            if scores.exact or step == settings.steps:
                decoded = decode(
                    mesh.vertices, embedding, float(connectivity.tau.detach()), float(connectivity.hole_bias.detach())
                )
                exact = same_mesh(decoded, mesh)
                if exact or step == settings.steps:
                    return FitResult(embedding.detached(), connectivity, decoded, exact, step, history)
        if sampler:
            negatives, weight = sampler.draw(step)
            loss = sampled_edge_loss(connectivity, embedding, mesh.edges, negatives, weight, sampler.hard)
            loss = loss + connectivity.face_loss(embedding, targets)
        else:
            loss = connectivity.loss(embedding, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError("the last step returns")


def starting_point(mesh: HalfedgeMesh, settings: FitSettings) -> tuple[nn.Parameter, Connectivity]:
    """Noise, over whose edge part the graph's eigenvectors are laid, scaled so that τ = 1."""
    sizes, count = settings.sizes, len(mesh.vertices)
    vectors = initial_vectors(count, sizes, torch.Generator().manual_seed(settings.seed))
    if not settings.spectral:
        return nn.Parameter(vectors), Connectivity()
    large = count > settings.dense_limit  # few eigenvectors of a large graph are smooth: as coordinates, without time
    space, time, tau = spectral_embedding(mesh.edges, count, sizes.space, 0 if large else sizes.time)
    if large:
        tau = float(pair_sqdist(VertexEmbedding(space, time, *[time] * 5), mesh.edges).quantile(0.9))
    scale = 1 / tau if tau > 0 else 1.0
    vectors[:, : sizes.space] = space * scale**0.5
    if not large:
        vectors[:, sizes.space : sizes.space + sizes.time] = time * scale**0.5
    return nn.Parameter(vectors), Connectivity(tau=tau * scale)


def found_edges(embedding: VertexEmbedding, connectivity: Connectivity) -> Tensor:
    """The edges of an embedding as it is now."""
    now = embedding.detached()
    scan = decode_edges_pruned if len(now.space) > 4000 else decode_edges
    return scan(now.space, now.time, float(connectivity.tau.detach()))


class PairSampler:
    """Negatives for a mesh with too many pairs: neighbours of neighbours, random pairs, and what a scan took for
    edges.
    """

    def __init__(self, mesh: HalfedgeMesh, settings: FitSettings):
        self.count = len(mesh.vertices)
        self.keys = mesh.edges[:, 0] * self.count + mesh.edges[:, 1]
        self.wanted = settings.negatives * len(mesh.edges)
        self.seed = settings.seed
        self.pairs = self.count * (self.count - 1) / 2 - len(mesh.edges)
        self.hard = torch.zeros(0, 2, dtype=torch.long)
        self.hard_keys = self.keys[:0]
        self.mine(two_hops(mesh, 20 * len(mesh.edges)))

    def draw(self, step: int) -> tuple[Tensor, float]:
        """Random pairs that are neither edges nor hard, and how many each stands for; from seed and step alone."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        pairs = torch.sort(torch.randint(self.count, (self.wanted, 2), generator=generator), dim=1)[0]
        pairs = self.unknown(pairs[pairs[:, 0] < pairs[:, 1]])
        return pairs, self.pairs / max(len(pairs), 1)  # none where all are hard

    def mine(self, edges: Tensor) -> None:
        """Make the pairs that are no edges hard ones, at most a few million at a time."""
        found = self.unknown(edges)[:4_000_000]
        self.hard = torch.cat([self.hard, found])
        self.hard_keys = torch.sort(self.hard[:, 0] * self.count + self.hard[:, 1])[0]
        self.pairs -= len(found)

    def unknown(self, pairs: Tensor) -> Tensor:
        """The pairs that are neither edges nor hard already."""
        keys = pairs[:, 0] * self.count + pairs[:, 1]
        return pairs[~(is_in(keys, self.keys) | is_in(keys, self.hard_keys))]


def is_in(keys: Tensor, table: Tensor) -> Tensor:
    """Which keys are in a sorted table."""
    if not len(table):
        return torch.zeros(len(keys), dtype=torch.bool)
    return table[torch.searchsorted(table, keys).clamp_max(len(table) - 1)] == keys


def two_hops(mesh: HalfedgeMesh, most: int) -> Tensor:
    """Pairs i < j with a common neighbour that is no hub, each once, at most so many (chosen evenly), (N, 2)."""
    count = len(mesh.vertices)
    ends = mesh.tail.numpy(), mesh.head.numpy()
    adjacency = coo_array((np.ones(len(ends[0]), dtype=np.float32), ends), shape=(count, count)).tocsr()
    through = np.flatnonzero(np.diff(adjacency.indptr) <= LARGEST_HUB)
    i, j = triu(adjacency[:, through] @ adjacency[through], 1).nonzero()
    pairs = torch.from_numpy(np.stack([i, j], 1)).long()
    return pairs[:: max(1, -(-len(pairs) // most))]
