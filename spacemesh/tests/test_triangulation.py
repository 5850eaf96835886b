"""Triangulation that keeps a manifold one, where the fan of common readers does not."""

import itertools

import pytest
import shapes
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacemesh.halfedge import HalfedgeMesh
from spacemesh.manifold import manifold_report
from spacemesh.neighbourhoods import halfedges_of
from spacemesh.triangulation import cut_ears, triangulate


def report_of(mesh, safe):
    vertices, triangles = triangulate(mesh, safe)
    return vertices, manifold_report(triangles.tolist(), len(vertices))


def euler(report):
    return report.vertices - report.edges + report.faces


def test_safe_triangles_are_the_same_surface(mesh):
    vertices, report = report_of(mesh, safe=True)
    assert report.vertex_manifold and report.oriented and report.closed == (not mesh.boundary_loops())
    assert euler(report) == mesh.euler_characteristic
    assert torch.equal(vertices[: len(mesh.vertices)], mesh.vertices)


@pytest.mark.parametrize(
    ("build", "triangles"), [(shapes.cube, 12), (shapes.dodecahedron, 36), (shapes.quad_torus, 48)]
)
def test_where_diagonals_are_free_no_vertex_is_added(build, triangles):
    mesh = build()
    vertices, cut = triangulate(mesh)
    assert len(vertices) == len(mesh.vertices) and len(cut) == triangles


def genus_one_k4():
    """The rotation of K4 with a face of four sides and one of eight."""
    edges = list(itertools.combinations(range(4), 2))
    positions = shapes.tetrahedron().vertices
    for rotation in shapes.rotation_systems(edges, 4):
        mesh = HalfedgeMesh.from_rotation(positions, *rotation)
        if sorted(mesh.polygons().sizes.tolist()) == [4, 8]:
            return mesh
    raise AssertionError("there are six of them")


def test_a_genus_1_rotation_of_k4_has_no_free_diagonal():
    """Its 6 edges are all pairs of its vertices: the fan repeats one, the safe way adds vertices."""
    mesh = genus_one_k4()
    assert mesh.genus == 1
    taken = set(itertools.combinations(range(4), 2))
    quad = next(face for face in mesh.to_polygons() if len(face) == 4)
    assert cut_ears(quad, taken, mesh.vertices) is None and len(taken) == 6

    _, fan = report_of(mesh, safe=False)
    assert fan.shared_edges
    vertices, safe = report_of(mesh, safe=True)
    assert safe.closed and safe.vertex_manifold and safe.oriented and euler(safe) == 0
    assert len(vertices) == 4 + 1 + 9  # a middle for the quad; a middle and a ring for the face that meets itself


def test_the_fan_breaks_a_mesh_whose_diagonal_is_an_edge_elsewhere():
    """Two quads share the path 0 - 1 - 2, and 0 - 2 is an edge of the triangles behind."""
    faces = [[0, 1, 2, 3], [2, 1, 0, 4], [0, 3, 2], [0, 2, 4]]
    vertices = torch.tensor([[0.0, 0, 0], [1, -1, 0], [2, 0, 0], [1, 1, 1], [1, 1, -1]])
    mesh = HalfedgeMesh.from_polygons(vertices, faces)
    assert mesh.genus == 0
    assert report_of(mesh, safe=False)[1].shared_edges == [(0, 2)]
    moved, report = report_of(mesh, safe=True)
    assert report.closed and report.vertex_manifold and euler(report) == 2
    assert len(moved) == 5  # the diagonals 1 - 3 and 1 - 4 are free


@given(st.integers(0, 10**6))
def test_safe_triangles_of_any_rotation_are_manifold(seed):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.combinations(torch.arange(6))
    tail, head = halfedges_of(edges, 6)
    succ = torch.empty_like(tail)
    for own in torch.arange(30).split(5):
        cycle = own[torch.randperm(5, generator=generator)]
        succ[cycle] = cycle.roll(-1)
    mesh = HalfedgeMesh.from_rotation(torch.randn(6, 3, generator=generator), tail, head, succ)
    _, report = report_of(mesh, safe=True)
    assert report.closed and report.vertex_manifold and report.oriented and euler(report) == 2 - 2 * mesh.genus


def test_a_mesh_without_faces_has_no_triangles():
    none = torch.zeros(0, dtype=torch.long)
    vertices, triangles = triangulate(HalfedgeMesh.from_rotation(torch.zeros(0, 3), none, none, none))
    assert vertices.shape == (0, 3) and triangles.shape == (0, 3)
