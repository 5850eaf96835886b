"""How near a decoded mesh is to the true one on the same vertices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .decode import Decoded
from .halfedge import HalfedgeMesh
from .manifold import manifold_report
from .polygons import canonical


@dataclass(frozen=True)
class EdgeScores:
    """Precision, recall and F1 of sets; exact: they are equal."""

    precision: float
    recall: float
    f1: float
    exact: bool


def scores(found: int, true: int, common: int) -> EdgeScores:
    """From sizes of sets; nothing found of nothing is perfect."""
    precision = common / found if found else float(true == 0)
    recall = common / true if true else 1.0
    f1 = 2 * common / (found + true) if found + true else 1.0
    return EdgeScores(precision, recall, f1, found == true == common)


def edge_scores(found: Tensor, true: Tensor, num_vertices: int) -> EdgeScores:
    """Of edges i < j, each once: (E', 2) against (E, 2)."""
    keys = [edges[:, 0] * num_vertices + edges[:, 1] for edges in (found, true)]
    return scores(len(found), len(true), int(torch.isin(*keys).sum()))


def face_scores(found: Sequence[Sequence[int]], true: Sequence[Sequence[int]], oriented: bool = True) -> EdgeScores:
    """Of faces as cycles of vertices; without orientation a face and its mirror image are one."""
    have, want = canonical(found, oriented), canonical(true, oriented)
    return scores(len(have), len(want), len(have & want))


def same_mesh(decoded: Decoded, mesh: HalfedgeMesh) -> bool:
    """Whether all faces and all holes are those of the mesh."""
    if decoded.dropped_vertices or not torch.equal(decoded.mesh.edges, mesh.edges):
        return False
    return torch.equal(decoded.mesh.next, mesh.next) and torch.equal(decoded.mesh.is_hole, mesh.is_hole)


@dataclass(frozen=True)
class MeshMetrics:
    """All that is reported of one decoded mesh.

    edges, faces, unoriented_faces: scores. exact: every face. euler, genus, components: whether they match.
    edge_manifold, vertex_manifold, closed: found from the polygons alone. simple: share of faces that visit no vertex
    twice. mean_sides, largest_face: of the decoded faces. dropped_vertices: not part of it.
    """

    edges: EdgeScores
    faces: EdgeScores
    unoriented_faces: EdgeScores
    exact: bool
    euler: bool
    genus: bool
    components: bool
    edge_manifold: bool
    vertex_manifold: bool
    closed: bool
    simple: float
    mean_sides: float
    largest_face: int
    dropped_vertices: int


def mesh_metrics(decoded: Decoded, mesh: HalfedgeMesh) -> MeshMetrics:
    """Compare a decoded mesh with the true one on the same vertices."""
    polygons, true = decoded.polygons(), mesh.to_polygons()
    report = manifold_report(polygons, decoded.num_vertices)
    sizes = [len(face) for face in polygons]
    faces = face_scores(polygons, true)
    return MeshMetrics(
        edges=edge_scores(decoded.source[decoded.mesh.edges], mesh.edges, len(mesh.vertices)),
        faces=faces,
        unoriented_faces=face_scores(polygons, true, oriented=False),
        exact=faces.exact,
        euler=decoded.mesh.euler_characteristic == mesh.euler_characteristic,
        genus=decoded.mesh.genus == mesh.genus,
        components=len(decoded.mesh.genera) == len(mesh.genera),
        edge_manifold=report.edge_manifold,
        vertex_manifold=report.vertex_manifold,
        closed=report.closed,
        simple=1 - len(report.visited_twice) / len(polygons) if polygons else 0.0,
        mean_sides=sum(sizes) / len(sizes) if sizes else 0.0,
        largest_face=max(sizes, default=0),
        dropped_vertices=decoded.dropped_vertices,
    )
