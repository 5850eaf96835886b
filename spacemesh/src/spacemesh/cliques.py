"""What decoders of edges do elsewhere: every triangle of edges is a face, perhaps every ring of four as well.

Nothing keeps an edge at two sides then, and faces of five sides or more cannot come out.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

from torch import Tensor


def clique_faces(edges: Tensor, quads: bool = False) -> list[list[int]]:
    """All 3-cliques of the edges (E, 2), and with `quads` all rings of four without a chord; unoriented."""
    neighbours: dict[int, set[int]] = defaultdict(set)
    for i, j in edges.tolist():
        neighbours[i].add(j)
        neighbours[j].add(i)
    triangles = [
        [i, j, k]
        for i in sorted(neighbours)
        for j in neighbours[i]
        if j > i
        for k in neighbours[i] & neighbours[j]
        if k > j
    ]
    return triangles + (chordless_rings(neighbours) if quads else [])


def chordless_rings(neighbours: dict[int, set[int]]) -> list[list[int]]:
    """Rings i, j, k, l without the edges i-k and j-l; i is the smallest."""
    rings = []
    for i in sorted(neighbours):
        for j, other in combinations(sorted(v for v in neighbours[i] if v > i), 2):
            if other in neighbours[j]:
                continue
            rings += [[i, j, k, other] for k in neighbours[j] & neighbours[other] if k > i and k not in neighbours[i]]
    return rings
