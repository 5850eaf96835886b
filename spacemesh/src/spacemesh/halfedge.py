"""Halfedge meshes of polygons with any number of sides, closed by hole faces.

Every edge is two opposite halfedges. `next` maps a halfedge to the one after it in its face, `twin` to the opposite
one; succ = next ∘ twin permutes the halfedges that leave a vertex. A mesh with a boundary is kept as a closed surface
whose boundary loops are faces too, marked as holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .errors import NotRepresentable
from .orbits import orbits, places
from .polygons import Polygons, validate_corners, validate_indices


@dataclass(frozen=True, eq=False)
class HalfedgeMesh:
    """An oriented manifold polygon mesh. Build it with `from_polygons` or `from_rotation`.

    vertices: positions, shape (V, 3).
    tail, head: ends of the halfedges, sorted by (tail, head), int64, shape (H,); both directions of every edge.
    next: the halfedge after each in its face, int64, shape (H,).
    is_hole: whether a face is a hole, bool, shape (F,); faces are numbered by their first halfedge.
    """

    vertices: Tensor
    tail: Tensor
    head: Tensor
    next: Tensor
    is_hole: Tensor

    @staticmethod
    def from_polygons(vertices: Tensor, polygons: Sequence[Sequence[int]] | Tensor | Polygons) -> HalfedgeMesh:
        """The mesh of these faces; boundary loops become hole faces.

        Args:
            vertices: shape (V, 3). polygons: vertex indices of each face in order, seen from outside counter-clockwise.
        Raises:
            ValueError: wrong shapes.
            NotRepresentable: see `errors.FAULTS`; `make_representable` mends what can be mended.
        """
        faces = Polygons.of(polygons)
        validate_indices(vertices, faces)
        validate_corners(faces)
        tail, head = faces.corners, faces.corners[faces.following()]
        refuse_shared_edges(tail, head, faces.face)
        used = torch.bincount(tail, minlength=len(vertices)) > 0
        if not bool(used.all()):
            lonely = (~used).nonzero().flatten()
            raise NotRepresentable("isolated", f"vertices {_some(lonely)} belong to no face")
        return _closed(vertices, tail, head, faces.following())

    @staticmethod
    def from_rotation(vertices: Tensor, tail: Tensor, head: Tensor, succ: Tensor) -> HalfedgeMesh:
        """The closed mesh in which succ[i → j] = i → k wherever a face runs j → i → k.

        Theorem: if succ permutes the halfedges that leave each vertex, then next = succ ∘ twin is a bijection, so every
        halfedge lies on exactly one face: closed, oriented and edge-manifold. If it is one cycle at each vertex, the
        surface is manifold there as well.

        Args:
            vertices: shape (V, 3). tail, head: shape (H,), sorted, both directions of every edge. succ: shape (H,).
        Raises:
            ValueError: halfedges that are not sorted, without their twins, or a succ that leaves its vertex.
            NotRepresentable: two cycles at one vertex.
        """
        keys = tail * len(vertices) + head
        if len(keys) != len(succ) or not bool((keys[1:] > keys[:-1]).all()):
            raise ValueError(f"expected {len(succ)} halfedges sorted by (tail, head) and none twice, got {len(keys)}")
        if not torch.equal(torch.sort(head * len(vertices) + tail)[0], keys):
            raise ValueError("some halfedge has no twin")
        if not torch.equal(torch.sort(succ)[0], torch.arange(len(succ))) or not torch.equal(tail[succ], tail):
            raise ValueError("succ must permute the halfedges that leave each vertex")
        refuse_pinches(tail, succ)
        following = succ[twins(tail, head, len(vertices))]
        faces = int(orbits(following).max()) + 1 if len(following) else 0
        return HalfedgeMesh(vertices, tail, head, following, torch.zeros(faces, dtype=torch.bool))

    def with_holes(self, is_hole: Tensor) -> HalfedgeMesh:
        """The same surface with other faces taken for holes, bool, shape (F,).

        Raises:
            ValueError: another shape.
        """
        if is_hole.shape != self.is_hole.shape:
            raise ValueError(f"is_hole must be ({len(self.is_hole)},), got {tuple(is_hole.shape)}")
        return HalfedgeMesh(self.vertices, self.tail, self.head, self.next, is_hole)

    @cached_property
    def twin(self) -> Tensor:
        """The opposite halfedge, (H,)."""
        return twins(self.tail, self.head, len(self.vertices))

    @cached_property
    def succ(self) -> Tensor:
        """next ∘ twin: for i → j the i → k for which a face runs j → i → k, (H,)."""
        return self.next[self.twin]

    @cached_property
    def prev(self) -> Tensor:
        """The inverse of `next`, (H,)."""
        inverse = torch.empty_like(self.next)
        inverse[self.next] = torch.arange(len(self.next))
        return inverse

    @cached_property
    def face(self) -> Tensor:
        """The face of each halfedge, holes included, (H,)."""
        return orbits(self.next)

    @cached_property
    def edges(self) -> Tensor:
        """Pairs i < j, sorted, (E, 2)."""
        return torch.stack([self.tail, self.head], 1)[self.tail < self.head]

    @cached_property
    def hole_halfedges(self) -> Tensor:
        """Whether a halfedge lies on a hole, bool, (H,)."""
        return self.is_hole[self.face]

    @cached_property
    def component(self) -> Tensor:
        """The connected component of each vertex, (V,)."""
        size = len(self.vertices)
        ends = self.tail.numpy(), self.head.numpy()
        graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(size, size))
        return torch.from_numpy(connected_components(graph, directed=False)[1]).long()

    @property
    def euler_characteristic(self) -> int:
        """V - E + F, holes not counted."""
        return len(self.vertices) - len(self.edges) + int((~self.is_hole).sum())

    @cached_property
    def genera(self) -> Tensor:
        """Handles of each component once its holes are closed, (C,): V - E + F = 2 - 2 g."""
        count = int(self.component.max()) + 1 if len(self.vertices) else 0
        edges = torch.bincount(self.component[self.edges[:, 0]], minlength=count)
        first = torch.empty(len(self.is_hole), dtype=torch.long)
        first[self.face] = self.tail  # any vertex of the face
        faces = torch.bincount(self.component[first], minlength=count)
        return (2 - (torch.bincount(self.component, minlength=count) - edges + faces)) // 2

    @property
    def genus(self) -> int:
        """Handles of all components together."""
        return int(self.genera.sum())

    def polygons(self) -> Polygons:
        """The faces without holes, in order of their first halfedges."""
        return self._faces(~self.is_hole)

    def to_polygons(self) -> list[list[int]]:
        """The faces without holes, as lists of vertices."""
        return self.polygons().lists()

    def boundary_loops(self) -> list[list[int]]:
        """The vertices along each hole, the way its halfedges run."""
        return self._faces(self.is_hole).lists() if bool(self.is_hole.any()) else []

    def mirrored(self) -> HalfedgeMesh:
        """The mesh turned inside out: every face runs the other way. It is succ reversed at every vertex."""
        inverse = torch.empty_like(self.succ)
        inverse[self.succ] = torch.arange(len(self.succ))
        turned = HalfedgeMesh.from_rotation(self.vertices, self.tail, self.head, inverse)
        hole = torch.zeros(len(turned.is_hole), dtype=torch.bool)
        hole[turned.face[self.twin]] = self.hole_halfedges
        return turned.with_holes(hole)

    def check(self) -> None:
        """Refuse a mesh whose parts do not fit.

        Raises:
            ValueError: from `from_rotation`.
            NotRepresentable: a pinched vertex, or holes that touch, so that the vertex between has two umbrellas.
        """
        HalfedgeMesh.from_rotation(self.vertices, self.tail, self.head, self.succ)
        at_hole = torch.bincount(self.tail[self.hole_halfedges], minlength=len(self.vertices))
        if bool((at_hole > 1).any()):
            raise NotRepresentable("pinch", f"vertices {_some((at_hole > 1).nonzero().flatten())} touch holes twice")

    def _faces(self, keep: Tensor) -> Polygons:
        order = torch.argsort(self.face * len(self.face) + places(self.next, self.face))
        return Polygons(self.tail[order], self.face[order]).kept(keep)


def twins(tail: Tensor, head: Tensor, num_vertices: int) -> Tensor:
    """For sorted halfedges the index of the opposite one of each, (H,)."""
    return torch.searchsorted(tail * num_vertices + head, head * num_vertices + tail)


def refuse_shared_edges(tail: Tensor, head: Tensor, face: Tensor) -> None:
    """Raise NotRepresentable when two faces run along an edge the same way: winding, one side only, or a third face."""
    size = int(max(tail.max(), head.max())) + 1
    key, order = torch.sort(tail * size + head, stable=True)
    same = (key[1:] == key[:-1]).nonzero().flatten()
    if not len(same):
        return
    first, second = order[same[0]], order[same[0] + 1]
    i, j = int(tail[first]), int(head[first])
    sides = int(((tail == i) & (head == j)).sum() + ((tail == j) & (head == i)).sum())
    both = f"faces {int(face[first])} and {int(face[second])} both run {i} -> {j}"
    if sides > 2:
        raise NotRepresentable("edge", f"{both}, of {sides} sides")
    raise NotRepresentable("non-orientable" if one_sided(tail, head, face) else "winding", both)


def one_sided(tail: Tensor, head: Tensor, face: Tensor) -> bool:
    """Whether some strip of faces, joined along edges of two sides, comes back turned over: no winding would suit it.

    In the double cover, where every face is there both ways, such a strip joins a face to itself turned over.
    """
    count, size = int(face.max()) + 1, int(max(tail.max(), head.max())) + 1
    _, edge, sides = torch.unique(
        torch.minimum(tail, head) * size + torch.maximum(tail, head), return_inverse=True, return_counts=True
    )
    of_two = torch.argsort(edge, stable=True)
    a, b = of_two[sides[edge[of_two]] == 2].reshape(-1, 2).T
    against = (tail[a] == tail[b]).long() * count
    one = torch.cat([face[a], face[a] + count]).numpy()
    other = torch.cat([face[b] + against, face[b] + count - against]).numpy()
    cover = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(2 * count, 2 * count))
    part = connected_components(cover, directed=False)[1]
    return bool((part[:count] == part[count:]).any())


def refuse_pinches(tail: Tensor, succ: Tensor) -> None:
    """Raise NotRepresentable when the halfedges that leave a vertex are more than one cycle of succ."""
    orbit = orbits(succ)
    count = int(orbit.max()) + 1 if len(orbit) else 0
    vertex = torch.empty(count, dtype=torch.long)
    vertex[orbit] = tail
    sheets = torch.bincount(vertex)
    if bool((sheets > 1).any()):
        where = (sheets > 1).nonzero().flatten()
        raise NotRepresentable("pinch", f"vertices {_some(where)} have several umbrellas")


def _closed(vertices: Tensor, tail: Tensor, head: Tensor, following: Tensor) -> HalfedgeMesh:
    """Add the halfedges of holes, sort, and check the umbrellas. `following` is `next` of the halfedges of faces."""
    size = len(vertices)
    keys, reverse = tail * size + head, head * size + tail
    open_ = ~torch.isin(reverse, keys)
    out, into = head[open_], tail[open_]  # a hole runs against its neighbours
    starts = torch.bincount(out, minlength=size)
    if bool((starts > 1).any()):
        raise NotRepresentable("pinch", f"vertices {_some((starts > 1).nonzero().flatten())} lie on two boundary loops")
    hole_at = torch.full((size,), -1)
    hole_at[out] = torch.arange(len(out)) + len(tail)
    nexts = torch.cat([following, hole_at[into]])
    all_tail, all_head = torch.cat([tail, out]), torch.cat([head, into])
    order = torch.argsort(all_tail * size + all_head)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    tail, head, nexts = all_tail[order], all_head[order], rank[nexts[order]]
    refuse_pinches(tail, nexts[twins(tail, head, size)])
    face = orbits(nexts)
    is_hole = torch.zeros(int(face.max()) + 1, dtype=torch.bool)
    is_hole[face] = order >= len(following)
    return HalfedgeMesh(vertices, tail, head, nexts, is_hole)


def _some(which: Tensor, most: int = 5) -> str:
    shown = ", ".join(str(int(v)) for v in which[:most])
    return shown + (f" and {len(which) - most} more" if len(which) > most else "")
