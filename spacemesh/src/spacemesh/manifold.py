"""Whether polygons are a manifold, found from the polygons alone: no halfedges, nothing that a decoder made.

Also for input that nothing else here accepts, so that `check` can say all that is wrong with a file at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ManifoldReport:
    """What is true of a polygon mesh.

    shared_edges: edges (i, j) with more than two sides. wound_edges: edges whose two sides run the same way.
    pinched: vertices whose faces are more than one umbrella. isolated: vertices without a face.
    degenerate: faces with fewer than three distinct corners, one twice running, or a way back along the same edge.
    visited_twice: faces that touch a vertex twice.
    boundary_edges: edges with one side.
    """

    faces: int
    edges: int
    vertices: int
    shared_edges: list[tuple[int, int]]
    wound_edges: list[tuple[int, int]]
    pinched: list[int]
    isolated: list[int]
    degenerate: list[int]
    visited_twice: list[int]
    boundary_edges: int

    @property
    def edge_manifold(self) -> bool:
        """There are faces, and every edge has one or two sides."""
        return self.faces > 0 and not self.shared_edges and not self.degenerate

    @property
    def oriented(self) -> bool:
        """The two sides of every edge run opposite ways."""
        return self.edge_manifold and not self.wound_edges

    @property
    def vertex_manifold(self) -> bool:
        """Edge-manifold, and one umbrella, open or closed, at every vertex that has a face."""
        return self.edge_manifold and not self.pinched

    @property
    def closed(self) -> bool:
        """Every edge has two sides."""
        return self.edge_manifold and not self.boundary_edges


def manifold_report(faces: Sequence[Sequence[int]], num_vertices: int) -> ManifoldReport:
    """Count sides of edges and umbrellas of vertices.

    Two corners at a vertex belong to one umbrella when they share an edge; a vertex has as many umbrellas as its
    corners have connected parts.
    """
    sides: dict[tuple[int, int], list[tuple[int, int, bool]]] = defaultdict(list)  # corners at both ends, i < j or not
    corners: dict[int, list[int]] = defaultdict(list)
    umbrella: list[int] = []  # union-find over corners
    degenerate, twice = [], []
    for number, face in enumerate(faces):
        if len(set(face)) < 3 or any(face[at] in (face[at - 1], face[at - 2]) for at in range(len(face))):
            degenerate.append(number)
            continue
        if len(set(face)) < len(face):
            twice.append(number)
        own = list(range(len(umbrella), len(umbrella) + len(face)))
        umbrella += own
        for i, j, at_i, at_j in zip(face, [*face[1:], face[0]], own, [*own[1:], own[0]], strict=True):
            corners[i].append(at_i)
            sides[min(i, j), max(i, j)].append((at_i, at_j, True) if i < j else (at_j, at_i, False))

    def find(corner: int) -> int:
        while umbrella[corner] != corner:
            umbrella[corner] = umbrella[umbrella[corner]]
            corner = umbrella[corner]
        return corner

    for (low, high, _), *others in sides.values():
        for other_low, other_high, _ in others:
            umbrella[find(low)] = find(other_low)
            umbrella[find(high)] = find(other_high)
    return ManifoldReport(
        faces=len(faces) - len(degenerate),
        edges=len(sides),
        vertices=len(corners),
        shared_edges=[edge for edge, meeting in sides.items() if len(meeting) > 2],
        wound_edges=[edge for edge, meeting in sides.items() if len(meeting) == 2 and meeting[0][2] == meeting[1][2]],
        pinched=sorted(v for v, own in corners.items() if len({find(c) for c in own}) > 1),
        isolated=[v for v in range(num_vertices) if v not in corners],
        degenerate=degenerate,
        visited_twice=twice,
        boundary_edges=sum(len(meeting) == 1 for meeting in sides.values()),
    )
