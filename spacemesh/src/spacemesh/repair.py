"""Repair: fill a hole with faces that a learned embedding proposes; what was there stays, to the bit.

Decoding is constrained. Pairs of vertices whose umbrellas are complete keep their edges. At a vertex on the rim the
known arcs j → k of σ are contracted to paths, and only ends of paths are linked, so every vertex still has a single
cycle.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .core import two_core
from .cycles import decode_cycles
from .decode import LARGEST
from .embedding import VertexEmbedding
from .halfedge import HalfedgeMesh
from .neighbourhoods import halfedges_of
from .permutation import DECODING_ITERATIONS, no_fixed_point, permutation_scores, sinkhorn_log
from .polygons import Polygons, canonical, validate_indices
from .spacetime import interval_factors


@dataclass(frozen=True)
class Repaired:
    """A closed mesh that keeps the intact faces.

    polygons: all faces in the numbering of the input. new_faces: those that were not there. mesh: on the vertices that
    have a face. source: their numbers in the input, (V',).
    """

    mesh: HalfedgeMesh
    source: Tensor
    polygons: list[list[int]]
    new_faces: list[list[int]]


def repair_mesh(
    vertices: Tensor, intact: list[list[int]] | Polygons, embedding: VertexEmbedding, tau: float
) -> Repaired:
    """Close the surface of the intact faces with faces on the given vertices.

    Args:
        vertices: all of them, those inside the holes too, (V, 3). intact: faces to keep. embedding: of the V vertices,
            of a model that saw their positions. tau: τ of that model.
    Raises:
        NotRepresentable: the intact faces are no oriented manifold; vertices without a face are what repair is for.
    """
    faces = Polygons.of(intact)
    count = len(vertices)
    known = known_arcs(vertices, faces)
    edges = constrained_edges(embedding.detached(), tau, known, count)
    tail, head = halfedges_of(edges, count)
    succ = constrained_succ(tail, head, embedding.detached(), known)
    source = torch.unique(tail)
    renumber = torch.full((count,), -1)
    renumber[source] = torch.arange(len(source))
    mesh = HalfedgeMesh.from_rotation(vertices[source], renumber[tail], renumber[head], succ)
    polygons = [[int(source[v]) for v in face] for face in mesh.to_polygons()]
    kept = canonical(faces.lists())
    new = [face for face in polygons if not canonical([face]) <= kept]
    return Repaired(mesh, source, polygons, new)


@dataclass(frozen=True)
class KnownArcs:
    """What intact faces say of the surface.

    after: σ_i(j) = k for every corner (i, j, k), as {i: {j: k}}. edges: of intact faces, (E, 2), i < j.
    complete: vertices whose intact faces are a whole umbrella, bool, (V,).
    """

    after: dict[int, dict[int, int]]
    edges: Tensor
    complete: Tensor


def known_arcs(vertices: Tensor, faces: Polygons) -> KnownArcs:
    """Read them off the faces, refusing faces that are no oriented manifold with boundary."""
    validate_indices(vertices, faces)
    used = torch.unique(faces.corners)
    renumber = torch.full((len(vertices),), -1)
    renumber[used] = torch.arange(len(used))
    HalfedgeMesh.from_polygons(vertices[used], Polygons(renumber[faces.corners], faces.face))
    after: dict[int, dict[int, int]] = {}
    for face in faces.lists():
        for at, i in enumerate(face):
            after.setdefault(i, {})[face[at - 1]] = face[(at + 1) % len(face)]
    edges = {(min(i, j), max(i, j)) for i, arcs in after.items() for j in [*arcs, *arcs.values()]}
    complete = torch.zeros(len(vertices), dtype=torch.bool)
    complete[[i for i, arcs in after.items() if set(arcs) == set(arcs.values())]] = True
    return KnownArcs(after, torch.tensor(sorted(edges)).reshape(-1, 2), complete)


def constrained_edges(embedding: VertexEmbedding, tau: float, known: KnownArcs, count: int) -> Tensor:
    """Intact edges, and those that the embedding proposes between vertices whose umbrellas are not complete.

    A new vertex of degree one would be lost, one inside with too few neighbours is dropped; the rim's edges stay.
    """
    open_ = (~known.complete).nonzero().flatten()
    left, right = interval_factors(embedding.space[open_], embedding.time[open_])
    near = ((left @ right.T) < tau).triu(1).nonzero()
    proposed = torch.sort(open_[near], dim=1)[0]
    keys = torch.unique(torch.cat([proposed, known.edges]), dim=0)
    core, _ = two_core(keys, count)
    return core


def constrained_succ(tail: Tensor, head: Tensor, embedding: VertexEmbedding, known: KnownArcs) -> Tensor:
    """succ of every halfedge, (H,): known arcs as they are, the rest by the best cycle through them."""
    succ = torch.empty_like(tail)
    first = torch.searchsorted(tail, torch.arange(int(tail.max()) + 2))
    for vertex in torch.unique(tail).tolist():
        start, stop = int(first[vertex]), int(first[vertex + 1])
        neighbours = head[start:stop]
        place = {int(v): at for at, v in enumerate(neighbours)}
        arcs = {place[j]: place[k] for j, k in known.after.get(vertex, {}).items()}
        order = arcs if len(arcs) == len(place) else linked(vertex, neighbours, arcs, embedding)
        succ[start:stop] = start + torch.tensor([order[at] for at in range(len(place))])
    return succ


def linked(vertex: int, neighbours: Tensor, arcs: dict[int, int], embedding: VertexEmbedding) -> dict[int, int]:
    """One cycle through all neighbours that contains the given arcs, of largest Σ log P.

    Arcs are contracted: a path from a to z is one element, entered at a and left at z.
    """
    entries = [at for at in range(len(neighbours)) if at not in set(arcs.values())]
    exits = []
    for entry in entries:
        while entry in arcs:
            entry = arcs[entry]
        exits.append(entry)
    if len(entries) == 1:
        return {**arcs, exits[0]: entries[0]}
    scores = permutation_scores(
        embedding.root[vertex], embedding.prev[neighbours[exits]], embedding.next[neighbours[entries]]
    )
    scores = scores.nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)
    log_p = sinkhorn_log(scores[None], DECODING_ITERATIONS, no_fixed_point(len(entries)))
    after = decode_cycles(log_p)[0].tolist()
    return {**arcs, **{exits[path]: entries[other] for path, other in enumerate(after)}}
