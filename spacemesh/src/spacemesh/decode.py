"""From any numbers to a manifold polygon mesh: edges, their 2-core, a cycle at each vertex, faces as orbits, holes."""

from __future__ import annotations

import time as clock
from dataclasses import dataclass

import torch
from torch import Tensor

from .core import two_core
from .cycles import decode_cycles
from .embedding import VertexEmbedding
from .halfedge import HalfedgeMesh
from .neighbourhoods import buckets, halfedges_of
from .permutation import DECODING_ITERATIONS, no_fixed_point, permutation_scores, sinkhorn_log
from .spacetime import decode_edges

LARGEST = 1e30  # scores are kept below, so that no difference of them is NaN


@dataclass(frozen=True)
class Decoded:
    """A mesh and what decoding left out.

    mesh: its vertices are those that have a face. source: the vertex of the input that each was, (V,).
    num_vertices: of the input. dropped_vertices: with fewer than two neighbours in the 2-core. dropped_edges: outside
    it.
    seconds: by stage.
    """

    mesh: HalfedgeMesh
    source: Tensor
    num_vertices: int
    dropped_vertices: int
    dropped_edges: int
    seconds: dict[str, float]

    def polygons(self) -> list[list[int]]:
        """The faces in the numbering of the input."""
        polygons = self.mesh.polygons()
        return type(polygons)(self.source[polygons.corners], polygons.face).lists() if len(polygons.face) else []


def decode(
    positions: Tensor, embedding: VertexEmbedding, tau: float, hole_bias: float = 0.0, block: int = 256
) -> Decoded:
    """The polygon mesh that the embedding of these vertices describes: manifold for any values.

    Args:
        positions: (V, 3), carried along. embedding: of the same V vertices. tau: τ. hole_bias: b of the hole logit
            ⟨u_i, v_j⟩ + b, used where the embedding has hole parts. block: rows of the edge scan.
    Raises:
        ValueError: positions and embedding of different lengths.
    """
    if len(positions) != len(embedding.space):
        raise ValueError(f"{len(positions)} positions and {len(embedding.space)} embedded vertices")
    embedding = embedding.detached()
    watch = Stopwatch()
    edges = decode_edges(embedding.space, embedding.time, tau, block)
    watch.lap("edges")
    return decode_faces(positions, edges, embedding, hole_bias, watch)


def decode_faces(
    positions: Tensor,
    edges: Tensor,
    embedding: VertexEmbedding,
    hole_bias: float = 0.0,
    watch: Stopwatch | None = None,
) -> Decoded:
    """The same from given edges (E, 2), i < j, each once."""
    watch = watch or Stopwatch()
    core, dropped = two_core(edges, len(positions))
    source = torch.unique(core)
    renumber = torch.full((len(positions),), -1)
    renumber[source] = torch.arange(len(source))
    tail, head = halfedges_of(renumber[core], len(source))
    watch.lap("2-core and halfedges")
    kept = embedding.at(source)
    succ = decode_succ(tail, head, len(source), kept)
    watch.lap("cycles")
    mesh = HalfedgeMesh.from_rotation(positions.detach().cpu()[source], tail, head, succ)
    watch.lap("faces")
    if kept.hole_tail.shape[-1]:
        logits = hole_logits(kept, mesh.tail, mesh.head, hole_bias)
        mesh = mesh.with_holes(holes(mesh, logits))
        watch.lap("holes")
    return Decoded(mesh, source, len(positions), len(positions) - len(source), dropped, watch.laps)


def decode_succ(tail: Tensor, head: Tensor, num_vertices: int, embedding: VertexEmbedding) -> Tensor:
    """The halfedge that follows each around its tail, (H,): one cycle at every vertex.

    Args:
        tail, head: sorted halfedges of a graph whose vertices all have two neighbours or more.
    """
    succ = torch.empty_like(tail)
    for bucket in buckets(tail, head, num_vertices):
        for part in torch.arange(len(bucket.vertices)).split(max(1, 4_000_000 // bucket.degree**2)):
            heads = bucket.heads[part]
            scores = permutation_scores(
                embedding.root[bucket.vertices[part]], embedding.prev[heads], embedding.next[heads]
            )
            scores = scores.nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)
            log_p = sinkhorn_log(scores, DECODING_ITERATIONS, no_fixed_point(bucket.degree))
            order = decode_cycles(log_p)
            succ[bucket.halfedges[part]] = bucket.halfedges[part].gather(1, order)
    return succ


def hole_logits(embedding: VertexEmbedding, tail: Tensor, head: Tensor, bias: float | Tensor) -> Tensor:
    """⟨u_i, v_j⟩ + b for the halfedges i → j, (H,)."""
    return (embedding.hole_tail[tail] * embedding.hole_head[head]).sum(-1) + bias


def holes(mesh: HalfedgeMesh, logits: Tensor) -> Tensor:
    """Which faces of a closed mesh are holes, bool (F,): mean logit above 0, surest first, none touching another.

    Two holes that share a vertex would pinch it, as would one that passes it twice: the less sure of them stays a face.
    """
    count = torch.bincount(mesh.face)
    mean = torch.zeros(len(count)).index_add_(0, mesh.face, logits.float().nan_to_num()) / count
    is_hole = torch.zeros(len(count), dtype=torch.bool)
    candidates = (mean > 0).nonzero().flatten()
    if not len(candidates):
        return is_hole
    order = torch.argsort(mesh.face, stable=True)
    corners = mesh.tail[order].split(count.tolist())
    taken: set[int] = set()
    for face in candidates[torch.argsort(-mean[candidates], stable=True)].tolist():
        own = corners[face].tolist()
        if len(set(own)) == len(own) and taken.isdisjoint(own):
            is_hole[face] = True
            taken.update(own)
    return is_hole


class Stopwatch:
    """Seconds by stage."""

    def __init__(self):
        self.laps: dict[str, float] = {}
        self._last = clock.perf_counter()

    def lap(self, name: str) -> None:
        """The time since the last lap is this stage's."""
        now = clock.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now
