"""Meshes of different sizes as one batch: positions padded, halfedges side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .connectivity import Targets
from .halfedge import HalfedgeMesh
from .neighbourhoods import buckets


class MeshBatch(NamedTuple):
    """B meshes of up to V vertices.

    positions: padded with zeros, (B, V, 3). sizes: vertices of each, (B,). edges: pairs within a mesh, (E, 2).
    edge_mesh: the mesh of each edge, (E,). tail, head, succ, hole: halfedges, (H,), whose vertices are numbered
    through.
    index: the number of each mesh in its dataset, (B,). cloud: points with normals on each, (B, P, 6); P may be 0.
    """

    positions: Tensor
    sizes: Tensor
    edges: Tensor
    edge_mesh: Tensor
    tail: Tensor
    head: Tensor
    succ: Tensor
    hole: Tensor
    index: Tensor
    cloud: Tensor

    @staticmethod
    def of(
        meshes: Sequence[HalfedgeMesh], index: Sequence[int] | None = None, clouds: Sequence[Tensor] | None = None
    ) -> MeshBatch:
        """Collate; numbered from 0 if not told otherwise."""
        sizes = torch.tensor([len(mesh.vertices) for mesh in meshes])
        positions = torch.nn.utils.rnn.pad_sequence([mesh.vertices.float() for mesh in meshes], batch_first=True)
        sides = Targets.side_by_side(list(meshes))
        edge_mesh = torch.cat([torch.full((len(mesh.edges),), i) for i, mesh in enumerate(meshes)])
        edges = torch.cat([mesh.edges for mesh in meshes])
        numbers = list(range(len(meshes)) if index is None else index)
        cloud = torch.zeros(len(meshes), 0, 6) if clouds is None else torch.stack(list(clouds))
        halfedges = sides.tail, sides.head, sides.succ, sides.hole
        return MeshBatch(positions, sizes, edges, edge_mesh, *halfedges, torch.as_tensor(numbers), cloud)

    @property
    def mask(self) -> Tensor:
        """Which places hold a vertex, bool (B, V)."""
        return torch.arange(self.positions.shape[1], device=self.sizes.device) < self.sizes[:, None]

    def targets(self) -> Targets:
        """The halfedges as the loss on faces takes them; vertices numbered through."""
        of_degree = buckets(self.tail, self.head, int(self.sizes.sum()))
        return Targets(self.edges, self.tail, self.head, self.succ, self.hole, of_degree)

    def mesh(self, number: int) -> HalfedgeMesh:
        """One of the meshes again, on the CPU."""
        first, size = int(self.sizes[:number].sum()), int(self.sizes[number])
        own = ((self.tail >= first) & (self.tail < first + size)).nonzero().flatten()
        tail, head, succ, hole = (t[own].cpu() for t in (self.tail, self.head, self.succ, self.hole))
        positions = self.positions[number, :size].cpu()
        mesh = HalfedgeMesh.from_rotation(positions, tail - first, head - first, succ - int(own[0]))
        is_hole = torch.zeros(len(mesh.is_hole), dtype=torch.bool)
        is_hole[mesh.face] = hole
        return mesh.with_holes(is_hole)

    def meshes(self) -> list[HalfedgeMesh]:
        """All meshes again, on the CPU."""
        return [self.mesh(number) for number in range(len(self.sizes))]
