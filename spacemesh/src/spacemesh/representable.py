"""Any polygons made into a mesh that a rotation system describes, by turning faces over and splitting vertices."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .errors import NotRepresentable
from .halfedge import HalfedgeMesh
from .polygons import Polygons, canonical, validate_indices


@dataclass(frozen=True)
class Mended:
    """A mesh and what was done to get it.

    mesh: with vertices reordered. source: the input vertex of each vertex, (V,). faces: the input face of each face, in
    input order, (F,). dropped_faces, dropped_vertices, turned_faces, split_vertices: counts. cut_edges: edges along
    which faces were parted, because they had more than two sides or one-sided strips close there.
    """

    mesh: HalfedgeMesh
    source: Tensor
    faces: Tensor
    dropped_faces: int
    dropped_vertices: int
    turned_faces: int
    cut_edges: int
    split_vertices: int


def weld(vertices: Tensor, polygons: Sequence[Sequence[int]] | Tensor | Polygons) -> tuple[Tensor, Polygons]:
    """Make one vertex of all at exactly the same position, as files without shared vertices need.

    Args:
        vertices: (V, 3). polygons: lists of vertex indices, or an array (F, k).
    Returns:
        The vertices that are left, in order of first appearance, (V', 3), and the faces on them.
    Raises:
        NotRepresentable: no face, a corner that is no vertex, or a position that is not finite.
    """
    faces = Polygons.of(polygons)
    validate_indices(vertices, faces)
    place, first = {}, []
    renumber = []
    for index, position in enumerate(map(tuple, vertices.tolist())):
        if position not in place:
            place[position] = len(first)
            first.append(index)
        renumber.append(place[position])
    return vertices[first], Polygons(torch.tensor(renumber)[faces.corners], faces.face)


def make_representable(vertices: Tensor, polygons: Sequence[Sequence[int]] | Tensor | Polygons) -> Mended:
    """Turn, cut and split until the polygons are an oriented manifold; no position moves.

    What is one already comes back as it is. Otherwise:

    1. Faces with fewer than three distinct corners, or twice through a vertex, and equal faces after the first, are
    dropped.
    2. An edge with more than two sides is cut: its faces meet there no more.
    3. Each connected part is turned to one orientation; where a one-sided strip closes on itself its edge is cut.
    4. Every vertex becomes one vertex for each umbrella of faces around it.
    5. Vertices without faces are dropped.

    Raises:
        ValueError: `vertices` is not (V, 3). NotRepresentable: an index out of range, a position that is not finite, or
            nothing is left.
    """
    given = Polygons.of(polygons)
    validate_indices(vertices, given)
    try:
        mesh = HalfedgeMesh.from_polygons(vertices, given)
        return Mended(mesh, torch.arange(len(vertices)), torch.arange(len(given.sizes)), 0, 0, 0, 0, 0)
    except NotRepresentable:
        pass
    lists = given.lists()
    good, seen = [], set()
    for number, face in enumerate(lists):
        if len(set(face)) == len(face) and not canonical([face], oriented=False) <= seen:
            good.append(number)
            seen |= canonical([face], oriented=False)
    if not good:
        raise NotRepresentable("empty", "no face has three distinct corners")
    kept = [lists[number] for number in good]
    shared, cut_edges = pairs_across_edges(kept)
    turn, joined, closing = turned(len(kept), shared)
    kept = [face[::-1] if flip else face for face, flip in zip(kept, turn, strict=True)]
    corner_vertex, source = split_at_umbrellas(kept, joined)
    sizes = [len(face) for face in kept]
    faces = Polygons(corner_vertex, torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)))
    used = torch.unique(source)
    return Mended(
        mesh=HalfedgeMesh.from_polygons(vertices[source], faces),
        source=source,
        faces=torch.tensor(good),
        dropped_faces=len(lists) - len(good),
        dropped_vertices=len(vertices) - len(used),
        turned_faces=sum(turn),
        cut_edges=cut_edges + closing,
        split_vertices=len(source) - len(used),
    )


def pairs_across_edges(faces: Sequence[Sequence[int]]) -> tuple[list[tuple[int, int, int, int, bool]], int]:
    """The pairs of faces that meet along an edge with just two sides, and the number of edges with more.

    Each pair is (face, face, i, j, whether both run along the edge the same way).
    """
    sides: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    for number, face in enumerate(faces):
        for i, j in zip(face, [*face[1:], face[0]], strict=True):
            sides.setdefault((min(i, j), max(i, j)), []).append((number, i < j))
    pairs = [
        (sides_of[0][0], sides_of[1][0], i, j, sides_of[0][1] == sides_of[1][1])
        for (i, j), sides_of in sides.items()
        if len(sides_of) == 2
    ]
    return pairs, sum(len(sides_of) > 2 for sides_of in sides.values())


def turned(
    count: int, pairs: Sequence[tuple[int, int, int, int, bool]]
) -> tuple[list[bool], list[tuple[int, int, int, int]], int]:
    """Which faces to turn over so that neighbours agree, the pairs that then do, and how many do not.

    The majority of each connected part keeps its winding.
    """
    across: list[list[tuple[int, bool]]] = [[] for _ in range(count)]
    for a, b, _, _, against in pairs:
        across[a].append((b, against))
        across[b].append((a, against))
    turn: list[bool | None] = [None] * count
    for start in range(count):
        if turn[start] is not None:
            continue
        turn[start], part, waiting = False, [start], deque([start])
        while waiting:
            face = waiting.popleft()
            for other, against in across[face]:
                if turn[other] is None:
                    turn[other] = turn[face] != against
                    part.append(other)
                    waiting.append(other)
        if 2 * sum(turn[face] for face in part) > len(part):
            for face in part:
                turn[face] = not turn[face]
    agreeing = [(a, b, i, j) for a, b, i, j, against in pairs if (turn[a] != turn[b]) == against]
    return [bool(flip) for flip in turn], agreeing, len(pairs) - len(agreeing)


def split_at_umbrellas(
    faces: Sequence[Sequence[int]], joined: Sequence[tuple[int, int, int, int]]
) -> tuple[Tensor, Tensor]:
    """One vertex for each group of corners that are linked by edges in `joined`.

    Returns:
        The new vertex of each corner, (C,), and the old vertex of each new one, (V',). Where nothing is split and no
        vertex lacks a face, they are the old ones.
    """
    corner_of = {}
    flat = [vertex for face in faces for vertex in face]
    at = 0
    for number, face in enumerate(faces):
        for vertex in face:
            corner_of[number, vertex] = at
            at += 1
    links = [(corner_of[a, v], corner_of[b, v]) for a, b, i, j in joined for v in (i, j)]
    rows, columns = np.array(links, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(at, at))
    part = connected_components(graph, directed=False)[1]
    _, first = np.unique(part, return_index=True)
    order = np.lexsort((first, np.array(flat)[first]))  # by old vertex, then by first corner
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return torch.from_numpy(rank[part]).long(), torch.from_numpy(np.array(flat)[first][order]).long()
