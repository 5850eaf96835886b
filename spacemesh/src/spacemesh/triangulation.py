"""Triangulation that keeps a manifold a manifold: a diagonal must not repeat an edge that is there already."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .halfedge import HalfedgeMesh


def triangulate(mesh: HalfedgeMesh, safe: bool = True) -> tuple[Tensor, Tensor]:
    """Vertices and triangles of a polygon mesh.

    Cutting a face along a diagonal that is an edge elsewhere gives that edge four sides. The safe way takes free
    diagonals, ear by ear, or else adds a vertex at the middle of the face; a face that visits a vertex twice gets one
    too. The plain way is the fan that most readers of polygon files cut.

    Args:
        mesh: V vertices. safe: keep every edge at two sides.
    Returns:
        Vertices (V + added, 3), triangles (T, 3).
    """
    taken = {(int(i), int(j)) for i, j in mesh.edges}
    places = mesh.vertices.tolist()
    triangles: list[tuple[int, int, int]] = []
    middles: list[Tensor] = []
    for face in mesh.to_polygons():
        if not safe:
            triangles += [(face[0], face[i], face[i + 1]) for i in range(1, len(face) - 1)]
            continue
        cut = cut_ears(face, taken, places)
        if cut is None:
            middle = len(mesh.vertices) + len(middles)
            middles.append(mesh.vertices[face].mean(0))
            cut = [(i, j, middle) for i, j in zip(face, [*face[1:], face[0]], strict=True)]
            # a face along both sides of an edge, or twice through a corner, would meet its middle by one edge twice
            if len(set(face)) < len(face):
                cut, more = _with_ring(face, mesh.vertices, middle)
                middles += more
        triangles += cut
    added = torch.stack(middles) if middles else mesh.vertices.new_zeros(0, 3)
    return torch.cat([mesh.vertices, added]), torch.tensor(triangles, dtype=torch.long).reshape(-1, 3)


def cut_ears(
    face: list[int], taken: set[tuple[int, int]], vertices: list[list[float]]
) -> list[tuple[int, int, int]] | None:
    """Triangles along free diagonals, which are added to `taken`; None, and `taken` as it was, when there are none.

    The ear with the shortest diagonal goes first.
    """
    if len(set(face)) < len(face):
        return None
    left, triangles, added = list(face), [], []
    while len(left) > 3:
        ears = []
        for at, corner in enumerate(left):
            before, after = left[at - 1], left[(at + 1) % len(left)]
            diagonal = (min(before, after), max(before, after))
            if diagonal not in taken:
                length = math.dist(vertices[before], vertices[after])
                ears.append((length, at, (before, corner, after), diagonal))
        if not ears:
            taken.difference_update(added)
            return None
        _, at, triangle, diagonal = min(ears)
        triangles.append(triangle)
        taken.add(diagonal)
        added.append(diagonal)
        del left[at]
    return [*triangles, (left[0], left[1], left[2])]


def _with_ring(face: list[int], vertices: Tensor, middle: int) -> tuple[list[tuple[int, int, int]], list[Tensor]]:
    """Triangles of a face that visits a vertex twice: a ring of one new vertex a corner around the middle."""
    count = len(face)
    ring = list(range(middle + 1, middle + 1 + count))
    centre = vertices[face].mean(0)
    cut = []
    for at in range(count):
        after = (at + 1) % count
        cut.append((face[at], face[after], ring[at]))
        cut.append((face[after], ring[after], ring[at]))
        cut.append((ring[at], ring[after], middle))
    return cut, [(vertices[corner] + centre) / 2 for corner in face]
